/* Shared by the kernels' tests: seeded values, guarded buffers, and a run of one check for each set
 * of row operations. */
#ifndef RR_TESTS_KERNELS_SUPPORT_H
#define RR_TESTS_KERNELS_SUPPORT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/kernel/kernel.h"

enum { GUARD = 64 };

static const float CANARY = -7.25e30f;

/* size floats, 64-byte aligned, between two guards. */
static inline float *guarded(size_t size) {
  size_t total = (size + 2 * GUARD + 15) / 16 * 16;
  float *memory = aligned_alloc(64, total * sizeof *memory);
  assert_non_null(memory);
  for (size_t i = 0; i < total; i++) {
    memory[i] = CANARY;
  }
  return memory + GUARD;
}

/* Fails if anything wrote outside of the size floats; frees them. */
static inline void release(float *data, size_t size) {
  for (size_t i = 0; i < GUARD; i++) {
    assert_true(data[(ptrdiff_t)i - GUARD] == CANARY);
    assert_true(data[size + i] == CANARY);
  }
  free(data - GUARD);
}

/* Uniform in [-scale, scale]. */
static inline float random_float(uint32_t *seed, float scale) {
  *seed = *seed * 1664525u + 1013904223u;
  return ((float)(*seed >> 8) / (float)(1u << 23) - 1.0f) * scale;
}

static inline float *random_floats(size_t size, uint32_t seed, float scale) {
  float *data = guarded(size);
  for (size_t i = 0; i < size; i++) {
    data[i] = random_float(&seed, scale);
  }
  return data;
}

static inline void assert_close(double got, double want, double bound, const char *what) {
  if (!(fabs(got - want) <= bound)) {
    fail_msg("%s: %.9g instead of %.9g (bound %.3g)", what, got, want, bound);
  }
}

/* The row operations named by the test's initial state; skips where this CPU lacks them. */
static inline const rr_rowops *rowops_or_skip(void **state) {
  const rr_rowops *rowops = rr_rowops_find(*state);
  if (rowops == NULL) {
    print_message("# this CPU has no %s\n", (const char *)*state);
    skip();
  }
  return rowops;
}

#define FOR_EACH_ISA(test)                                                                         \
  {#test " (generic)", test, NULL, NULL, "generic"}, {#test " (avx2)", test, NULL, NULL, "avx2"},  \
      {#test " (avx512)", test, NULL, NULL, "avx512"}, {                                           \
#test " (avx512bf16)", test, NULL, NULL, "avx512bf16"                                          \
  }

#endif
