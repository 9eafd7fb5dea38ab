/* Late interaction, of ColBERT checkpoints and over plain bi-encoders, against references computed
 * by transformers; the same bits whatever shares a micro-batch; what is refused. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/model/encoder.h"
#include "tests/core/score_support.h"

typedef struct subject {
  const char *model;
  const char *golden;
  rr_scoring scoring;
} subject;

static const float tolerance = 1e-4f;

static rr_scorer *load(const char *model, rr_scoring scoring, rr_dtype dtype) {
  rr_scorer *scorer = NULL;
  rr_error err = {.message = ""};
  const rr_load_options options = {.dtype = dtype, .scoring = scoring};
  if (rr_scorer_load(golden_path(model), &options, &scorer, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return scorer;
}

static float *rerank(rr_workspace *workspace, const golden_case *item, bool raw) {
  rr_error err = {.message = ""};
  float *scores = calloc(item->n_texts, sizeof *scores);
  assert_non_null(scores);
  if (rr_scorer_rerank(workspace, item->query, item->texts, item->n_texts, &item->options, raw,
                       scores, &err) != RR_OK) {
    fail_msg("case \"%s\": %s", item->name, err.message);
  }
  return scores;
}

/* Of reduced formats the mean over a case: of random small models single scores move far. */
static void check_against_reference(const subject *of, rr_dtype dtype, float each, float mean) {
  golden_cases cases = golden_load(of->golden);
  rr_scorer *scorer = load(of->model, of->scoring, dtype);
  rr_workspace *workspace = NULL;
  assert_int_equal(rr_workspace_create(scorer, 2048, &workspace, NULL), RR_OK);
  for (size_t c = 0; c < cases.count; c++) {
    const golden_case *item = &cases.items[c];
    float *scores = rerank(workspace, item, (c & 1) != 0);
    float sum = 0.0f;
    for (size_t i = 0; i < item->n_texts; i++) {
      float difference = fabsf(scores[i] - item->scores[i]);
      sum += difference;
      if (!(difference <= each)) {
        fail_msg("%s, case \"%s\", text %zu: %.6f instead of %.6f", of->golden, item->name, i,
                 (double)scores[i], (double)item->scores[i]);
      }
    }
    assert_true(sum / (float)item->n_texts <= mean);
    free(scores);
  }
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
  golden_free(&cases);
}

static void float32_is_within_1e_4(void **state) {
  check_against_reference(*state, RR_DTYPE_FLOAT32, tolerance, tolerance);
}

/* Two layers of random weights; a vector's cosines move by a few steps of 2^-8 and 2^-7. */
static void reduced_formats_are_near(void **state) {
  check_against_reference(*state, RR_DTYPE_BFLOAT16, 0.05f, 0.01f);
  check_against_reference(*state, RR_DTYPE_INT8, 0.1f, 0.02f);
}

/* Every sequence of two requests in one micro-batch, and each alone. */
static void check_bits(const subject *of, rr_dtype dtype) {
  golden_cases cases = golden_load(of->golden);
  rr_scorer *scorer = load(of->model, of->scoring, dtype);
  rr_workspace *workspace = NULL;
  rr_arena arena;
  rr_encoded encoded[2];
  float scores[2][2][256];
  rr_sequence *all[512];
  size_t n = 0;
  rr_arena_init(&arena, 64u << 20);
  assert_int_equal(rr_workspace_create(scorer, 16384, &workspace, NULL), RR_OK);
  const golden_case *items[2] = {&cases.items[0], &cases.items[cases.count - 1]};
  for (size_t r = 0; r < 2; r++) {
    assert_int_equal(rr_scorer_encode(scorer, items[r]->query, items[r]->texts, items[r]->n_texts,
                                      &items[r]->options, &arena, &encoded[r], NULL),
                     RR_OK);
    for (size_t i = encoded[r].n_sequences; i-- > 0;) {
      all[n++] = &encoded[r].sequences[i];
      assert_int_equal(rr_scorer_forward(workspace, &all[n - 1], 1, NULL), RR_OK);
    }
    assert_int_equal(rr_scorer_scores(scorer, &encoded[r], true, scores[0][r], NULL), RR_OK);
  }
  for (size_t i = 0; i < n; i++) {
    memset(all[i]->input->vectors, 0xff,
           all[i]->input->rows * sizeof(float)); /* NaN, or a scale of NaN's bytes */
  }
  assert_int_equal(rr_scorer_forward(workspace, all, n, NULL), RR_OK);
  for (size_t r = 0; r < 2; r++) {
    assert_int_equal(rr_scorer_scores(scorer, &encoded[r], true, scores[1][r], NULL), RR_OK);
    assert_memory_equal(scores[0][r], scores[1][r], encoded[r].n_candidates * sizeof(float));
  }
  rr_arena_finish(&arena);
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
  golden_free(&cases);
}

