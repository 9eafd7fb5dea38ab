/* Every matrix product of the table against what its format asks for, one test a product and
 * property; skipped where this build or CPU has no such product. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernels/agree.h"

static void check(void **state, bool (*property)(const rr_gemm *gemm, char why[AGREE_TEXT_MAX])) {
  const char *name = *state;
  const rr_gemm *gemm = rr_gemm_find(name);
  char why[AGREE_TEXT_MAX];
  if (gemm == NULL) {
    print_message("# this CPU or build has no %s\n", name);
    skip();
  }
  if (!property(gemm, why)) {
    fail_msg("%s", why);
  }
}

static void all_sizes_are_right(void **state) { check(state, agree_on_all_sizes); }
static void extremes_are_right(void **state) { check(state, agree_on_extremes); }
static void rows_do_not_depend_on_others(void **state) { check(state, agree_by_row); }
static void nan_reaches_its_row_alone(void **state) { check(state, agree_on_nan); }

/* Without bf16 instructions, sums run in the same order and every product is exact. */
static void bits_are_those_of_portable_bf16(void **state) { check(state, agree_bitwise_bf16); }

static bool is_tested(const char *name, const struct CMUnitTest *tests, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (tests[i].initial_state != NULL && strcmp(tests[i].initial_state, name) == 0) {
      return true;
    }
  }
  return false;
}

static void every_product_is_tested(void **state);

#define TEST(function, name)                                                                       \
  { #function " (" name ")", function, NULL, NULL, name }
#define VALUES(name)                                                                               \
  TEST(all_sizes_are_right, name), TEST(extremes_are_right, name),                                 \
      TEST(nan_reaches_its_row_alone, name)
#define ALL(name) VALUES(name), TEST(rows_do_not_depend_on_others, name)

#if defined(__x86_64__)
#define OF_THIS_MACHINE                                                                            \
  VALUES("openblas"), /* which picks other code for few rows */                                    \
      ALL("fp32-avx2"), ALL("fp32-avx512"), ALL("bf16-avx2"), ALL("bf16-avx512"),                  \
      ALL("bf16-avx512bf16"), ALL("bf16-amx"), ALL("int8-avx2"), ALL("int8-avxvnni"),              \
      ALL("int8-vnni512"), ALL("int8-amx"), TEST(bits_are_those_of_portable_bf16, "bf16-avx2"),    \
      TEST(bits_are_those_of_portable_bf16, "bf16-avx512")
#elif defined(__aarch64__)
#define OF_THIS_MACHINE                                                                            \
  VALUES("openblas"), ALL("fp32-neon"), ALL("bf16-neon"), ALL("bf16-bfmmla"), ALL("int8-dotprod"), \
      ALL("int8-i8mm"), TEST(bits_are_those_of_portable_bf16, "bf16-neon")
#else
#define OF_THIS_MACHINE VALUES("openblas")
#endif

static const struct CMUnitTest tests[] = {
    ALL("fp32-portable"),
    ALL("bf16-portable"),
    ALL("int8-portable"),
    OF_THIS_MACHINE,
    cmocka_unit_test(every_product_is_tested),
};

static void every_product_is_tested(void **state) {
  const rr_gemm *gemm;
  uint32_t missing;
  (void)state;
  for (size_t i = 0; (gemm = rr_gemm_entry(i, &missing)) != NULL; i++) {
    if (!is_tested(gemm->name, tests, sizeof tests / sizeof tests[0])) {
      fail_msg("%s is not tested", gemm->name);
    }
  }
}

int main(void) { return cmocka_run_group_tests(tests, NULL, NULL); }
