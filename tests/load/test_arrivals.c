#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "bench/load/arrivals.h"

static void poisson_arrivals_come_at_their_rate_with_exponential_gaps(void **state) {
  (void)state;
  enum { N = 200000 };
  arrivals starts = arrivals_at_rate(ARRIVALS_POISSON, 1000, 7);
  uint64_t last = 0, at = 0;
  double squares = 0, above_mean = 0;
  for (int i = 0; i < N; i++) {
    assert_true(arrivals_next(&starts, &at));
    assert_true(at >= last);
    double gap = (double)(at - last) / 1e6; /* in mean gaps */
    squares += gap * gap;
    above_mean += gap > 1;
    last = at;
  }
  /* Exponential: mean 1, mean square 2, exp(-1) of the gaps above the mean; 5 deviations of the
   * sampling. */
  assert_true(fabs((double)at / 1e6 / N - 1) < 5 / sqrt(N));
  assert_true(fabs(squares / N - 2) < 5 * sqrt(20.0 / N));
  assert_true(fabs(above_mean / N - exp(-1)) < 5 * sqrt(0.25 / N));
}

static void the_seed_decides_the_arrivals(void **state) {
  (void)state;
  arrivals a = arrivals_at_rate(ARRIVALS_POISSON, 10, 1), b = a,
           c = arrivals_at_rate(ARRIVALS_POISSON, 10, 2);
  bool differs = false;
  for (int i = 0; i < 100; i++) {
    uint64_t of_a = 0, of_b = 0, of_c = 0;
    (void)arrivals_next(&a, &of_a);
    (void)arrivals_next(&b, &of_b);
    (void)arrivals_next(&c, &of_c);
    assert_int_equal(of_a, of_b);
    differs = differs || of_a != of_c;
  }
  assert_true(differs);
}

static void even_arrivals_keep_their_distance(void **state) {
  (void)state;
  arrivals starts = arrivals_at_rate(ARRIVALS_EVEN, 4, 1);
  uint64_t at = 0;
  for (uint64_t i = 1; i <= 10; i++) {
    assert_true(arrivals_next(&starts, &at));
    assert_int_equal(at, i * 250000000);
  }
}

static rr_status read_text(const char *text, arrivals *ret_arrivals, rr_error *err) {
  FILE *file = tmpfile();
  assert_non_null(file);
  fputs(text, file);
  rewind(file);
  rr_status status = arrivals_read(file, "recorded", ret_arrivals, err);
  (void)fclose(file);
  return status;
}

static void a_recording_is_played_as_it_stands_and_ends(void **state) {
  (void)state;
  arrivals starts;
  uint64_t at = 0;
  assert_int_equal(read_text("# offsets\n0\n0.5\n\n 0.5 \r\n2.25", &starts, NULL), RR_OK);
  const uint64_t wanted[] = {0, 500000000, 500000000, 2250000000};
  for (size_t i = 0; i < 4; i++) {
    assert_true(arrivals_next(&starts, &at));
    assert_int_equal(at, wanted[i]);
  }
  assert_false(arrivals_next(&starts, &at));
  assert_int_equal(at, 2250000000);
  arrivals_finish(&starts);
}

static void what_is_no_recording_is_refused_with_its_line(void **state) {
  (void)state;
  static const struct {
    const char *text, *words;
  } bad[] = {{"1\n0.5\n", "recorded:2: earlier"}, {"1\nx\n", "recorded:2: not a number"},
             {"-1\n", "recorded:1: not"},         {"nan\n", "recorded:1: not"},
             {"1 2\n", "recorded:1: not"},        {"# none\n", "no arrivals"},
             {"1e300\n", "recorded:1: not"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    arrivals starts = {.n = 77};
    rr_error err;
    assert_int_not_equal(read_text(bad[i].text, &starts, &err), RR_OK);
    assert_non_null(strstr(err.message, bad[i].words));
    assert_int_equal(starts.n, 77);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(poisson_arrivals_come_at_their_rate_with_exponential_gaps),
      cmocka_unit_test(the_seed_decides_the_arrivals),
      cmocka_unit_test(even_arrivals_keep_their_distance),
      cmocka_unit_test(a_recording_is_played_as_it_stands_and_ends),
      cmocka_unit_test(what_is_no_recording_is_refused_with_its_line),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
