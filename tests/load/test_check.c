#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/load/check.h"

static check_verdict judge(const char *name, const char *body, size_t n, size_t top_n) {
  return check_answer(dialect_find(name), body, strlen(body), n, top_n);
}

static void right_answers_of_each_shape_are_right(void **state) {
  (void)state;
  assert_int_equal(judge("tei", "[{\"index\":1,\"score\":0.5},{\"index\":0,\"score\":0.5}]", 2, 0),
                   CHECK_RIGHT);
  const char *results =
      "{\"results\":[{\"index\":2,\"relevance_score\":3},{\"index\":0,\"relevance_score\":-1.5}]}";
  assert_int_equal(judge("cohere", results, 3, 2), CHECK_RIGHT);
  assert_int_equal(judge("llamacpp", results, 3, 2), CHECK_RIGHT);
  assert_int_equal(judge("infinity", results, 3, 2), CHECK_RIGHT);
  assert_int_equal(judge("voyage", "{\"data\":[{\"index\":0,\"relevance_score\":0.1}]}", 1, 0),
                   CHECK_RIGHT);
}

static void each_fault_has_its_verdict(void **state) {
  (void)state;
  static const struct {
    const char *body;
    check_verdict verdict;
  } cases[] = {
      {"[{\"index\":0,\"score\":0.5}", CHECK_NOT_JSON},
      {"", CHECK_NOT_JSON},
      {"[{\"index\":0,\"score\":NaN},{\"index\":1,\"score\":0}]", CHECK_NOT_JSON},
      {"[{\"index\":0,\"score\":1e999},{\"index\":1,\"score\":0}]", CHECK_NOT_JSON},
      {"{\"results\":[]}", CHECK_SHAPE},
      {"[1,2]", CHECK_SHAPE},
      {"[{\"index\":0.5,\"score\":1},{\"index\":1,\"score\":0}]", CHECK_SHAPE},
      {"[{\"index\":0,\"score\":0.5}]", CHECK_COUNT},
      {"[]", CHECK_COUNT},
      {"[{\"index\":0,\"score\":1},{\"index\":2,\"score\":0}]", CHECK_INDEX},
      {"[{\"index\":-1,\"score\":1},{\"index\":0,\"score\":0}]", CHECK_INDEX},
      {"[{\"index\":1,\"score\":1},{\"index\":1,\"score\":0}]", CHECK_TWICE},
      {"[{\"index\":1,\"score\":null},{\"index\":0,\"score\":0}]", CHECK_SCORE},
      {"[{\"index\":1},{\"index\":0,\"score\":0}]", CHECK_SCORE},
      {"[{\"index\":1,\"score\":0.1},{\"index\":0,\"score\":0.2}]", CHECK_ORDER},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(judge("tei", cases[i].body, 2, 0), cases[i].verdict);
  }
}

static void an_answer_with_more_values_than_candidates_allow_is_not_read(void **state) {
  (void)state;
  enum { VALUES = 100000 };
  char *body = malloc(2 * VALUES + 2);
  assert_non_null(body);
  for (size_t i = 0; i < VALUES; i++) {
    memcpy(body + 2 * i, i == 0 ? "[0" : ",0", 2);
  }
  memcpy(body + 2 * VALUES, "]", 2);
  assert_int_equal(judge("tei", body, 2, 0), CHECK_NOT_JSON);
  free(body);
}

static void top_n_bounds_the_results_where_the_dialect_has_it(void **state) {
  (void)state;
  const char *one = "{\"results\":[{\"index\":2,\"relevance_score\":3}]}";
  assert_int_equal(judge("cohere", one, 3, 1), CHECK_RIGHT);
  assert_int_equal(judge("cohere", one, 3, 0), CHECK_COUNT);
  assert_int_equal(judge("cohere", one, 3, 9), CHECK_COUNT);
  assert_int_equal(judge("tei", "[{\"index\":0,\"score\":1}]", 2, 1), CHECK_COUNT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(right_answers_of_each_shape_are_right),
      cmocka_unit_test(each_fault_has_its_verdict),
      cmocka_unit_test(an_answer_with_more_values_than_candidates_allow_is_not_read),
      cmocka_unit_test(top_n_bounds_the_results_where_the_dialect_has_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
