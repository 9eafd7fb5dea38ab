#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kernels/product.h"

enum { CANARY = 0x5a, ALIGNED = 64, UNALIGNED = 4 };

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static size_t slack_of(size_t size, bool aligned) {
  size_t alignment = aligned ? ALIGNED : UNALIGNED;
  return (alignment - size % alignment) % alignment;
}

static size_t pages_of(size_t size, bool aligned) {
  size_t page = page_size();
  return (size + slack_of(size, aligned) + ALIGNED + page - 1) / page * page;
}

void *rr_guarded(size_t size, bool aligned) {
  size_t pages = pages_of(size, aligned);
  char *start =
      mmap(NULL, pages + page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(start != MAP_FAILED);
  assert_int_equal(mprotect(start + pages, page_size(), PROT_NONE), 0);
  memset(start, CANARY, pages);
  return start + pages - slack_of(size, aligned) - size;
}

void rr_guarded_free(void *data, size_t size, bool aligned) {
  size_t pages = pages_of(size, aligned);
  size_t slack = slack_of(size, aligned);
  char *end = (char *)data + size + slack;
  char *start = end - pages;
  for (size_t i = 0; i < slack; i++) {
    assert_int_equal(((char *)data)[size + i], CANARY);
  }
  for (const char *before = start; before < (char *)data; before++) {
    assert_int_equal(*before, CANARY);
  }
  assert_int_equal(munmap(start, pages + page_size()), 0);
}
