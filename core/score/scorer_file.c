#include "core/score/scorer_file.h"

#include <math.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"

enum { FILE_BYTES_MAX = 1 << 16 };

/* Bounds that keep every line's slope, and what comes of any float, within a double. */
static const double number_max = 1000.0;
static const double step_min = 1e-6;

static rr_status read_scoring(const char *path, const json_t *value, rr_scoring *ret_scoring,
                              rr_error *err) {
  static const struct {
    const char *name;
    rr_scoring scoring;
  } names[] = {
      {"cosine", RR_SCORING_COSINE}, {"maxsim", RR_SCORING_MAXSIM}, {"hybrid", RR_SCORING_HYBRID}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (json_is_string(value) && json_string_length(value) == strlen(names[i].name) &&
        strcmp(json_string_value(value), names[i].name) == 0) {
      *ret_scoring = names[i].scoring;
      return RR_OK;
    }
  }
  return rr_fail(err, RR_ERR_FORMAT, "%s: scoring must be \"cosine\", \"maxsim\" or \"hybrid\"",
                 path);
}

static rr_status read_numbers(const char *path, const char *name, const json_t *values,
                              size_t count, double *numbers, rr_error *err) {
  if (!json_is_array(values) || json_array_size(values) != count) {
    return rr_fail(
        err, RR_ERR_FORMAT,
        "%s: calibration.scores and calibration.logits must be arrays of as many numbers", path);
  }
  for (size_t i = 0; i < count; i++) {
    const json_t *value = json_array_get(values, i);
    numbers[i] = json_number_value(value);
    if (!json_is_number(value) || !(fabs(numbers[i]) <= number_max) ||
        (i > 0 && !(numbers[i] >= numbers[i - 1] + step_min))) {
      return rr_fail(err, RR_ERR_FORMAT,
                     "%s: calibration.%s[%zu] must be a number from %g to %g, larger than the one "
                     "before by %g or more",
                     path, name, i, -number_max, number_max, step_min);
    }
  }
  return RR_OK;
}

/* A name that is not known is more likely misspelt than meant for somebody else: the file is this
 * program's. */
static rr_status refuse_others(const char *path, const json_t *object, const char *first,
                               const char *second, rr_error *err) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)object, key, value) {
    if (strcmp(key, first) != 0 && strcmp(key, second) != 0) {
      return rr_fail(err, RR_ERR_FORMAT, "%s: unknown member \"%.60s\"; known are %s and %s", path,
                     key, first, second);
    }
  }
  return RR_OK;
}

static rr_status read_calibration(const char *path, const json_t *value, rr_calibration *to,
                                  rr_error *err) {
  if (value == NULL || json_is_null(value)) {
    return RR_OK;
  }
  if (!json_is_object(value)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: calibration must be an object", path);
  }
  rr_status status = refuse_others(path, value, "scores", "logits", err);
  const json_t *scores = json_object_get(value, "scores");
  size_t knots = json_array_size(scores); /* 0 if it is no array */
  if (status == RR_OK && (knots < 2 || knots > RR_KNOTS_MAX)) {
    status =
        rr_fail(err, RR_ERR_FORMAT, "%s: calibration.scores must be an array of 2 to %d numbers",
                path, RR_KNOTS_MAX);
  }
  if (status == RR_OK) {
    status = read_numbers(path, "scores", scores, knots, to->scores, err);
  }
  if (status == RR_OK) {
    status = read_numbers(path, "logits", json_object_get(value, "logits"), knots, to->logits, err);
  }
  to->knots = knots;
  return status;
}

rr_status rr_scorer_file_load(const char *directory, rr_scorer_file *ret_file, rr_error *err) {
  char path[RR_PATH_MAX];
  rr_scorer_file file = {.scoring = RR_SCORING_AUTO};
  rr_status status = rr_path_join(directory, "rerankd.json", path, err);
  bool there = false;
  if (status == RR_OK) {
    status = rr_file_find(path, &there, err);
  }
  if (status != RR_OK) {
    return status;
  }
  if (!there) {
    *ret_file = file;
    return RR_OK;
  }
  json_t *json;
  status = rr_json_load(path, FILE_BYTES_MAX, &json, err);
  if (status != RR_OK) {
    return status;
  }
  status = json_is_object(json) ? refuse_others(path, json, "scoring", "calibration", err)
                                : rr_fail(err, RR_ERR_FORMAT, "%s: must be an object", path);
  if (status == RR_OK) {
    status = read_scoring(path, json_object_get(json, "scoring"), &file.scoring, err);
  }
  if (status == RR_OK) {
    status = read_calibration(path, json_object_get(json, "calibration"), &file.calibration, err);
  }
  json_decref(json);
  if (status == RR_OK) {
    *ret_file = file;
  }
  return status;
}

float rr_calibrated(const rr_calibration *calibration, float score) {
  const double *scores = calibration->scores;
  const double *logits = calibration->logits;
  size_t last = calibration->knots - 2; /* the last line's first point */
  size_t at = 0;
  while (at < last && (double)score >= scores[at + 1]) {
    at++;
  }
  double slope = (logits[at + 1] - logits[at]) / (scores[at + 1] - scores[at]);
  double logit = logits[at] + ((double)score - scores[at]) * slope;
  if (at < last && logit > logits[at + 1]) {
    logit = logits[at + 1]; /* by rounding, just below the next line */
  }
  return (float)(1.0 / (1.0 + exp(-logit)));
}
