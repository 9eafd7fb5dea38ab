/* Kept state of a split model's texts: pairs of any query that are given it score to the bit what
 * they score without; a pair that was cut leaves none; what does not fit is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/encoder.h"
#include "tests/core/split_support.h"

enum { TEXTS_MAX = 256, MICRO_BATCH = 65536, HEADER_BYTES = 40 /* but for what is unused */ };

static const rr_dtype dtypes[] = {RR_DTYPE_FLOAT32, RR_DTYPE_BFLOAT16, RR_DTYPE_INT8};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

static const rr_text other_query = {"bread", 5};

typedef struct subject {
  rr_scorer *scorer;
  rr_workspace *workspace;
  rr_arena arena;
} subject;

static subject begin(const char *variant, rr_dtype dtype) {
  subject s = {.scorer = split_load(variant, dtype)};
  rr_arena_init(&s.arena, 256u << 20);
  assert_int_equal(rr_workspace_create(s.scorer, MICRO_BATCH, &s.workspace, NULL), RR_OK);
  return s;
}

static void end(subject *s) {
  rr_arena_finish(&s->arena);
  rr_workspace_destroy(s->workspace);
  rr_scorer_destroy(s->scorer);
}

static rr_encoded encode(subject *s, rr_text query, const rr_text *texts, size_t n,
                         const rr_encode_options *options) {
  rr_encoded encoded;
  rr_error err = {.message = ""};
  if (rr_scorer_encode(s->scorer, query, texts, n, options, &s->arena, &encoded, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return encoded;
}

/* Memory that ends where kept state does. */
static void *kept_memory(size_t size) {
  void *memory = malloc(size);
  assert_non_null(memory);
  memset(memory, 0xff, size);
  return memory;
}

static void forward(subject *s, const rr_encoded *encoded) {
  rr_sequence *all[TEXTS_MAX];
  rr_error err = {.message = ""};
  for (size_t i = 0; i < encoded->n_sequences; i++) {
    all[i] = &encoded->sequences[i];
  }
  if (rr_scorer_forward(s->workspace, all, encoded->n_sequences, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
}

/* One a text; of equal texts the first has it. Computes; ret_scores: NULL where there are none. */
static void leave_kept(subject *s, rr_encoded *encoded, rr_kept *ret_kept, float *ret_scores) {
  for (size_t i = 0; i < encoded->n_candidates; i++) {
    rr_sequence *sequence = &encoded->sequences[encoded->sequence_of[i]];
    size_t size = rr_scorer_kept_bytes(s->scorer, sequence);
    ret_kept[i] = (rr_kept){0};
    assert_true(size > 0 || sequence->dropped_tokens > 0);
    if (size > 0 && sequence->input->kept == NULL) {
      void *memory = kept_memory(size);
      rr_scorer_kept_place(s->scorer, sequence, memory);
      ret_kept[i] = (rr_kept){.data = memory, .size = size};
    }
    if (size == 0) {
      rr_scorer_kept_place(s->scorer, sequence, NULL);
    }
  }
  forward(s, encoded);
  if (ret_scores != NULL) {
    assert_int_equal(rr_scorer_scores(s->scorer, encoded, true, ret_scores, NULL), RR_OK);
  }
  for (size_t i = 0; i < encoded->n_candidates; i++) {
    assert_int_equal(rr_scorer_kept_fits(s->scorer, ret_kept[i]), ret_kept[i].data != NULL);
  }
}

static void free_kept(rr_kept *kept, size_t n) {
  for (size_t i = 0; i < n; i++) {
    free((void *)(uintptr_t)kept[i].data);
  }
}

/* Returns how many pairs of the warm ones are. */
static size_t check_counts(const rr_encoded *cold, const rr_encoded *warm) {
  size_t count = 0;
  assert_int_equal(cold->n_sequences, warm->n_sequences);
  assert_int_equal(cold->tokens, warm->tokens);
  assert_int_equal(cold->n_truncated, warm->n_truncated);
  for (size_t i = 0; i < cold->n_sequences; i++) {
    assert_int_equal(cold->sequences[i].length, warm->sequences[i].length);
    assert_int_equal(cold->sequences[i].input->split_at, warm->sequences[i].input->split_at);
    assert_int_equal(cold->sequences[i].text_tokens, warm->sequences[i].text_tokens);
    assert_int_equal(cold->sequences[i].dropped_tokens, warm->sequences[i].dropped_tokens);
    assert_int_equal(cold->sequences[i].input->rows, warm->sequences[i].input->rows);
    count += warm->sequences[i].input->part == RR_PART_WARM;
  }
  return count;
}

/* Kept state can be written again from a warm pair. */
static void check_written(const subject *s, const rr_encoded *warm, const rr_kept *kept) {
  for (size_t i = 0; i < warm->n_candidates; i++) {
    const rr_sequence *sequence = &warm->sequences[warm->sequence_of[i]];
    if (sequence->input->part != RR_PART_WARM || kept[i].data == NULL) {
      continue;
    }
    assert_int_equal(rr_scorer_kept_bytes(s->scorer, sequence), kept[i].size);
    void *again = kept_memory(kept[i].size);
    rr_scorer_kept_write(s->scorer, sequence, again);
    assert_memory_equal(again, kept[i].data, kept[i].size);
    free(again);
  }
}

/* What another query's pairs left, as what was made without one; how many pairs were warm. */
static size_t check_case(subject *s, const golden_case *item) {
  rr_kept beside[TEXTS_MAX];
  rr_kept ahead[TEXTS_MAX];
  float wanted[TEXTS_MAX];
  float scores[TEXTS_MAX];
  size_t n = item->n_texts;
  rr_encode_options options = item->options;
  rr_encoded cold = encode(s, item->query, item->texts, n, &options);
  forward(s, &cold);
  assert_int_equal(rr_scorer_scores(s->scorer, &cold, true, wanted, NULL), RR_OK);
  rr_encoded other = encode(s, other_query, item->texts, n, &options);
  leave_kept(s, &other, beside, scores);
  options.kept_only = true;
  rr_encoded documents = encode(s, item->query, item->texts, n, &options);
  leave_kept(s, &documents, ahead, NULL);
  options.kept_only = false;
  for (size_t i = 0; i < n; i++) {
    if (beside[i].data != NULL) {
      assert_int_equal(beside[i].size, ahead[i].size);
      assert_memory_equal(beside[i].data, ahead[i].data, ahead[i].size);
    }
  }
  options.kept = ahead;
  rr_encoded warm = encode(s, item->query, item->texts, n, &options);
  size_t count = check_counts(&cold, &warm);
  forward(s, &warm);
  assert_int_equal(rr_scorer_scores(s->scorer, &warm, true, scores, NULL), RR_OK);
  assert_memory_equal(scores, wanted, n * sizeof *scores);
  check_written(s, &warm, ahead);
  for (size_t i = 0; i < n; i += 2) {
    beside[i].data = (free((void *)(uintptr_t)beside[i].data), NULL);
  }
  options.kept = beside;
  assert_int_equal(
      rr_scorer_rerank(s->workspace, item->query, item->texts, n, &options, true, scores, NULL),
      RR_OK);
  assert_memory_equal(scores, wanted, n * sizeof *scores);
  free_kept(ahead, n);
  free_kept(beside, n);
  return count;
}

static void warm_scores_are_cold_ones_to_the_bit(void **state) {
  golden_cases cases = golden_load(*state);
  for (size_t d = 0; d < DTYPES; d++) {
    size_t warm = 0;
    size_t pairs = 0;
    for (size_t c = 0; c < cases.count; c += split_step()) {
      subject s = begin(*state, dtypes[d]);
      warm += check_case(&s, &cases.items[c]);
      pairs += cases.items[c].n_texts;
      end(&s);
    }
    assert_true(2 * warm > pairs);
  }
  golden_free(&cases);
}

/* "water water water ...", n times. */
static rr_text many_words(char *memory, size_t n) {
  for (size_t i = 0; i < n; i++) {
    memcpy(memory + 6 * i, "water ", 6);
  }
  return (rr_text){memory, 6 * n};
}

/* Pairs at the limit, one token below and one above: kept state is left and used where nothing is
 * cut, by either query. */
static void kept_state_is_used_where_the_pair_fits(void **state) {
  (void)state;
  static char words[2][6 * 600];
  for (size_t d = 0; d < DTYPES; d++) {
    subject s = begin("split-cls-maxsim", dtypes[d]);
    size_t most = rr_scorer_info(s.scorer)->max_input_length;
    for (size_t bound = most - 20; bound <= most; bound += 20) {
      rr_kept kept;
      const rr_text text = many_words(words[0], bound / 2);
      rr_encode_options options = {.truncate = true, .max_length = (uint32_t)bound};
      rr_encoded first = encode(&s, other_query, &text, 1, &options);
      leave_kept(&s, &first, &kept, NULL);
      assert_non_null(kept.data);
      for (size_t tokens = bound - bound / 2 - 5; tokens < bound - bound / 2; tokens++) {
        const rr_text query = many_words(words[1], tokens);
        bool fits = tokens + 3 + bound / 2 <= bound;
        float scores[2];
        options.kept = NULL;
        rr_encoded cold = encode(&s, query, &text, 1, &options);
        assert_int_equal(rr_scorer_kept_bytes(s.scorer, &cold.sequences[0]) > 0, fits);
        assert_int_equal(cold.sequences[0].dropped_tokens > 0, !fits);
        assert_int_equal(
            rr_scorer_rerank(s.workspace, query, &text, 1, &options, true, &scores[0], NULL),
            RR_OK);
        options.kept = &kept;
        rr_encoded warm = encode(&s, query, &text, 1, &options);
        assert_int_equal(check_counts(&cold, &warm), fits);
        assert_int_equal(
            rr_scorer_rerank(s.workspace, query, &text, 1, &options, true, &scores[1], NULL),
            RR_OK);
        assert_memory_equal(&scores[0], &scores[1], sizeof scores[0]);
      }
      free_kept(&kept, 1);
    }
    end(&s);
  }
}

/* With kept state the same errors as without. */
static void what_is_too_long_is_still_refused(void **state) {
  (void)state;
  static char words[2][6 * 600];
  subject s = begin("split", RR_DTYPE_FLOAT32);
  const rr_text text = many_words(words[0], 300);
  rr_kept kept;
  rr_encode_options options = {.truncate = false};
  rr_encoded first = encode(&s, other_query, &text, 1, &options);
  leave_kept(&s, &first, &kept, NULL);
  for (size_t tokens = 200; tokens <= 600; tokens += 200) {
    for (size_t how = 0; how < 2; how++) {
      const rr_text query = many_words(words[1], tokens);
      rr_error err[2] = {{.message = ""}, {.message = ""}};
      rr_status status[2];
      rr_encoded encoded;
      options = (rr_encode_options){.truncate = how == 1, .cut = RR_CUT_TEXT};
      for (size_t warm = 0; warm < 2; warm++) {
        options.kept = warm == 1 ? &kept : NULL;
        status[warm] =
            rr_scorer_encode(s.scorer, query, &text, 1, &options, &s.arena, &encoded, &err[warm]);
      }
      assert_int_equal(status[0], status[1]);
      assert_int_equal(status[0],
                       tokens == 200 || (how == 1 && tokens == 400) ? RR_OK : RR_ERR_INPUT);
      assert_true(status[0] == RR_OK || strcmp(err[0].message, err[1].message) == 0);
    }
  }
  free_kept(&kept, 1);
  end(&s);
}

/* Cut to max_text_tokens the text is another, with kept state of its own. */
static void texts_that_are_cut_ahead_have_kept_state(void **state) {
  (void)state;
  static char words[6 * 600];
  subject s = begin("split", RR_DTYPE_BFLOAT16);
  const rr_text texts[] = {many_words(words, 600), {"a stone bridge over the river", 29}};
  for (rr_truncation_side side = RR_TRUNCATE_RIGHT; side <= RR_TRUNCATE_LEFT; side++) {
    rr_kept kept[2];
    float scores[2];
    float wanted[2];
    rr_encode_options options = {.truncate = true, .max_text_tokens = 4, .side = side};
    rr_encoded first = encode(&s, other_query, texts, 2, &options);
    leave_kept(&s, &first, kept, NULL);
    assert_non_null(kept[0].data);
    rr_encoded cold = encode(&s, texts[1], texts, 2, &options);
    assert_int_equal(cold.sequences[0].text_tokens, 600);
    assert_int_equal(cold.n_truncated, 2);
    forward(&s, &cold);
    assert_int_equal(rr_scorer_scores(s.scorer, &cold, true, wanted, NULL), RR_OK);
    options.kept = kept;
    rr_encoded warm = encode(&s, texts[1], texts, 2, &options);
    assert_int_equal(check_counts(&cold, &warm), 2);
    forward(&s, &warm);
    assert_int_equal(rr_scorer_scores(s.scorer, &warm, true, scores, NULL), RR_OK);
    assert_memory_equal(scores, wanted, sizeof scores);
    free_kept(kept, 2);
  }
  end(&s);
}

static const rr_text some_text = {"bread and water", 15};

static rr_kept kept_of(subject *s) {
  rr_kept kept;
  const rr_encode_options options = {.truncate = true};
  rr_encoded encoded = encode(s, other_query, &some_text, 1, &options);
  leave_kept(s, &encoded, &kept, NULL);
  return kept;
}

static void check_refused(subject *s, rr_kept kept) {
  rr_encoded encoded;
  rr_error err;
  const rr_encode_options options = {.truncate = true, .kept = &kept};
  assert_false(rr_scorer_kept_fits(s->scorer, kept));
  assert_int_equal(
      rr_scorer_encode(s->scorer, some_text, &some_text, 1, &options, &s->arena, &encoded, &err),
      RR_ERR_INPUT);
  assert_non_null(strstr(err.message, "kept state of text 0"));
}

/* Kept state that says it has so many rows, and has them. */
static void check_length(subject *s, rr_kept good, uint32_t length, bool fits) {
  enum { N_ROWS_AT = 20, TEXT_TOKENS_AT = 28 };
  size_t size = 48 + (size_t)length * rr_scorer_info(s->scorer)->hidden_size * sizeof(uint16_t);
  char *bytes = kept_memory(size);
  const uint32_t lengths[] = {length, length};
  const uint32_t counts[] = {length - 1, 0}; /* [SEP] is not the text's */
  memcpy(bytes, good.data, 48);
  memcpy(bytes + N_ROWS_AT, lengths, sizeof lengths);
  memcpy(bytes + TEXT_TOKENS_AT, counts, sizeof counts);
  const rr_kept kept = {.data = bytes, .size = size};
  if (fits) {
    assert_true(rr_scorer_kept_fits(s->scorer, kept));
  } else {
    check_refused(s, kept);
  }
  free(bytes);
}

static void what_does_not_fit_is_refused(void **state) {
  (void)state;
  subject s = begin("split", RR_DTYPE_BFLOAT16);
  subject full = begin("split", RR_DTYPE_FLOAT32);
  rr_kept good = kept_of(&s);
  rr_kept other = kept_of(&full);
  check_refused(&s, other);
  check_refused(&full, good);
  check_refused(&s, (rr_kept){.data = good.data, .size = good.size - 1});
  check_refused(&s, (rr_kept){.data = good.data, .size = 47});
  for (size_t bit = 0; bit < 8 * HEADER_BYTES; bit++) {
    unsigned char *bytes = kept_memory(good.size);
    memcpy(bytes, good.data, good.size);
    bytes[bit / 8] = (unsigned char)(bytes[bit / 8] ^ 1u << bit % 8);
    check_refused(&s, (rr_kept){.data = bytes, .size = good.size});
    free(bytes);
  }
  uint32_t most = rr_scorer_info(s.scorer)->max_input_length;
  check_length(&s, good, 1, true);
  check_length(&s, good, most - 1, true);
  check_length(&s, good, most, false);
  check_length(&s, good, 0, false);
  free_kept(&good, 1);
  free_kept(&other, 1);
  end(&full);
  end(&s);
}

/* What a bi-encoder keeps of a text is not taken for rows, though they are as long. */
static void a_bi_encoder_s_kept_state_is_refused(void **state) {
  (void)state;
  const rr_load_options how = {.dtype = RR_DTYPE_FLOAT32, .scoring = RR_SCORING_MAXSIM};
  const rr_encode_options options = {.truncate = true, .kept_only = true};
  subject s = begin("split", RR_DTYPE_FLOAT32);
  subject bi = {.scorer = NULL};
  rr_arena_init(&bi.arena, 64u << 20);
  assert_int_equal(rr_scorer_load(golden_path("bi-encoder-mean"), &how, &bi.scorer, NULL), RR_OK);
  assert_int_equal(rr_workspace_create(bi.scorer, 512, &bi.workspace, NULL), RR_OK);
  rr_encoded encoded = encode(&bi, other_query, &some_text, 1, &options);
  forward(&bi, &encoded);
  size_t size = rr_scorer_kept_bytes(bi.scorer, &encoded.sequences[0]);
  const rr_kept theirs = {.data = kept_memory(size), .size = size};
  rr_kept ours = kept_of(&s);
  rr_scorer_kept_write(bi.scorer, &encoded.sequences[0], (void *)(uintptr_t)theirs.data);
  check_refused(&s, theirs);
  assert_false(rr_scorer_kept_fits(bi.scorer, ours));
  free((void *)(uintptr_t)theirs.data);
  free_kept(&ours, 1);
  end(&bi);
  end(&s);
}

static void texts_alone_have_none(void **state) {
  (void)state;
  subject s = begin("split", RR_DTYPE_FLOAT32);
  rr_kept kept = kept_of(&s);
  const rr_encode_options options = {.truncate = true, .alone = true, .kept = &kept};
  rr_encoded encoded = encode(&s, other_query, &some_text, 1, &options);
  assert_int_equal(encoded.sequences[0].input->part, RR_PART_WHOLE);
  assert_int_equal(rr_scorer_kept_bytes(s.scorer, &encoded.sequences[0]), 0);
  free_kept(&kept, 1);
  end(&s);
}

static void joint_positions_leave_none(void **state) {
  (void)state;
  subject s = begin("split-joint-cosine", RR_DTYPE_FLOAT32);
  rr_encode_options options = {.truncate = true};
  rr_encoded encoded = encode(&s, other_query, &some_text, 1, &options);
  rr_kept none = {0};
  rr_error err;
  assert_false(rr_scorer_info(s.scorer)->keeps_texts);
  assert_int_equal(rr_scorer_kept_bytes(s.scorer, &encoded.sequences[0]), 0);
  assert_false(rr_scorer_kept_fits(s.scorer, none));
  options.kept = &none;
  assert_int_equal(
      rr_scorer_encode(s.scorer, other_query, &some_text, 1, &options, &s.arena, &encoded, &err),
      RR_ERR_INPUT);
  options = (rr_encode_options){.kept_only = true};
  assert_int_equal(
      rr_scorer_encode(s.scorer, other_query, &some_text, 1, &options, &s.arena, &encoded, &err),
      RR_ERR_INPUT);
  end(&s);
}

#define EACH(test)                                                                                 \
  {#test ": split", test, NULL, NULL, (void *)"split"},                                            \
      {#test ": mean, maxsim", test, NULL, NULL, (void *)"split-mean-maxsim"},                     \
      {#test ": cls, maxsim", test, NULL, NULL, (void *)"split-cls-maxsim"}, {                     \
#test ": mean", test, NULL, NULL, (void *)"split-mean"                                         \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      EACH(warm_scores_are_cold_ones_to_the_bit),
      cmocka_unit_test(kept_state_is_used_where_the_pair_fits),
      cmocka_unit_test(what_is_too_long_is_still_refused),
      cmocka_unit_test(texts_that_are_cut_ahead_have_kept_state),
      cmocka_unit_test(what_does_not_fit_is_refused),
      cmocka_unit_test(a_bi_encoder_s_kept_state_is_refused),
      cmocka_unit_test(texts_alone_have_none),
      cmocka_unit_test(joint_positions_leave_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