static void bits_do_not_depend_on_the_batch(void **state) {
  check_bits(*state, RR_DTYPE_FLOAT32);
  check_bits(*state, RR_DTYPE_BFLOAT16);
  check_bits(*state, RR_DTYPE_INT8);
}

static void what_a_model_has_not_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *model;
    rr_scoring scoring;
  } refused[] = {{"cross-encoder", RR_SCORING_COSINE}, {"cross-encoder", RR_SCORING_MAXSIM},
                 {"cross-encoder", RR_SCORING_HYBRID}, {"colbert", RR_SCORING_COSINE},
                 {"colbert", RR_SCORING_HYBRID},       {"colbert", RR_SCORING_LOGIT},
                 {"bi-encoder-mean", RR_SCORING_LOGIT}};
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    rr_scorer *scorer = NULL;
    rr_error err = {.message = ""};
    const rr_load_options options = {.scoring = refused[i].scoring};
    assert_int_equal(rr_scorer_load(golden_path(refused[i].model), &options, &scorer, &err),
                     RR_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, refused[i].model));
  }
}

static void models_are_described(void **state) {
  (void)state;
  static const struct {
    const char *model;
    rr_scoring asked;
    rr_scoring scoring;
    const char *name;
    rr_pooling pooling;
    uint32_t token_dim;
    uint32_t max_input_length;
  } known[] = {
      {"colbert", RR_SCORING_AUTO, RR_SCORING_MAXSIM, "maxsim", RR_POOLING_NONE, 20, 60},
      {"colbert-attending", RR_SCORING_AUTO, RR_SCORING_MAXSIM, "maxsim", RR_POOLING_NONE, 20, 60},
      {"colbert-bare", RR_SCORING_MAXSIM, RR_SCORING_MAXSIM, "maxsim", RR_POOLING_NONE, 20, 220},
      {"bi-encoder-mean", RR_SCORING_AUTO, RR_SCORING_COSINE, "cosine", RR_POOLING_MEAN, 0, 128},
      {"bi-encoder-mean", RR_SCORING_HYBRID, RR_SCORING_HYBRID, "hybrid", RR_POOLING_MEAN, 32, 128},
      {"bi-encoder-cls", RR_SCORING_MAXSIM, RR_SCORING_MAXSIM, "maxsim", RR_POOLING_CLS, 32, 512},
      {"cross-encoder", RR_SCORING_AUTO, RR_SCORING_LOGIT, "logit", RR_POOLING_NONE, 0, 512},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    rr_scorer *scorer = load(known[i].model, known[i].asked, RR_DTYPE_FLOAT32);
    const rr_model_info *info = rr_scorer_info(scorer);
    assert_int_equal(info->kind,
                     known[i].scoring == RR_SCORING_LOGIT ? RR_CROSS_ENCODER : RR_BI_ENCODER);
    assert_int_equal(info->scoring, known[i].scoring);
    assert_string_equal(info->scoring_name, known[i].name);
    assert_int_equal(info->pooling, known[i].pooling);
    assert_int_equal(info->token_dim, known[i].token_dim);
    assert_int_equal(info->max_input_length, known[i].max_input_length);
    assert_int_equal(strstr(info->kernels, "maxsim-fp32") != NULL, known[i].token_dim > 0);
    rr_scorer_destroy(scorer);
  }
}

