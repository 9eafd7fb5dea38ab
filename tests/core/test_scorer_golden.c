/* Scores of the small golden models against transformers and sentence-transformers, whatever shares
 * a micro-batch with them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/encoder.h"
#include "tests/core/score_support.h"

static const float tolerance = 1e-4f;

/* A model and all its cases, encoded. */
typedef struct loaded {
  rr_scorer *scorer;
  rr_workspace *workspace;
  golden_cases cases;
  rr_encoded *encoded; /* one a case */
  rr_arena arena;
} loaded;

static int set_up(void **state, const char *name) {
  loaded *model = calloc(1, sizeof *model);
  assert_non_null(model);
  rr_error err = {.message = ""};
  model->scorer = must_load(golden_path(name));
  model->cases = golden_load(name);
  assert_int_equal(rr_workspace_create(model->scorer, 2048, &model->workspace, &err), RR_OK);
  rr_arena_init(&model->arena, 64u << 20);
  model->encoded = calloc(model->cases.count, sizeof *model->encoded);
  assert_non_null(model->encoded);
  for (size_t i = 0; i < model->cases.count; i++) {
    const golden_case *item = &model->cases.items[i];
    assert_int_equal(rr_scorer_encode(model->scorer, item->query, item->texts, item->n_texts,
                                      &item->options, &model->arena, &model->encoded[i], &err),
                     RR_OK);
  }
  *state = model;
  return 0;
}

static int set_up_cross_encoder(void **state) { return set_up(state, "cross-encoder"); }
static int set_up_mean(void **state) { return set_up(state, "bi-encoder-mean"); }
static int set_up_cls(void **state) { return set_up(state, "bi-encoder-cls"); }

static int tear_down(void **state) {
  loaded *model = *state;
  rr_arena_finish(&model->arena);
  free(model->encoded);
  golden_free(&model->cases);
  rr_workspace_destroy(model->workspace);
  rr_scorer_destroy(model->scorer);
  free(model);
  return 0;
}

/* Fills a case's outputs with NaN, so that one never written is noticed. */
static void forget(rr_encoded *encoded, size_t width) {
  for (size_t i = 0; i < encoded->n_sequences; i++) {
    for (size_t j = 0; j < width; j++) {
      encoded->sequences[i].input->output[j] = NAN;
    }
  }
}

static size_t width_of(const loaded *model) {
  const rr_model_info *info = rr_scorer_info(model->scorer);
  return info->kind == RR_CROSS_ENCODER ? 1 : info->hidden_size;
}

static void check_scores(const loaded *model, size_t at) {
  const golden_case *item = &model->cases.items[at];
  rr_error err = {.message = ""};
  float *scores = calloc(item->n_texts, sizeof *scores);
  assert_non_null(scores);
  if (rr_scorer_scores(model->scorer, &model->encoded[at], true, scores, &err) != RR_OK) {
    fail_msg("case \"%s\": %s", item->name, err.message);
  }
  for (size_t i = 0; i < item->n_texts; i++) {
    if (!(fabsf(scores[i] - item->scores[i]) <= tolerance)) {
      fail_msg("case \"%s\", text %zu: %.6f instead of %.6f", item->name, i, (double)scores[i],
               (double)item->scores[i]);
    }
  }
  if (width_of(model) > 1) {
    for (size_t i = 0; i < 8; i++) {
      assert_float_equal(model->encoded[at].sequences[0].input->output[i], item->query_vector[i],
                         tolerance);
    }
  }
  free(scores);
}

static void one_sequence_at_a_time(void **state) {
  loaded *model = *state;
  for (size_t c = 0; c < model->cases.count; c++) {
    forget(&model->encoded[c], width_of(model));
    for (size_t i = 0; i < model->encoded[c].n_sequences; i++) {
      rr_sequence *sequence = &model->encoded[c].sequences[i];
      assert_int_equal(rr_scorer_forward(model->workspace, &sequence, 1, NULL), RR_OK);
    }
    check_scores(model, c);
  }
}

static void one_request_at_a_time(void **state) {
  loaded *model = *state;
  for (size_t c = 0; c < model->cases.count; c++) {
    const golden_case *item = &model->cases.items[c];
    float *scores = calloc(item->n_texts, sizeof *scores);
    assert_non_null(scores);
    assert_int_equal(rr_scorer_rerank(model->workspace, item->query, item->texts, item->n_texts,
                                      &item->options, true, scores, NULL),
                     RR_OK);
    for (size_t i = 0; i < item->n_texts; i++) {
      if (!(fabsf(scores[i] - item->scores[i]) <= tolerance)) {
        fail_msg("case \"%s\", text %zu: %.6f instead of %.6f", item->name, i, (double)scores[i],
                 (double)item->scores[i]);
      }
    }
    free(scores);
  }
}

