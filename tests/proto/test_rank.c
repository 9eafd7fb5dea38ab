/* Ranking: order, ties and floats that do not compare. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/rerank.h"

static void expect_order(const float *scores, size_t n, const uint32_t *expected) {
  rr_ranked ranked[16];
  assert_true(n <= 16);
  rr_rank(scores, n, ranked);
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(ranked[i].index, expected[i]);
    assert_true(isnan(scores[expected[i]]) || ranked[i].score == scores[expected[i]]);
  }
}

static void scores_are_ordered_best_first(void **state) {
  (void)state;
  expect_order((float[]){0.1f, 0.9f, 0.5f}, 3, (uint32_t[]){1, 2, 0});
  expect_order((float[]){-3.0f, -1.0f, -2.0f, 4.0f}, 4, (uint32_t[]){3, 1, 2, 0});
}

static void a_single_score_and_none_are_fine(void **state) {
  (void)state;
  expect_order((float[]){0.5f}, 1, (uint32_t[]){0});
  expect_order(NULL, 0, NULL);
}

static void equal_scores_keep_the_order_of_the_texts(void **state) {
  (void)state;
  expect_order((float[]){1, 1, 1, 1, 1}, 5, (uint32_t[]){0, 1, 2, 3, 4});
  expect_order((float[]){0, 1, 0, 1, 0, 1}, 6, (uint32_t[]){1, 3, 5, 0, 2, 4});
  expect_order((float[]){0.0f, -0.0f, 0.0f}, 3, (uint32_t[]){0, 1, 2});
}

static void infinities_are_extremes_and_nan_comes_last(void **state) {
  (void)state;
  expect_order((float[]){NAN, -INFINITY, 0, INFINITY, NAN}, 5, (uint32_t[]){3, 2, 1, 0, 4});
}

/* A fixed pseudo-random sequence (a linear congruential generator), few distinct values. */
static uint32_t next_random(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 16;
}

static void many_scores_are_ordered_stably(void **state) {
  (void)state;
  enum { N = 20000, DISTINCT = 50 };
  float *scores = calloc(N, sizeof *scores);
  rr_ranked *ranked = calloc(N, sizeof *ranked);
  unsigned char *seen = calloc(N, 1);
  uint32_t seed = 7;
  assert_non_null(scores);
  assert_non_null(ranked);
  assert_non_null(seen);
  for (size_t i = 0; i < N; i++) {
    scores[i] = (float)(next_random(&seed) % DISTINCT);
  }
  rr_rank(scores, N, ranked);
  for (size_t i = 0; i < N; i++) {
    assert_true(ranked[i].index < N);
    assert_int_equal(seen[ranked[i].index]++, 0);
    assert_true(ranked[i].score == scores[ranked[i].index]);
    if (i > 0) {
      assert_true(
          ranked[i - 1].score > ranked[i].score ||
          (ranked[i - 1].score == ranked[i].score && ranked[i - 1].index < ranked[i].index));
    }
  }
  free(seen);
  free(ranked);
  free(scores);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scores_are_ordered_best_first),
      cmocka_unit_test(a_single_score_and_none_are_fine),
      cmocka_unit_test(equal_scores_keep_the_order_of_the_texts),
      cmocka_unit_test(infinities_are_extremes_and_nan_comes_last),
      cmocka_unit_test(many_scores_are_ordered_stably),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
