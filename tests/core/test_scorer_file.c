/* rerankd.json: what it may say and how it is refused, its map against reference values, and a
 * model that is scored by it. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/score/scorer_file.h"
#include "tests/core/score_support.h"

static const char *directory;

static int set_up(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static rr_scorer_file accept(const char *text) {
  rr_scorer_file file;
  rr_error err = {.message = ""};
  scratch_text(directory, "rerankd.json", text);
  if (rr_scorer_file_load(directory, &file, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return file;
}

static void no_file_says_nothing(void **state) {
  (void)state;
  rr_scorer_file file;
  assert_int_equal(rr_scorer_file_load(directory, &file, NULL), RR_OK);
  assert_int_equal(file.scoring, RR_SCORING_AUTO);
  assert_int_equal(file.calibration.knots, 0);
}

static void every_scoring_is_read(void **state) {
  (void)state;
  assert_int_equal(accept("{\"scoring\":\"cosine\"}").scoring, RR_SCORING_COSINE);
  assert_int_equal(accept("{\"scoring\":\"maxsim\",\"calibration\":null}").scoring,
                   RR_SCORING_MAXSIM);
  rr_scorer_file file = accept(
      "{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,0.5,1],\"logits\":[-5,-1.5,3]}}");
  assert_int_equal(file.scoring, RR_SCORING_HYBRID);
  assert_int_equal(file.calibration.knots, 3);
  assert_float_equal(file.calibration.scores[1], 0.5, 0.0);
  assert_float_equal(file.calibration.logits[1], -1.5, 0.0);
}

static void what_is_wrong_is_refused(void **state) {
  (void)state;
  static const char *const wrong[][2] = {
      {"", "invalid JSON"},
      {"[]", "must be an object"},
      {"{}", "scoring must be"},
      {"{\"scoring\":\"auto\"}", "scoring must be"},
      {"{\"scoring\":\"logit\"}", "scoring must be"},
      {"{\"scoring\":\"hybrid\\u0000\"}", "scoring must be"},
      {"{\"scoring\":3}", "scoring must be"},
      {"{\"scoring\":\"hybrid\",\"calibrations\":{}}", "unknown member \"calibrations\""},
      {"{\"scoring\":\"hybrid\",\"calibration\":[]}", "calibration must be an object"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{}}", "2 to 32 numbers"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[1],\"logits\":[1]}}",
       "2 to 32 numbers"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":{\"0\":0},\"logits\":[0,1]}}",
       "2 to 32 numbers"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1]}}", "as many numbers"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1],\"logits\":[0,1,2]}}",
       "as many numbers"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1],\"logits\":[0,1],\"a\":1}}",
       "unknown member \"a\""},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,0],\"logits\":[0,1]}}", "scores[1]"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1e-7],\"logits\":[0,1]}}",
       "scores[1]"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1],\"logits\":[1,0]}}", "logits[1]"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1],\"logits\":[-1000.5,0]}}",
       "logits[0]"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1e300],\"logits\":[0,1]}}",
       "scores[1]"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1e999],\"logits\":[0,1]}}",
       "invalid JSON"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,NaN],\"logits\":[0,1]}}",
       "invalid JSON"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,\"1\"],\"logits\":[0,1]}}",
       "scores[1]"},
      {"{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,true],\"logits\":[0,1]}}",
       "scores[1]"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    rr_scorer_file file = {.scoring = RR_SCORING_LOGIT};
    rr_error err = {.message = ""};
    scratch_text(directory, "rerankd.json", wrong[i][0]);
    rr_status status = rr_scorer_file_load(directory, &file, &err);
    if (status != RR_ERR_FORMAT || strstr(err.message, wrong[i][1]) == NULL ||
        strstr(err.message, "rerankd.json") == NULL) {
      fail_msg("%s: %s, \"%s\"", wrong[i][0], rr_status_name(status), err.message);
    }
    assert_int_equal(file.scoring, RR_SCORING_LOGIT); /* untouched */
  }
}

