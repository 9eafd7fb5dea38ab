/* Cosines of all-MiniLM-L6-v2 against sentence-transformers. RR_MODEL_DIR names its directory;
 * without it the tests are skipped. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/model/encoder.h"
#include "tests/core/score_support.h"

static const float tolerance = 1e-4f;

static rr_scorer *load_or_skip(void) {
  const char *directory = getenv("RR_MODEL_DIR");
  if (directory == NULL || directory[0] == '\0') {
    skip();
  }
  rr_scorer *scorer = NULL;
  const rr_load_options options = {
      .dtype = RR_DTYPE_FLOAT32, .scoring = RR_SCORING_COSINE}; /* whatever its rerankd.json says */
  assert_int_equal(rr_scorer_load(directory, &options, &scorer, NULL), RR_OK);
  return scorer;
}

static void cosines_agree_with_the_reference(void **state) {
  (void)state;
  rr_scorer *scorer = load_or_skip();
  rr_workspace *workspace;
  golden_cases cases = golden_load("minilm");
  assert_int_equal(rr_workspace_create(scorer, 512, &workspace, NULL), RR_OK);
  for (size_t c = 0; c < cases.count; c++) {
    const golden_case *item = &cases.items[c];
    float scores[64];
    assert_true(item->n_texts <= 64);
    assert_int_equal(rr_scorer_rerank(workspace, item->query, item->texts, item->n_texts,
                                      &item->options, false, scores, NULL),
                     RR_OK);
    for (size_t i = 0; i < item->n_texts; i++) {
      if (!(fabsf(scores[i] - item->scores[i]) <= tolerance)) {
        fail_msg("case \"%s\", text %zu: %.6f instead of %.6f", item->name, i, (double)scores[i],
                 (double)item->scores[i]);
      }
    }
  }
  golden_free(&cases);
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
}

static void vectors_agree_with_the_reference(void **state) {
  (void)state;
  rr_scorer *scorer = load_or_skip();
  rr_workspace *workspace;
  golden_cases cases = golden_load("minilm");
  rr_arena arena;
  rr_arena_init(&arena, 16u << 20);
  assert_int_equal(rr_workspace_create(scorer, 512, &workspace, NULL), RR_OK);
  for (size_t c = 0; c < cases.count; c++) {
    const golden_case *item = &cases.items[c];
    rr_encoded encoded;
    assert_int_equal(rr_scorer_encode(scorer, item->query, item->texts, 1, &item->options, &arena,
                                      &encoded, NULL),
                     RR_OK);
    rr_sequence *query = &encoded.sequences[0];
    assert_int_equal(rr_scorer_forward(workspace, &query, 1, NULL), RR_OK);
    for (size_t i = 0; i < 8; i++) {
      assert_float_equal(query->input->output[i], item->query_vector[i], tolerance);
    }
  }
  rr_arena_finish(&arena);
  golden_free(&cases);
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
}

static void the_model_is_described(void **state) {
  (void)state;
  rr_scorer *scorer = load_or_skip();
  const rr_model_info *info = rr_scorer_info(scorer);
  assert_int_equal(info->kind, RR_BI_ENCODER);
  assert_int_equal(info->pooling, RR_POOLING_MEAN);
  assert_int_equal(info->max_input_length, 256);
  assert_int_equal(info->hidden_size, 384);
  assert_int_equal(info->vocabulary_size, 30522);
  rr_scorer_destroy(scorer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cosines_agree_with_the_reference),
      cmocka_unit_test(vectors_agree_with_the_reference),
      cmocka_unit_test(the_model_is_described),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
