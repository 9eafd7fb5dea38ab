/* The stated error bounds of exp, erf and tanh, over every region of their domain. */
#include "tests/kernels/support.h"

#include <float.h>

#include "core/kernel/rowops_math.h"

/* Calls check for about a million floats from low to high. */
static void sweep(float low, float high, void (*check)(float x)) {
  const double steps = 1 << 20;
  for (double i = 0; i <= steps; i++) {
    check((float)((double)low + ((double)high - (double)low) * i / steps));
  }
}

/* Calls check for 64 floats of each binade from 2^-149 to 2^127, of both signs. */
static void binades(void (*check)(float x)) {
  for (int exponent = -149; exponent < 128; exponent++) {
    for (int i = 0; i < 64; i++) {
      float x = ldexpf(1.0f + (float)i / 64.0f, exponent);
      check(x);
      check(-x);
    }
  }
}

static void check_exp(float x) {
  double want = exp((double)x);
  assert_close((double)rr_math_exp(x), want, want * 2e-7, "exp");
}

static void exp_is_within_its_relative_bound(void **state) {
  (void)state;
  sweep(-87.0f, 88.0f, check_exp);
  sweep(-1.0f, 1.0f, check_exp);
}

static void exp_saturates_beyond_its_domain(void **state) {
  (void)state;
  assert_true(rr_math_exp(-1e30f) == rr_math_exp(-87.0f));
  assert_true(rr_math_exp(-INFINITY) == rr_math_exp(-87.0f));
  assert_true(rr_math_exp(INFINITY) == rr_math_exp(88.0f));
  assert_true(rr_math_exp(-87.0f) >= FLT_MIN);
  assert_true(rr_math_exp(0.0f) == 1.0f);
}

static void check_erf(float x) {
  assert_close((double)rr_math_erf(x), erf((double)x), 4e-7, "erf");
}

static void erf_is_within_its_absolute_bound(void **state) {
  (void)state;
  sweep(-5.0f, 5.0f, check_erf);
  binades(check_erf);
  assert_true(rr_math_erf(INFINITY) == 1.0f);
  assert_true(rr_math_erf(-INFINITY) == -1.0f);
}

static void check_tanh(float x) {
  assert_close((double)rr_math_tanh(x), tanh((double)x), 2.5e-7, "tanh");
}

static void tanh_is_within_its_absolute_bound(void **state) {
  (void)state;
  sweep(-12.0f, 12.0f, check_tanh);
  binades(check_tanh);
}

static void check_gelu(float x) {
  double exact = 0.5 * (double)x * (1.0 + erf((double)x / sqrt(2.0)));
  assert_close((double)rr_math_gelu_erf(x), exact, fabs((double)x) * 3e-7, "gelu");
}

static void gelu_is_within_what_erf_allows(void **state) {
  (void)state;
  sweep(-8.0f, 8.0f, check_gelu);
  assert_true(rr_math_gelu_erf(-1000.0f) == 0.0f);
  assert_true(rr_math_gelu_erf(1000.0f) == 1000.0f);
}

static void nan_stays_nan(void **state) {
  (void)state;
  assert_true(isnan(rr_math_exp(NAN)));
  assert_true(isnan(rr_math_erf(NAN)));
  assert_true(isnan(rr_math_tanh(NAN)));
  assert_true(isnan(rr_math_gelu_erf(NAN)));
  assert_true(isnan(rr_math_gelu_tanh(NAN)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exp_is_within_its_relative_bound),
      cmocka_unit_test(exp_saturates_beyond_its_domain),
      cmocka_unit_test(erf_is_within_its_absolute_bound),
      cmocka_unit_test(tanh_is_within_its_absolute_bound),
      cmocka_unit_test(gelu_is_within_what_erf_allows),
      cmocka_unit_test(nan_stays_nan),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
