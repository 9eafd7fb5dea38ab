/* The golden models computed by every pair of matrix product and row operations that this CPU
 * runs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/model/encoder.h"
#include "core/token/tokenizer.h"
#include "tests/core/score_support.h"
#include "tests/slow.h"

typedef struct kernels {
  const char *gemm;
  const char *mask;
  const char *rowops;
} kernels;

static const float tolerance = 1e-4f;

/* One score of a golden case, from tokens to output, through the encoder alone. */
static float score(const rr_tokenizer *tokenizer, rr_encoder *encoder, const rr_config *config,
                   const golden_case *item, size_t text, rr_arena *arena) {
  rr_truncation truncation = {.max_length = config->max_input_length, .enabled = true};
  rr_tokens a;
  rr_tokens b;
  rr_encoding encoding[2];
  float outputs[2][64];
  assert_int_equal(rr_tokenizer_tokens(tokenizer, item->query, arena, &a, NULL), RR_OK);
  assert_int_equal(rr_tokenizer_tokens(tokenizer, item->texts[text], arena, &b, NULL), RR_OK);
  size_t n = 1;
  if (config->head == RR_HEAD_CLASSIFIER) {
    assert_int_equal(rr_tokenizer_pair(tokenizer, &a, &b, &truncation, arena, &encoding[0], NULL),
                     RR_OK);
  } else {
    n = 2;
    assert_int_equal(rr_tokenizer_single(tokenizer, &a, &truncation, arena, &encoding[0], NULL),
                     RR_OK);
    assert_int_equal(rr_tokenizer_single(tokenizer, &b, &truncation, arena, &encoding[1], NULL),
                     RR_OK);
  }
  rr_input inputs[2];
  for (size_t i = 0; i < n; i++) {
    inputs[i] = (rr_input){.ids = encoding[i].ids,
                           .type_ids = encoding[i].type_ids,
                           .length = encoding[i].length,
                           .output = outputs[i]};
  }
  assert_int_equal(rr_encoder_forward(encoder, inputs, n, NULL), RR_OK);
  if (config->head == RR_HEAD_CLASSIFIER) {
    return outputs[0][0];
  }
  float cosine = 0.0f;
  for (size_t i = 0; i < config->hidden_size; i++) {
    cosine += outputs[0][i] * outputs[1][i];
  }
  return cosine;
}

static void check_model(const char *name, const rr_gemm *gemm, const rr_rowops *rowops) {
  rr_config config;
  rr_bert *bert;
  rr_encoder *encoder;
  rr_tokenizer *tokenizer;
  rr_arena arena;
  golden_cases cases = golden_load(name);
  rr_arena_init(&arena, 64u << 20);
  assert_int_equal(rr_config_load(golden_path(name), &config, NULL), RR_OK);
  assert_true(config.hidden_size <= 64);
  assert_int_equal(rr_tokenizer_load(config.folder, &tokenizer, NULL), RR_OK);
  static const rr_formats fp32 = {
      .of = {RR_FORMAT_FP32, RR_FORMAT_FP32, RR_FORMAT_FP32, RR_FORMAT_FP32, RR_FORMAT_FP32}};
  assert_int_equal(rr_bert_load(&config, &fp32, rowops, NULL, &bert, NULL), RR_OK);
  assert_ptr_equal(bert->layers[0].intermediate.gemm, gemm);
  assert_int_equal(rr_encoder_create(bert, 1024, &encoder, NULL), RR_OK);
  for (size_t c = 0; c < cases.count; c += slow_step(3, 9)) {
    const golden_case *item = &cases.items[c];
    for (size_t i = 0; item->options.side == RR_TRUNCATE_RIGHT && i < item->n_texts; i++) {
      float got = score(tokenizer, encoder, &config, item, i, &arena);
      if (!(fabsf(got - item->scores[i]) <= tolerance)) {
        fail_msg("%s, %s and %s, case \"%s\", text %zu: %.6f instead of %.6f", name, gemm->name,
                 rowops->name, item->name, i, (double)got, (double)item->scores[i]);
      }
    }
  }
  rr_encoder_destroy(encoder);
  rr_bert_destroy(bert);
  rr_tokenizer_destroy(tokenizer);
  rr_arena_finish(&arena);
  golden_free(&cases);
}

static void scores_agree_with_the_reference(void **state) {
  const kernels *pair = *state;
  const rr_gemm *gemm = rr_gemm_find(pair->gemm);
  const rr_rowops *rowops = rr_rowops_find(pair->rowops);
  if (rowops == NULL) {
    print_message("# this CPU has no %s\n", pair->rowops);
    skip();
  }
  if (gemm == NULL) {
    print_message("# this CPU or build cannot run %s\n", pair->gemm);
    skip();
  }
  assert_int_equal(rr_kernels_set_mask(pair->mask, NULL), RR_OK);
  check_model("cross-encoder", gemm, rowops);
  check_model("bi-encoder-mean", gemm, rowops);
  check_model("bi-encoder-cls", gemm, rowops);
  assert_int_equal(rr_kernels_set_mask(NULL, NULL), RR_OK);
}

#define PAIR(gemm, mask, rowops)                                                                   \
  {                                                                                                \
    "scores agree with the reference: " gemm " and " rowops, scores_agree_with_the_reference,      \
        NULL, NULL, &(kernels) {                                                                   \
      gemm, mask, rowops                                                                           \
    }                                                                                              \
  }

#define WITH_EACH_ROWOPS(gemm, mask)                                                               \
  PAIR(gemm, mask, "generic"), PAIR(gemm, mask, "avx2"), PAIR(gemm, mask, "avx512")

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_EACH_ROWOPS("openblas", "openblas"),
      WITH_EACH_ROWOPS("fp32-portable", "portable"),
      WITH_EACH_ROWOPS("fp32-avx2", "avx2"),
      WITH_EACH_ROWOPS("fp32-avx512", "avx512"),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