/* 32 points are read, 33 are not; nor is a file that is too large, or none but a folder. */
static void sizes_are_bounded(void **state) {
  (void)state;
  for (int knots = RR_KNOTS_MAX; knots <= RR_KNOTS_MAX + 1; knots++) {
    char list[512];
    char text[1200];
    int length = 0;
    for (int i = 0; i < knots; i++) {
      length += snprintf(list + length, sizeof list - (size_t)length, "%s%d", i == 0 ? "" : ",", i);
    }
    (void)snprintf(text, sizeof text,
                   "{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[%s],\"logits\":[%s]}}",
                   list, list);
    rr_scorer_file file;
    scratch_text(directory, "rerankd.json", text);
    assert_int_equal(rr_scorer_file_load(directory, &file, NULL),
                     knots > RR_KNOTS_MAX ? RR_ERR_FORMAT : RR_OK);
  }
  static char large[(1 << 16) + 2];
  memset(large, ' ', sizeof large - 1);
  rr_scorer_file file;
  scratch_text(directory, "rerankd.json", large);
  assert_int_equal(rr_scorer_file_load(directory, &file, NULL), RR_ERR_FORMAT);
}

static rr_calibration calibration_of(const json_t *json) {
  json_t *file = json_pack("{s:s,s:O}", "scoring", "hybrid", "calibration", json);
  assert_non_null(file);
  char *text = json_dumps(file, 0);
  assert_non_null(text);
  rr_calibration calibration = accept(text).calibration;
  free(text);
  json_decref(file);
  return calibration;
}

static json_t *load_maps(void) {
  json_t *maps = json_load_file(golden_path("calibrated.json"), 0, NULL);
  assert_true(json_array_size(maps) > 1);
  return maps;
}

static void probabilities_are_the_reference_values(void **state) {
  (void)state;
  json_t *maps = load_maps();
  for (size_t m = 0; m < json_array_size(maps); m++) {
    const json_t *map = json_array_get(maps, m);
    const json_t *pairs = json_object_get(map, "pairs");
    rr_calibration calibration = calibration_of(json_object_get(map, "calibration"));
    assert_true(json_array_size(pairs) > 0);
    for (size_t i = 0; i < json_array_size(pairs); i++) {
      const json_t *pair = json_array_get(pairs, i);
      float score = (float)json_real_value(json_array_get(pair, 0));
      float wanted = (float)json_real_value(json_array_get(pair, 1));
      float got = rr_calibrated(&calibration, score);
      if (!(fabsf(got - wanted) <= FLT_EPSILON * wanted)) {
        fail_msg("map %zu, score %.9g: %.9g instead of %.9g", m, (double)score, (double)got,
                 (double)wanted);
      }
    }
  }
  json_decref(maps);
}

/* Neighbouring floats around every point, and steps through all that a score can be and far
 * beyond. */
static void the_order_is_kept(void **state) {
  (void)state;
  json_t *maps = load_maps();
  for (size_t m = 0; m < json_array_size(maps); m++) {
    rr_calibration calibration =
        calibration_of(json_object_get(json_array_get(maps, m), "calibration"));
    for (size_t k = 0; k < calibration.knots; k++) {
      float score = (float)calibration.scores[k] - 0.0001f;
      float before = 0.0f;
      for (int i = 0; i < 20000; i++, score = nextafterf(score, 2000.0f)) {
        float now = rr_calibrated(&calibration, score);
        assert_true(now >= before && now <= 1.0f);
        before = now;
      }
    }
    float before = rr_calibrated(&calibration, -FLT_MAX);
    assert_true(before >= 0.0f);
    for (int i = -30000; i <= 30000; i++) {
      float now = rr_calibrated(&calibration, (float)i / 10000.0f);
      assert_true(now >= before && now <= 1.0f);
      before = now;
    }
    assert_true(rr_calibrated(&calibration, FLT_MAX) >= before &&
                rr_calibrated(&calibration, FLT_MAX) <= 1.0f);
  }
  json_decref(maps);
}

