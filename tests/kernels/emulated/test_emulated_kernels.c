/* The kernels for instructions that this CPU may lack, with those instructions in plain C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernel/cpu_features.h"
#include "tests/kernels/agree.h"

extern const rr_gemm emulated_bf16_avx512bf16;
extern const rr_gemm emulated_bf16_amx;
extern const rr_gemm emulated_int8_amx;
extern const rr_gemm emulated_int8_avxvnni;

typedef struct subject {
  const rr_gemm *gemm;
  uint32_t needs; /* what the rest of the kernel is compiled for */
} subject;

static const subject bf16_avx512bf16 = {&emulated_bf16_avx512bf16, RR_FEATURE_AVX512};
static const subject bf16_amx = {&emulated_bf16_amx, RR_FEATURE_AVX512};
static const subject int8_amx = {&emulated_int8_amx, RR_FEATURE_AVX512};
static const subject int8_avxvnni = {&emulated_int8_avxvnni, RR_FEATURE_AVX2};

static void check(void **state, bool (*property)(const rr_gemm *gemm, char why[AGREE_TEXT_MAX])) {
  const subject *s = *state;
  char why[AGREE_TEXT_MAX];
  if ((s->needs & ~rr_features_detect()) != 0) {
    skip(); /* this CPU has not even the rest */
  }
  if (!property(s->gemm, why)) {
    fail_msg("%s", why);
  }
}

static void all_sizes_are_right(void **state) { check(state, agree_on_all_sizes); }
static void extremes_are_right(void **state) { check(state, agree_on_extremes); }
static void rows_do_not_depend_on_others(void **state) { check(state, agree_by_row); }
static void nan_reaches_its_row_alone(void **state) { check(state, agree_on_nan); }

#define TEST(function, subject)                                                                    \
  { #function " (" #subject ")", function, NULL, NULL, (void *)(uintptr_t) & (subject) }
#define TESTS(subject)                                                                             \
  TEST(all_sizes_are_right, subject), TEST(extremes_are_right, subject),                           \
      TEST(rows_do_not_depend_on_others, subject), TEST(nan_reaches_its_row_alone, subject)

int main(void) {
  const struct CMUnitTest tests[] = {TESTS(bf16_avx512bf16), TESTS(bf16_amx), TESTS(int8_amx),
                                     TESTS(int8_avxvnni)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