/* Vectors count against the arena's limit. */
static void an_arena_too_small_is_an_error(void **state) {
  (void)state;
  golden_cases cases = golden_load("colbert");
  rr_scorer *scorer = load("colbert", RR_SCORING_AUTO, RR_DTYPE_FLOAT32);
  const golden_case *item = &cases.items[cases.count - 2];
  size_t failures = 0;
  rr_status status = RR_ERR_MEMORY;
  for (size_t limit = 4096; status != RR_OK && limit <= 64u << 20; limit *= 2) {
    rr_arena arena;
    rr_encoded encoded;
    rr_arena_init(&arena, limit);
    status = rr_scorer_encode(scorer, item->query, item->texts, item->n_texts, &item->options,
                              &arena, &encoded, NULL);
    assert_true(status == RR_OK || status == RR_ERR_MEMORY);
    failures += status != RR_OK;
    rr_arena_finish(&arena);
  }
  assert_int_equal(status, RR_OK);
  assert_true(failures > 0);
  rr_scorer_destroy(scorer);
  golden_free(&cases);
}

/* A query that is too long: cut to query_maxlen, or refused where nothing may be cut. */
static void a_colberts_query_is_cut_unless_forbidden(void **state) {
  (void)state;
  rr_scorer *scorer = load("colbert", RR_SCORING_AUTO, RR_DTYPE_FLOAT32);
  char query[400] = "";
  for (size_t i = 0; i < 60; i++) {
    (void)strncat(query, "river ", sizeof query - strlen(query) - 1);
  }
  const rr_text text = {.data = "bread", .size = 5};
  const rr_text asked = {.data = query, .size = strlen(query)};
  rr_arena arena;
  rr_encoded encoded;
  rr_arena_init(&arena, 1u << 20);
  rr_encode_options options = {.truncate = true, .cut = RR_CUT_TEXT};
  assert_int_equal(rr_scorer_encode(scorer, asked, &text, 1, &options, &arena, &encoded, NULL),
                   RR_OK);
  assert_int_equal(encoded.sequences[0].length, 24);
  assert_int_equal(encoded.sequences[0].dropped_tokens, 60 - (24 - 3));
  assert_int_equal(encoded.sequences[0].input->unattended, 0);
  assert_int_equal(encoded.n_truncated, 1);
  options.truncate = false;
  assert_int_equal(rr_scorer_encode(scorer, asked, &text, 1, &options, &arena, &encoded, NULL),
                   RR_ERR_INPUT);
  assert_int_equal(rr_scorer_encode(scorer, text, &text, 1, &options, &arena, &encoded, NULL),
                   RR_OK);
  assert_int_equal(encoded.sequences[0].length, 24);
  assert_int_equal(encoded.sequences[0].input->unattended, 24 - 4);
  assert_int_equal(encoded.sequences[1].length, 4);
  rr_arena_finish(&arena);
  rr_scorer_destroy(scorer);
}

/* A directory like `colbert` with another artifact.metadata. */
static rr_status load_with(const char *metadata, rr_error *err) {
  static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                      "model.safetensors"};
  char source[4096];
  (void)snprintf(source, sizeof source, "%s", golden_path("colbert"));
  const char *directory = scratch_create();
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    scratch_copy(source, directory, files[i]);
  }
  scratch_text(directory, "artifact.metadata", metadata);
  scratch_text(directory, "modules.json",
               "[{\"type\": \"some.Dense\", \"path\": \"\"}]"); /* another library's */
  rr_scorer *scorer = NULL;
  const rr_load_options options = {.dtype = RR_DTYPE_FLOAT32};
  rr_status status = rr_scorer_load(directory, &options, &scorer, err);
  rr_scorer_destroy(scorer);
  scratch_remove(directory);
  return status;
}

static void metadata_is_not_believed(void **state) {
  (void)state;
  static const struct {
    const char *metadata;
    rr_status status;
    const char *says;
  } known[] = {
      {"{}", RR_OK, ""},
      {"{\"query_maxlen\": null, \"similarity\": null}", RR_OK, ""},
      {"{\"doc_maxlen\": 100000}", RR_OK, ""}, /* more than there are positions */
      {"[]", RR_ERR_FORMAT, "must be an object"},
      {"{", RR_ERR_FORMAT, "artifact.metadata"},
      {"{\"query_maxlen\": 513}", RR_ERR_FORMAT, "query_maxlen"},
      {"{\"query_maxlen\": 3}", RR_ERR_FORMAT, "query_maxlen"},
      {"{\"query_maxlen\": \"32\"}", RR_ERR_FORMAT, "query_maxlen"},
      {"{\"doc_maxlen\": 0}", RR_ERR_FORMAT, "doc_maxlen"},
      {"{\"mask_punctuation\": 1}", RR_ERR_FORMAT, "mask_punctuation"},
      {"{\"attend_to_mask_tokens\": \"no\"}", RR_ERR_FORMAT, "attend_to_mask_tokens"},
      {"{\"query_token_id\": 1}", RR_ERR_FORMAT, "query_token_id"},
      {"{\"doc_token_id\": \"[unused77]\"}", RR_ERR_FORMAT, "[unused77]"},
      {"{\"similarity\": \"l2\"}", RR_ERR_UNSUPPORTED, "similarity"},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    rr_error err = {.message = ""};
    rr_status status = load_with(known[i].metadata, &err);
    if (status != known[i].status || strstr(err.message, known[i].says) == NULL) {
      fail_msg("%s: %d, \"%s\"", known[i].metadata, (int)status, err.message);
    }
  }
}