static void copy_model(const char *name) {
  static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                      "tokenizer_config.json"};
  char source[4096];
  (void)snprintf(source, sizeof source, "%s", golden_path(name));
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/%s", source, files[i]);
    FILE *file = fopen(path, "rb");
    if (file != NULL) {
      (void)fclose(file);
      scratch_copy(source, directory, files[i]);
    }
  }
}

static void rerank(rr_scoring asked, const golden_case *item, bool raw, float *scores,
                   rr_model_info *ret_info) {
  rr_scorer *scorer = NULL;
  rr_workspace *workspace = NULL;
  rr_error err = {.message = ""};
  const rr_load_options options = {.dtype = RR_DTYPE_FLOAT32, .scoring = asked};
  if (rr_scorer_load(directory, &options, &scorer, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  *ret_info = *rr_scorer_info(scorer);
  assert_int_equal(rr_workspace_create(scorer, 512, &workspace, NULL), RR_OK);
  assert_int_equal(rr_scorer_rerank(workspace, item->query, item->texts, item->n_texts,
                                    &item->options, raw, scores, NULL),
                   RR_OK);
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
}

static void a_model_is_scored_as_its_file_says(void **state) {
  (void)state;
  static const char text[] =
      "{\"scoring\":\"hybrid\",\"calibration\":{\"scores\":[0,1],\"logits\":[-6,4.5]}}";
  golden_cases cases = golden_load("bi-encoder-cls-hybrid");
  golden_cases cosines = golden_load("bi-encoder-cls");
  const golden_case *item = &cases.items[0];
  float raw[64];
  float scores[64];
  rr_model_info info;
  char folder[4200];
  copy_model("bi-encoder-cls");
  (void)snprintf(folder, sizeof folder, "%s/1_Pooling", directory);
  assert_int_equal(mkdir(folder, 0700), 0);
  scratch_copy(golden_path("bi-encoder-cls"), directory, "modules.json");
  scratch_copy(golden_path("bi-encoder-cls"), directory, "1_Pooling/config.json");
  rr_calibration calibration = accept(text).calibration;
  assert_true(item->n_texts <= 64);
  rerank(RR_SCORING_AUTO, item, true, raw, &info);
  assert_true(info.calibrated && info.scoring == RR_SCORING_HYBRID);
  rerank(RR_SCORING_AUTO, item, false, scores, &info);
  for (size_t i = 0; i < item->n_texts; i++) {
    assert_float_equal(raw[i], item->scores[i], 1e-4f);
    assert_float_equal(scores[i], 1.0f / (1.0f + expf(6.0f - 10.5f * raw[i])), 1e-6f);
    assert_true(scores[i] == rr_calibrated(&calibration, raw[i]));
  }
  rerank(RR_SCORING_COSINE, item, false, scores, &info);
  assert_false(info.calibrated);
  for (size_t i = 0; i < item->n_texts; i++) {
    assert_float_equal(scores[i], cosines.items[0].scores[i], 1e-4f);
  }
  golden_free(&cases);
  golden_free(&cosines);
}

static void a_model_without_that_scoring_is_refused(void **state) {
  (void)state;
  rr_scorer *scorer = NULL;
  rr_error err = {.message = ""};
  const rr_load_options options = {.dtype = RR_DTYPE_FLOAT32};
  copy_model("cross-encoder");
  scratch_text(directory, "rerankd.json", "{\"scoring\":\"hybrid\"}");
  assert_int_equal(rr_scorer_load(directory, &options, &scorer, &err), RR_ERR_UNSUPPORTED);
  assert_non_null(strstr(err.message, "cross-encoder"));
  scratch_text(directory, "rerankd.json", "{\"scoring\":");
  assert_int_equal(rr_scorer_load(directory, &options, &scorer, &err), RR_ERR_FORMAT);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(no_file_says_nothing),
      TEST(every_scoring_is_read),
      TEST(what_is_wrong_is_refused),
      TEST(sizes_are_bounded),
      TEST(probabilities_are_the_reference_values),
      TEST(the_order_is_kept),
      TEST(a_model_is_scored_as_its_file_says),
      TEST(a_model_without_that_scoring_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