/* All sequences of all cases in a pseudo-random order, cut where the workspace is full. */
static void shuffled_among_other_requests(void **state) {
  loaded *model = *state;
  size_t total = 0;
  for (size_t c = 0; c < model->cases.count; c++) {
    total += model->encoded[c].n_sequences;
  }
  rr_sequence **all = calloc(total, sizeof(rr_sequence *));
  assert_non_null(all);
  size_t n = 0;
  for (size_t c = 0; c < model->cases.count; c++) {
    forget(&model->encoded[c], width_of(model));
    for (size_t i = 0; i < model->encoded[c].n_sequences; i++) {
      all[n++] = &model->encoded[c].sequences[i];
    }
  }
  uint32_t random = 12345;
  for (size_t i = total - 1; i > 0; i--) {
    random = random * 1664525u + 1013904223u;
    size_t other = (random >> 8) % (i + 1);
    rr_sequence *swap = all[i];
    all[i] = all[other];
    all[other] = swap;
  }
  for (size_t first = 0; first < total;) {
    size_t count = 0;
    for (size_t tokens = 0; first + count < total; count++) {
      tokens += all[first + count]->length;
      if (tokens > 2048) {
        break;
      }
    }
    assert_int_equal(rr_scorer_forward(model->workspace, all + first, count, NULL), RR_OK);
    first += count;
  }
  free(all);
  for (size_t c = 0; c < model->cases.count; c++) {
    check_scores(model, c);
  }
}

static void truncation_is_counted(void **state) {
  loaded *model = *state;
  uint32_t limit = rr_scorer_info(model->scorer)->max_input_length;
  for (size_t c = 0; c < model->cases.count; c++) {
    size_t truncated = 0;
    uint64_t tokens = 0;
    const rr_encoded *encoded = &model->encoded[c];
    for (size_t i = 0; i < encoded->n_sequences; i++) {
      assert_true(encoded->sequences[i].length <= limit);
      if (encoded->sequences[i].dropped_tokens > 0) {
        assert_int_equal(encoded->sequences[i].length, limit);
        truncated++;
      }
      tokens += encoded->sequences[i].length;
    }
    assert_int_equal(encoded->n_truncated, truncated);
    assert_int_equal(encoded->tokens, tokens);
    assert_int_equal(strstr(model->cases.items[c].name, "truncated") != NULL, truncated > 0);
  }
}

static void default_score_is_a_sigmoid_of_the_logit(void **state) {
  loaded *model = *state;
  const golden_case *item = &model->cases.items[0];
  float scores[64];
  assert_true(item->n_texts <= 64);
  assert_int_equal(rr_scorer_rerank(model->workspace, item->query, item->texts, item->n_texts,
                                    &item->options, false, scores, NULL),
                   RR_OK);
  for (size_t i = 0; i < item->n_texts; i++) {
    assert_float_equal(scores[i], 1.0f / (1.0f + expf(-item->scores[i])), tolerance);
  }
}

static void cross_encoder_is_described(void **state) {
  loaded *model = *state;
  const rr_model_info *info = rr_scorer_info(model->scorer);
  assert_int_equal(info->kind, RR_CROSS_ENCODER);
  assert_int_equal(info->pooling, RR_POOLING_NONE);
  assert_string_equal(info->label, "LABEL_0");
  assert_string_equal(info->dtype_name, "float32");
  assert_int_equal(info->max_input_length, 512);
  assert_int_equal(info->hidden_size, 32);
  assert_int_equal(info->layers, 3);
  assert_int_equal(info->heads, 4);
  assert_int_equal(info->intermediate_size, 64);
  assert_true(info->kernels[0] != '\0');
  /* Embeddings, three layers, pooler and classifier, counted by hand from the shapes. */
  uint64_t layer = 4 * (32 * 32 + 32) + (64 * 32 + 64) + (32 * 64 + 32) + 4 * 32;
  uint64_t embeddings = 32 * (info->vocabulary_size + 512 + 2) + 2 * 32;
  assert_int_equal(info->parameters, embeddings + 3 * layer + (32 * 32 + 32) + (32 + 1));
}

static void bi_encoder_is_described(void **state) {
  loaded *model = *state;
  const rr_model_info *info = rr_scorer_info(model->scorer);
  assert_int_equal(info->kind, RR_BI_ENCODER);
  assert_int_equal(info->pooling, RR_POOLING_MEAN);
  assert_null(info->label);
  assert_int_equal(info->max_input_length, 128);
}

static void bi_encoder_scores_are_cosines_either_way(void **state) {
  loaded *model = *state;
  const golden_case *item = &model->cases.items[0];
  float scores[64];
  assert_true(item->n_texts <= 64);
  assert_int_equal(rr_scorer_rerank(model->workspace, item->query, item->texts, item->n_texts,
                                    &item->options, false, scores, NULL),
                   RR_OK);
  for (size_t i = 0; i < item->n_texts; i++) {
    assert_float_equal(scores[i], item->scores[i], tolerance);
  }
}

#define MODEL_TESTS(model)                                                                         \
  {#model ": one sequence at a time", one_sequence_at_a_time, set_up_##model, tear_down, NULL},    \
      {#model ": one request at a time", one_request_at_a_time, set_up_##model, tear_down, NULL},  \
      {#model ": shuffled among other requests", shuffled_among_other_requests, set_up_##model,    \
       tear_down, NULL},                                                                           \
  {                                                                                                \
#model ": truncation is counted", truncation_is_counted, set_up_##model, tear_down, NULL       \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      MODEL_TESTS(cross_encoder),
      MODEL_TESTS(mean),
      MODEL_TESTS(cls),
      cmocka_unit_test_setup_teardown(default_score_is_a_sigmoid_of_the_logit, set_up_cross_encoder,
                                      tear_down),
      cmocka_unit_test_setup_teardown(cross_encoder_is_described, set_up_cross_encoder, tear_down),
      cmocka_unit_test_setup_teardown(bi_encoder_is_described, set_up_mean, tear_down),
      cmocka_unit_test_setup_teardown(bi_encoder_scores_are_cosines_either_way, set_up_cls,
                                      tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
