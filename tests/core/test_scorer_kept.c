/* Kept state of bi-encoders' texts: scores of texts that are at hand are those of texts that are
 * computed, to the bit; what does not fit is refused; fingerprints tell models apart. */
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

enum { TEXTS_MAX = 256, ARENA = 64 << 20 };

typedef struct subject {
  const char *model;
  const char *golden;
  rr_scoring scoring;
} subject;

static rr_scorer *load(const char *directory, rr_scoring scoring, rr_dtype dtype) {
  rr_scorer *scorer = NULL;
  rr_error err = {.message = ""};
  const rr_load_options options = {.dtype = dtype, .scoring = scoring};
  if (rr_scorer_load(directory, &options, &scorer, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return scorer;
}

static rr_encoded encode(const rr_scorer *scorer, const golden_case *item,
                         const rr_encode_options *options, rr_arena *arena) {
  rr_encoded encoded;
  rr_error err = {.message = ""};
  if (rr_scorer_encode(scorer, item->query, item->texts, item->n_texts, options, arena, &encoded,
                       &err) != RR_OK) {
    fail_msg("case \"%s\": %s", item->name, err.message);
  }
  return encoded;
}

/* Sequence by sequence, so that cold and warm meet different neighbours: none. */
static void compute(rr_workspace *workspace, rr_encoded *encoded) {
  for (size_t i = 0; i < encoded->n_sequences; i++) {
    rr_sequence *one = &encoded->sequences[i];
    assert_int_equal(rr_scorer_forward(workspace, &one, 1, NULL), RR_OK);
  }
}

static void compute_at_once(rr_workspace *workspace, rr_encoded *encoded) {
  rr_sequence *all[TEXTS_MAX + 1];
  for (size_t i = 0; i < encoded->n_sequences; i++) {
    all[i] = &encoded->sequences[i];
  }
  assert_int_equal(rr_scorer_forward(workspace, all, encoded->n_sequences, NULL), RR_OK);
}

/* One kept state a text, in memory of its own that ends where that does. */
static void take_kept(const rr_scorer *scorer, const rr_encoded *encoded, rr_kept *ret_kept) {
  for (size_t i = 0; i < encoded->n_candidates; i++) {
    const rr_sequence *sequence = &encoded->sequences[encoded->sequence_of[i]];
    size_t size = rr_scorer_kept_bytes(scorer, sequence);
    void *data = malloc(size);
    assert_non_null(data);
    rr_scorer_kept_write(scorer, sequence, data);
    ret_kept[i] = (rr_kept){.data = data, .size = size};
    assert_true(rr_scorer_kept_fits(scorer, ret_kept[i]));
  }
}

static void free_kept(rr_kept *kept, size_t n) {
  for (size_t i = 0; i < n; i++) {
    free((void *)(uintptr_t)kept[i].data);
  }
}

static void check_counts(const rr_encoded *cold, const rr_encoded *warm) {
  assert_int_equal(cold->n_sequences, warm->n_sequences);
  assert_int_equal(cold->tokens, warm->tokens);
  assert_int_equal(cold->n_truncated, warm->n_truncated);
  for (size_t i = 0; i < cold->n_sequences; i++) {
    assert_int_equal(cold->sequences[i].length, warm->sequences[i].length);
    assert_int_equal(cold->sequences[i].text_tokens, warm->sequences[i].text_tokens);
    assert_int_equal(cold->sequences[i].dropped_tokens, warm->sequences[i].dropped_tokens);
  }
}

/* Every step-th text is not at hand, none where step is 0. */
static void check_warm(rr_workspace *workspace, const rr_scorer *scorer, const golden_case *item,
                       size_t step, const rr_encoded *cold, const rr_kept *kept,
                       const float *wanted) {
  rr_arena arena;
  rr_kept given[TEXTS_MAX];
  float scores[TEXTS_MAX];
  rr_arena_init(&arena, ARENA);
  for (size_t i = 0; i < item->n_texts; i++) {
    given[i] = step > 0 && i % step == 0 ? (rr_kept){0} : kept[i];
  }
  rr_encode_options options = item->options;
  options.kept = given;
  rr_encoded warm = encode(scorer, item, &options, &arena);
  check_counts(cold, &warm);
  assert_false(warm.sequences[0].at_hand);
  for (size_t i = 0; step == 0 && i < item->n_texts; i++) {
    assert_true(warm.sequences[warm.sequence_of[i]].at_hand);
    assert_null(warm.sequences[warm.sequence_of[i]].input->ids);
  }
  compute_at_once(workspace, &warm);
  assert_int_equal(rr_scorer_scores(scorer, &warm, true, scores, NULL), RR_OK);
  assert_memory_equal(scores, wanted, item->n_texts * sizeof *scores);
  if (step != 2) {
    rr_arena_finish(&arena);
    return;
  }
  assert_int_equal(rr_scorer_rerank(workspace, item->query, item->texts, item->n_texts, &options,
                                    true, scores, NULL),
                   RR_OK);
  assert_memory_equal(scores, wanted, item->n_texts * sizeof *scores);
  rr_arena_finish(&arena);
}

/* Kept states that were made ahead, without a query, have the same bytes. */
static void check_made_ahead(rr_workspace *workspace, const rr_scorer *scorer,
                             const golden_case *item, const rr_kept *kept) {
  rr_arena arena;
  rr_kept ahead[TEXTS_MAX];
  rr_arena_init(&arena, ARENA);
  rr_encode_options options = item->options;
  options.kept_only = true;
  rr_encoded encoded = encode(scorer, item, &options, &arena);
  assert_int_equal(encoded.sequence_of[0], 0);
  compute_at_once(workspace, &encoded);
  take_kept(scorer, &encoded, ahead);
  for (size_t i = 0; i < item->n_texts; i++) {
    assert_int_equal(ahead[i].size, kept[i].size);
    assert_memory_equal(ahead[i].data, kept[i].data, kept[i].size);
  }
  free_kept(ahead, item->n_texts);
  rr_arena_finish(&arena);
}

static void check_bits(const subject *of, rr_dtype dtype) {
  golden_cases cases = golden_load(of->golden);
  rr_scorer *scorer = load(golden_path(of->model), of->scoring, dtype);
  rr_workspace *workspace = NULL;
  assert_int_equal(rr_workspace_create(scorer, 16384, &workspace, NULL), RR_OK);
  for (size_t c = 0; c < cases.count; c += getenv("RR_SLOW") == NULL ? 1 : 8) {
    const golden_case *item = &cases.items[c];
    rr_arena arena;
    rr_kept kept[TEXTS_MAX];
    float wanted[TEXTS_MAX];
    assert_true(item->n_texts <= TEXTS_MAX);
    rr_arena_init(&arena, ARENA);
    rr_encoded cold = encode(scorer, item, &item->options, &arena);
    compute(workspace, &cold);
    assert_int_equal(rr_scorer_scores(scorer, &cold, true, wanted, NULL), RR_OK);
    take_kept(scorer, &cold, kept);
    check_warm(workspace, scorer, item, 0, &cold, kept, wanted);
    check_warm(workspace, scorer, item, 2, &cold, kept, wanted);
    check_made_ahead(workspace, scorer, item, kept);
    free_kept(kept, item->n_texts);
    rr_arena_finish(&arena);
  }
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
  golden_free(&cases);
}

static void warm_scores_are_cold_ones_to_the_bit(void **state) {
  check_bits(*state, RR_DTYPE_FLOAT32);
  check_bits(*state, RR_DTYPE_BFLOAT16);
  check_bits(*state, RR_DTYPE_INT8);
}

static const rr_text some_text = {.data = "bread and water", .size = 15};

/* The kept state of some_text. */
static rr_kept kept_of(const rr_scorer *scorer) {
  rr_arena arena;
  rr_encoded encoded;
  rr_workspace *workspace = NULL;
  rr_kept kept;
  rr_arena_init(&arena, ARENA);
  const rr_encode_options options = {.truncate = true, .kept_only = true};
  assert_int_equal(rr_workspace_create(scorer, 512, &workspace, NULL), RR_OK);
  assert_int_equal(
      rr_scorer_encode(scorer, some_text, &some_text, 1, &options, &arena, &encoded, NULL), RR_OK);
  compute(workspace, &encoded);
  take_kept(scorer, &encoded, &kept);
  rr_workspace_destroy(workspace);
  rr_arena_finish(&arena);
  return kept;
}

static void check_refused(const rr_scorer *scorer, rr_kept kept) {
  rr_arena arena;
  rr_encoded encoded;
  rr_error err;
  rr_arena_init(&arena, ARENA);
  const rr_encode_options options = {.truncate = true, .kept = &kept};
  assert_false(rr_scorer_kept_fits(scorer, kept));
  assert_int_equal(
      rr_scorer_encode(scorer, some_text, &some_text, 1, &options, &arena, &encoded, &err),
      RR_ERR_INPUT);
  assert_non_null(strstr(err.message, "kept state of text 0"));
  rr_arena_finish(&arena);
}

static void what_does_not_fit_is_refused(void **state) {
  (void)state;
  rr_scorer *maxsim = load(golden_path("bi-encoder-mean"), RR_SCORING_MAXSIM, RR_DTYPE_FLOAT32);
  static const struct {
    const char *model;
    rr_scoring scoring;
    rr_dtype dtype;
  } others[] = {{"bi-encoder-mean", RR_SCORING_COSINE, RR_DTYPE_FLOAT32},
                {"bi-encoder-mean", RR_SCORING_HYBRID, RR_DTYPE_FLOAT32},
                {"bi-encoder-mean", RR_SCORING_MAXSIM, RR_DTYPE_INT8},
                {"bi-encoder-mean", RR_SCORING_MAXSIM, RR_DTYPE_BFLOAT16},
                {"colbert", RR_SCORING_AUTO, RR_DTYPE_FLOAT32}};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    rr_scorer *other = load(golden_path(others[i].model), others[i].scoring, others[i].dtype);
    rr_kept kept = kept_of(other);
    check_refused(maxsim, kept);
    free_kept(&kept, 1);
    rr_scorer_destroy(other);
  }
  rr_kept good = kept_of(maxsim);
  check_refused(maxsim, (rr_kept){.data = good.data, .size = good.size - 1});
  check_refused(maxsim, (rr_kept){.data = good.data, .size = 47});
  for (size_t bit = 0; bit < 8 * 24; bit++) { /* magic to n_rows: no other value is right here */
    unsigned char *bytes = malloc(good.size);
    memcpy(bytes, good.data, good.size);
    bytes[bit / 8] = (unsigned char)(bytes[bit / 8] ^ 1u << bit % 8);
    check_refused(maxsim, (rr_kept){.data = bytes, .size = good.size});
    free(bytes);
  }
  free_kept(&good, 1);
  rr_scorer_destroy(maxsim);
}

static void a_cross_encoder_keeps_no_texts(void **state) {
  (void)state;
  rr_scorer *scorer = load(golden_path("cross-encoder"), RR_SCORING_AUTO, RR_DTYPE_FLOAT32);
  rr_arena arena;
  rr_encoded encoded;
  rr_kept none = {0};
  rr_arena_init(&arena, ARENA);
  rr_encode_options options = {.truncate = true};
  assert_int_equal(
      rr_scorer_encode(scorer, some_text, &some_text, 1, &options, &arena, &encoded, NULL), RR_OK);
  assert_int_equal(rr_scorer_kept_bytes(scorer, &encoded.sequences[0]), 0);
  assert_false(rr_scorer_kept_fits(scorer, none));
  options.kept = &none;
  assert_int_equal(
      rr_scorer_encode(scorer, some_text, &some_text, 1, &options, &arena, &encoded, NULL),
      RR_ERR_INPUT);
  options = (rr_encode_options){.kept_only = true};
  assert_int_equal(
      rr_scorer_encode(scorer, some_text, &some_text, 1, &options, &arena, &encoded, NULL),
      RR_ERR_INPUT);
  rr_arena_finish(&arena);
  rr_scorer_destroy(scorer);
}

/* Vectors at hand are not in the arena. */
static void what_is_at_hand_takes_no_arena(void **state) {
  (void)state;
  rr_scorer *scorer = load(golden_path("bi-encoder-mean"), RR_SCORING_HYBRID, RR_DTYPE_FLOAT32);
  rr_kept one = kept_of(scorer);
  rr_text texts[64];
  rr_kept kept[64];
  size_t total[2];
  char distinct[64][256];
  for (size_t i = 0; i < 64; i++) {
    memset(distinct[i], 0, sizeof distinct[i]); /* long enough that tokens are what counts */
    for (size_t word = 0; word < 40; word++) {
      distinct[i][2 * word] = (char)('a' + (i + word * i) % 26);
      distinct[i][2 * word + 1] = ' ';
    }
    (void)snprintf(distinct[i] + 80, sizeof distinct[i] - 80, "%zu", i);
    texts[i] = (rr_text){.data = distinct[i], .size = strlen(distinct[i])};
    kept[i] = one;
  }
  for (int warm = 0; warm < 2; warm++) {
    rr_arena arena;
    rr_encoded encoded;
    rr_arena_init(&arena, ARENA);
    const rr_encode_options options = {.truncate = true, .kept = warm ? kept : NULL};
    assert_int_equal(
        rr_scorer_encode(scorer, some_text, texts, 64, &options, &arena, &encoded, NULL), RR_OK);
    total[warm] = arena.total;
    rr_arena_finish(&arena);
  }
  assert_true(total[1] < total[0]);
  free_kept(&one, 1);
  rr_scorer_destroy(scorer);
}

static void fingerprint(const char *directory, rr_scoring scoring, rr_dtype dtype, uint8_t *ret) {
  rr_scorer *scorer = load(directory, scoring, dtype);
  rr_error err = {.message = ""};
  if (rr_scorer_fingerprint(scorer, ret, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  rr_scorer_destroy(scorer);
}

static const char *copy_of(const char *model) {
  static const char *const files[] = {"config.json", "vocab.txt", "tokenizer_config.json",
                                      "model.safetensors"};
  char source[4096];
  (void)snprintf(source, sizeof source, "%s", golden_path(model));
  const char *directory = scratch_create();
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    scratch_copy(source, directory, files[i]);
  }
  return directory;
}

/* Appends to a copy's file, or changes its last byte. */
static void fingerprint_of_changed(const char *name, const char *more, uint8_t *ret) {
  char path[4096];
  size_t size;
  const char *directory = copy_of("bi-encoder-cls");
  if (name != NULL) {
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    unsigned char *bytes = read_bytes(path, &size);
    bytes = realloc(bytes, size + strlen(more));
    assert_non_null(bytes);
    memcpy(bytes + size, more, strlen(more));
    bytes[size - 1] = (unsigned char)(more[0] == '\0' ? bytes[size - 1] ^ 1u : bytes[size - 1]);
    scratch_bytes(directory, name, bytes, size + strlen(more));
    free(bytes);
  }
  fingerprint(directory, RR_SCORING_COSINE, RR_DTYPE_FLOAT32, ret);
  scratch_remove(directory);
}

static void fingerprints_tell_models_apart(void **state) {
  (void)state;
  enum { N = 8 };
  uint8_t found[N][RR_FINGERPRINT_BYTES];
  uint8_t again[RR_FINGERPRINT_BYTES];
  fingerprint_of_changed(NULL, "", found[0]);
  fingerprint_of_changed("model.safetensors", "", found[1]);
  fingerprint_of_changed("config.json", " ", found[2]);
  fingerprint_of_changed("tokenizer_config.json", " ", found[3]);
  fingerprint_of_changed("vocab.txt", "", found[4]);
  const char *directory = copy_of("bi-encoder-cls");
  fingerprint(directory, RR_SCORING_MAXSIM, RR_DTYPE_FLOAT32, found[5]);
  fingerprint(directory, RR_SCORING_COSINE, RR_DTYPE_INT8, found[6]);
  fingerprint(directory, RR_SCORING_COSINE, RR_DTYPE_FLOAT32, again); /* another copy, elsewhere */
  scratch_remove(directory);
  fingerprint(golden_path("bi-encoder-mean"), RR_SCORING_COSINE, RR_DTYPE_FLOAT32, found[7]);
  assert_memory_equal(found[0], again, sizeof again);
  for (size_t i = 0; i < N; i++) {
    for (size_t j = 0; j < i; j++) {
      assert_memory_not_equal(found[i], found[j], sizeof again);
    }
  }
}

static void a_fingerprint_may_lack_memory_or_files(void **state) {
  (void)state;
  char path[4200];
  uint8_t before[RR_FINGERPRINT_BYTES] = {7};
  uint8_t found[RR_FINGERPRINT_BYTES] = {7};
  char directory[4096];
  (void)snprintf(directory, sizeof directory, "%s", copy_of("bi-encoder-cls"));
  rr_scorer *scorer = load(directory, RR_SCORING_COSINE, RR_DTYPE_FLOAT32);
  unsigned failures = 0;
  for (unsigned long n = 1, asked = n; n <= asked; n++) {
    rr_alloc_fail_at(n, 0);
    rr_status status = rr_scorer_fingerprint(scorer, found, NULL);
    asked = rr_alloc_count();
    rr_alloc_fail_at(0, 0);
    assert_true(n <= asked ? status == RR_ERR_MEMORY || status == RR_ERR_IO : status == RR_OK);
    failures += n <= asked;
    if (status != RR_OK) {
      assert_memory_equal(found, before, sizeof found);
      asked = n + 1; /* what comes behind the one that failed was not asked for */
    }
  }
  assert_true(failures > 1);
  (void)snprintf(path, sizeof path, "%s/model.safetensors", directory);
  assert_int_equal(remove(path), 0);
  assert_int_equal(rr_scorer_fingerprint(scorer, found, NULL), RR_ERR_IO);
  rr_scorer_destroy(scorer);
  scratch_remove(directory);
}

#define BITS(what, model, golden, scoring)                                                         \
  {                                                                                                \
    what ": warm scores are cold ones to the bit", warm_scores_are_cold_ones_to_the_bit, NULL,     \
        NULL, &(subject) {                                                                         \
      model, golden, scoring                                                                       \
    }                                                                                              \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      BITS("cosine, mean pooling", "bi-encoder-mean", "bi-encoder-mean", RR_SCORING_COSINE),
      BITS("cosine, CLS pooling", "bi-encoder-cls", "bi-encoder-cls", RR_SCORING_COSINE),
      BITS("MaxSim, mean pooling", "bi-encoder-mean", "bi-encoder-mean-maxsim", RR_SCORING_MAXSIM),
      BITS("MaxSim, CLS pooling", "bi-encoder-cls", "bi-encoder-cls-maxsim", RR_SCORING_MAXSIM),
      BITS("hybrid, mean pooling", "bi-encoder-mean", "bi-encoder-mean-hybrid", RR_SCORING_HYBRID),
      BITS("hybrid, CLS pooling", "bi-encoder-cls", "bi-encoder-cls-hybrid", RR_SCORING_HYBRID),
      BITS("ColBERT", "colbert", "colbert", RR_SCORING_AUTO),
      BITS("ColBERT that attends to [MASK]", "colbert-attending", "colbert-attending",
           RR_SCORING_AUTO),
      BITS("ColBERT without metadata", "colbert-bare", "colbert-bare", RR_SCORING_MAXSIM),
      cmocka_unit_test(what_does_not_fit_is_refused),
      cmocka_unit_test(a_cross_encoder_keeps_no_texts),
      cmocka_unit_test(what_is_at_hand_takes_no_arena),
      cmocka_unit_test(fingerprints_tell_models_apart),
      cmocka_unit_test(a_fingerprint_may_lack_memory_or_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
