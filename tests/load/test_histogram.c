#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "bench/load/histogram.h"
#include "bench/load/rng.h"

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void percentiles_are_those_of_the_sorted_values_within_three_digits(void **state) {
  (void)state;
  enum { N = 20000 };
  static uint64_t values[N];
  static const double percentiles[] = {1, 25, 50, 90, 99, 99.9, 99.99, 100};
  histogram *times = histogram_create();
  assert_non_null(times);
  rng random = rng_seeded(3, 9);
  double sum = 0;
  for (size_t i = 0; i < N; i++) { /* from 2 microseconds to about 50 minutes, all scales alike */
    values[i] = (uint64_t)(2000 * exp(21.0 * rng_unit(&random)));
    histogram_record(times, values[i]);
    sum += (double)values[i];
  }
  qsort(values, N, sizeof *values, ascending);
  for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
    size_t rank = (size_t)(percentiles[i] / 100 * N + 0.5);
    double exact = (double)values[rank - 1] / 1e6;
    assert_true(fabs(histogram_percentile(times, percentiles[i]) - exact) <= exact / 1000 + 0.001);
  }
  assert_int_equal(histogram_count(times), N);
  assert_true(fabs(histogram_mean(times) - sum / N / 1e6) <= sum / N / 1e6 / 1000);
  assert_true(fabs(histogram_max(times) - (double)values[N - 1] / 1e6) <=
              (double)values[N - 1] / 1e9);
  assert_true(fabs(histogram_min(times) - (double)values[0] / 1e6) <= 0.001);
  histogram_destroy(times);
}

static void small_values_are_exact(void **state) {
  (void)state;
  histogram *times = histogram_create();
  assert_non_null(times);
  for (uint64_t us = 1; us <= 1000; us++) {
    histogram_record(times, us * 1000);
  }
  assert_true(fabs(histogram_percentile(times, 50) - 0.5) < 1e-9);
  assert_true(fabs(histogram_percentile(times, 99) - 0.99) < 1e-9);
  assert_true(fabs(histogram_percentile(times, 100) - 1) < 1e-9);
  assert_true(fabs(histogram_percentile(times, 0) - 0.001) < 1e-9);
  histogram_destroy(times);
}

static void what_is_out_of_range_counts_at_its_ends(void **state) {
  (void)state;
  histogram *times = histogram_create();
  assert_non_null(times);
  assert_true(histogram_percentile(times, 50) == 0 && histogram_max(times) == 0 &&
              histogram_mean(times) == 0);
  histogram_record(times, 0);
  histogram_record(times, UINT64_MAX / 2);
  assert_int_equal(histogram_count(times), 2);
  assert_true(fabs(histogram_min(times) - 0.001) < 1e-9);
  assert_true(fabs(histogram_max(times) - 3.6e6) < 3.6e3);
  histogram_destroy(times);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(percentiles_are_those_of_the_sorted_values_within_three_digits),
      cmocka_unit_test(small_values_are_exact),
      cmocka_unit_test(what_is_out_of_range_counts_at_its_ends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
