/* A pair's score does not depend, to the bit, on what else is in the request or the micro-batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/scorer.h"
#include "tests/slow.h"

enum { TEXTS = 1000, TEXT_BYTES = 160 };

static const char *const words[] = {"the",   "cat",  "sat",   "on",    "a",     "river",
                                    "stone", "and",  "water", "old",   "small", "house",
                                    "ran",   "over", "under", "light", "of",    "is"};
static char memory[TEXTS][TEXT_BYTES];
static rr_text texts[TEXTS];

/* 1 to 24 words each, seeded. */
static int make_texts(void **state) {
  (void)state;
  uint64_t random = 11;
  for (size_t i = 0; i < TEXTS; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    size_t count = 1 + (random >> 33) % 24;
    size_t size = 0;
    for (size_t w = 0; w < count; w++) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const char *word = words[(random >> 40) % (sizeof words / sizeof words[0])];
      size += (size_t)snprintf(memory[i] + size, TEXT_BYTES - size, "%s ", word);
    }
    texts[i] = (rr_text){memory[i], size};
  }
  return 0;
}

typedef struct variant {
  const char *model;
  rr_dtype dtype;
} variant;

static void scores_are_the_same_alone_and_among_a_thousand(void **state) {
  const variant *which = *state;
  static const size_t batches[] = {64, 333, 1024, 4096};
  static const rr_text query = {"an old stone house by the water", 31};
  const rr_encode_options options = {.truncate = true};
  char directory[4096];
  (void)snprintf(directory, sizeof directory, "%s/score/%s", getenv("RR_GOLDEN"), which->model);
  rr_scorer *scorer = NULL;
  const rr_load_options load = {.dtype = which->dtype};
  assert_int_equal(rr_scorer_load(directory, &load, &scorer, NULL), RR_OK);
  static float together[TEXTS];
  static float again[TEXTS];
  for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b += slow_step(2, 3)) {
    rr_workspace *workspace = NULL;
    assert_int_equal(rr_workspace_create(scorer, batches[b], &workspace, NULL), RR_OK);
    assert_int_equal(rr_scorer_rerank(workspace, query, texts, TEXTS, &options, true,
                                      b == 0 ? together : again, NULL),
                     RR_OK);
    if (b > 0) {
      assert_memory_equal(again, together, sizeof together);
    }
    for (size_t i = 0; i < TEXTS; i += 37 * slow_step(3, 9)) {
      float alone;
      assert_int_equal(
          rr_scorer_rerank(workspace, query, &texts[i], 1, &options, true, &alone, NULL), RR_OK);
      assert_memory_equal(&alone, &together[i], sizeof alone);
    }
    rr_workspace_destroy(workspace);
  }
  rr_scorer_destroy(scorer);
}

#define VARIANT(name, dtype)                                                                       \
  {                                                                                                \
    "scores are the same alone and among a thousand: " name " " #dtype,                            \
        scores_are_the_same_alone_and_among_a_thousand, NULL, NULL, &(variant) {                   \
      name, dtype                                                                                  \
    }                                                                                              \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      VARIANT("cross-encoder", RR_DTYPE_FLOAT32),    VARIANT("cross-encoder", RR_DTYPE_BFLOAT16),
      VARIANT("cross-encoder", RR_DTYPE_INT8),       VARIANT("bi-encoder-mean", RR_DTYPE_FLOAT32),
      VARIANT("bi-encoder-mean", RR_DTYPE_BFLOAT16), VARIANT("bi-encoder-mean", RR_DTYPE_INT8),
  };
  return cmocka_run_group_tests(tests, make_texts, NULL);
}
