#include "bench/load/check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/base/json.h"

static const size_t values_a_result = 64, values_around = 4096;

const char *check_words(check_verdict verdict) {
  static const char *const words[CHECK_VERDICTS] = {
      "right",
      "not JSON",
      "no list of results",
      "wrong number of results",
      "index out of range",
      "an index twice",
      "score not a number",
      "not descending",
      "out of memory",
  };
  return words[verdict];
}

static check_verdict check_result(const dialect *spoken, const json_t *result, size_t n,
                                  bool *found, double *last) {
  const json_t *index = json_object_get(result, "index");
  const json_t *score = json_object_get(result, spoken->score);
  if (!json_is_integer(index)) {
    return CHECK_SHAPE;
  }
  json_int_t at = json_integer_value(index);
  if (at < 0 || (size_t)at >= n) {
    return CHECK_INDEX;
  }
  if (found[at]) {
    return CHECK_TWICE;
  }
  found[at] = true;
  if (!json_is_number(score) || !isfinite(json_number_value(score))) {
    return CHECK_SCORE;
  }
  if (json_number_value(score) > *last) {
    return CHECK_ORDER;
  }
  *last = json_number_value(score);
  return CHECK_RIGHT;
}

static check_verdict check_json(const dialect *spoken, const json_t *json, size_t n, size_t top_n) {
  const json_t *results = spoken->results == NULL ? json : json_object_get(json, spoken->results);
  if (!json_is_array(results)) {
    return CHECK_SHAPE;
  }
  bool *found = calloc(n, sizeof *found);
  if (found == NULL) {
    return CHECK_MEMORY;
  }
  check_verdict verdict = CHECK_RIGHT;
  double last = INFINITY;
  size_t i;
  json_t *result;
  json_array_foreach(results, i, result) {
    verdict = check_result(spoken, result, n, found, &last);
    if (verdict != CHECK_RIGHT) {
      break;
    }
  }
  free(found);
  size_t wanted = top_n > 0 && top_n < n && spoken->top_n != NULL ? top_n : n;
  return verdict == CHECK_RIGHT && json_array_size(results) != wanted ? CHECK_COUNT : verdict;
}

check_verdict check_answer(const dialect *spoken, const char *body, size_t size, size_t n,
                           size_t top_n) {
  json_t *json;
  rr_status status = rr_json_parse(body, size, values_around + values_a_result * n, &json, NULL);
  if (status != RR_OK) {
    return status == RR_ERR_MEMORY ? CHECK_MEMORY : CHECK_NOT_JSON;
  }
  check_verdict verdict = check_json(spoken, json, n, top_n);
  json_decref(json);
  return verdict;
}
