#include "core/base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TENSOR_ALIGNMENT = 64 };

static atomic_ulong allocations;
static atomic_ulong fail_at;
static atomic_int fail_sticky;

/* Counts only while a test has armed the fault, so that the hot path shares no cache line write. */
static bool injected_fault(void) {
  unsigned long target = atomic_load_explicit(&fail_at, memory_order_relaxed);
  if (target == 0) {
    return false;
  }
  unsigned long number = atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed) + 1;
  return number == target ||
         (number > target && atomic_load_explicit(&fail_sticky, memory_order_relaxed) != 0);
}

void rr_alloc_fail_at(unsigned long n, int sticky) {
  atomic_store(&fail_at, 0);
  atomic_store(&fail_sticky, sticky);
  atomic_store(&allocations, 0);
  atomic_store(&fail_at, n);
}

bool rr_alloc_injected(void) { return injected_fault(); }

unsigned long rr_alloc_count(void) { return atomic_load(&allocations); }

void *rr_malloc(size_t size) { return injected_fault() ? NULL : malloc(size == 0 ? 1 : size); }

void *rr_calloc(size_t count, size_t size) {
  if (injected_fault()) {
    return NULL;
  }
  return calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
}

void *rr_realloc(void *memory, size_t size) {
  return injected_fault() ? NULL : realloc(memory, size == 0 ? 1 : size);
}

char *rr_strdup(const char *string) {
  size_t size = strlen(string) + 1;
  char *copy = rr_malloc(size);
  return copy == NULL ? NULL : memcpy(copy, string, size);
}

void rr_free(void *memory) { free(memory); }

void *rr_alloc_aligned(size_t size) {
  if (injected_fault() || size > SIZE_MAX - TENSOR_ALIGNMENT) {
    return NULL;
  }
  /* aligned_alloc wants a multiple of the alignment. */
  size_t rounded = (size + TENSOR_ALIGNMENT - 1) / TENSOR_ALIGNMENT * TENSOR_ALIGNMENT;
  return aligned_alloc(TENSOR_ALIGNMENT, rounded == 0 ? TENSOR_ALIGNMENT : rounded);
}