/* Whichever allocation fails: an error, and nothing is lost (the sanitizers and valgrind see to
 * that). */
static void any_allocation_may_fail(void **state) {
  (void)state;
  golden_cases cases = golden_load("colbert");
  const golden_case *item = &cases.items[0];
  const rr_load_options options = {.dtype = RR_DTYPE_INT8};
  float scores[64];
  char folder[4096];
  (void)snprintf(folder, sizeof folder, "%s", golden_path("colbert"));
  assert_true(item->n_texts <= 64);
  unsigned long asked = ULONG_MAX;
  for (unsigned long n = 1; n <= asked; n += n < 200 ? 1 : 37) {
    rr_scorer *scorer = NULL;
    rr_workspace *workspace = NULL;
    rr_alloc_fail_at(n, 0);
    rr_status status = rr_scorer_load(folder, &options, &scorer, NULL);
    if (status == RR_OK) {
      status = rr_workspace_create(scorer, 256, &workspace, NULL);
    }
    if (status == RR_OK) {
      status = rr_scorer_rerank(workspace, item->query, item->texts, item->n_texts, &item->options,
                                false, scores, NULL);
    }
    asked = rr_alloc_count();
    rr_alloc_fail_at(0, 0);
    assert_int_equal(status, n <= asked ? RR_ERR_MEMORY : RR_OK);
    asked = status == RR_OK
                ? asked
                : ULONG_MAX; /* what comes behind the one that failed was not asked for */
    rr_workspace_destroy(workspace);
    rr_scorer_destroy(scorer);
  }
  golden_free(&cases);
}

#define SUBJECT(model, golden, scoring)                                                            \
  &(subject) { model, golden, scoring }
#define TESTS(what, of)                                                                            \
  {what ": float32 is within 1e-4", float32_is_within_1e_4, NULL, NULL, of},                       \
      {what ": reduced formats are near", reduced_formats_are_near, NULL, NULL, of}, {             \
    what ": bits do not depend on the batch", bits_do_not_depend_on_the_batch, NULL, NULL, of      \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      TESTS("ColBERT", SUBJECT("colbert", "colbert", RR_SCORING_AUTO)),
      TESTS("ColBERT that attends to [MASK]",
            SUBJECT("colbert-attending", "colbert-attending", RR_SCORING_AUTO)),
      TESTS("ColBERT without metadata", SUBJECT("colbert-bare", "colbert-bare", RR_SCORING_MAXSIM)),
      TESTS("MaxSim, mean pooling",
            SUBJECT("bi-encoder-mean", "bi-encoder-mean-maxsim", RR_SCORING_MAXSIM)),
      TESTS("MaxSim, CLS pooling",
            SUBJECT("bi-encoder-cls", "bi-encoder-cls-maxsim", RR_SCORING_MAXSIM)),
      TESTS("hybrid, mean pooling",
            SUBJECT("bi-encoder-mean", "bi-encoder-mean-hybrid", RR_SCORING_HYBRID)),
      TESTS("hybrid, CLS pooling",
            SUBJECT("bi-encoder-cls", "bi-encoder-cls-hybrid", RR_SCORING_HYBRID)),
      cmocka_unit_test(what_a_model_has_not_is_refused),
      cmocka_unit_test(models_are_described),
      cmocka_unit_test(an_arena_too_small_is_an_error),
      cmocka_unit_test(a_colberts_query_is_cut_unless_forbidden),
      cmocka_unit_test(metadata_is_not_believed),
      cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
