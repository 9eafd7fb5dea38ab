/* Split layers in any company: a document side alone, beside its query or with others leaves the
 * same kept state, and with that a pair of any query scores to the bit what the whole pair scores;
 * what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/encoder.h"
#include "tests/core/split_support.h"

enum { PAIRS_MAX = 512, TEXTS_MAX = 256, MICRO_BATCH = 65536 };

static const rr_dtype dtypes[] = {RR_DTYPE_FLOAT32, RR_DTYPE_BFLOAT16, RR_DTYPE_INT8};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

/* A variant's cases as pairs, whole ones and warm ones, and the documents alone that those read. */
typedef struct subject {
  rr_scorer *scorer;
  rr_workspace *workspace;
  rr_arena arena;
  size_t n;
  size_t n_warm;
  rr_sequence pairs[PAIRS_MAX];
  rr_sequence warm[PAIRS_MAX]; /* a pair that is cut is a whole one here too */
  rr_sequence documents[PAIRS_MAX];
  rr_kept left[PAIRS_MAX]; /* by every other of the pairs */
  rr_kept kept[PAIRS_MAX]; /* by the documents */
  float whole[PAIRS_MAX];  /* the logits */
  float warmed[PAIRS_MAX];
} subject;

/* Memory of exactly the kept state's size, so that sanitizers see what is written beyond it; to be
 * written when the sequence is computed. */
static rr_kept place(const subject *s, rr_sequence *sequence) {
  size_t size = rr_scorer_kept_bytes(s->scorer, sequence);
  void *bytes = size == 0 ? NULL : malloc(size);
  if (bytes != NULL) {
    memset(bytes, 0xff, size); /* NaN */
  }
  rr_scorer_kept_place(s->scorer, sequence, bytes);
  return (rr_kept){.data = bytes, .size = size};
}

static void drop(rr_kept kept) { free((void *)(uintptr_t)kept.data); }

static rr_encoded encode(subject *s, rr_text query, const rr_text *texts, size_t n,
                         const rr_encode_options *options) {
  rr_encoded encoded;
  rr_error err = {.message = ""};
  if (rr_scorer_encode(s->scorer, query, texts, n, options, &s->arena, &encoded, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return encoded;
}

/* The documents are encoded, and have a place, before they are computed: warm pairs need no
 * more. */
static void add_case(subject *s, const golden_case *item) {
  rr_kept given[TEXTS_MAX];
  rr_encode_options options = item->options;
  rr_encoded whole = encode(s, item->query, item->texts, item->n_texts, &options);
  options.kept_only = true;
  rr_encoded documents = encode(s, item->query, item->texts, item->n_texts, &options);
  size_t first = s->n;
  for (size_t i = 0; i < whole.n_sequences; i++, s->n++) {
    s->pairs[s->n] = whole.sequences[i];
    s->pairs[s->n].input->output = &s->whole[s->n];
    s->whole[s->n] = NAN;
    s->documents[s->n] = documents.sequences[i];
    s->kept[s->n] = place(s, &s->documents[s->n]);
    if (s->n % 2 == 1) {
      s->left[s->n] = place(s, &s->pairs[s->n]);
    }
  }
  for (size_t t = 0; t < item->n_texts; t++) {
    given[t] = s->kept[first + whole.sequence_of[t]];
  }
  options.kept_only = false;
  options.kept = given;
  rr_encoded warm = encode(s, item->query, item->texts, item->n_texts, &options);
  for (size_t i = first; i < s->n; i++) {
    s->warm[i] = warm.sequences[i - first];
    s->warm[i].input->output = &s->warmed[i];
    s->warmed[i] = NAN;
    s->n_warm += s->warm[i].input->part == RR_PART_WARM;
  }
}

static subject *start(rr_scorer *scorer) {
  subject *s = calloc(1, sizeof *s);
  assert_non_null(s);
  s->scorer = scorer;
  rr_arena_init(&s->arena, 64u << 20);
  assert_int_equal(rr_workspace_create(s->scorer, MICRO_BATCH, &s->workspace, NULL), RR_OK);
  return s;
}

static subject *begin(const char *variant, rr_dtype dtype) {
  golden_cases cases = golden_load(variant);
  subject *s = start(split_load(variant, dtype));
  for (size_t c = 0; c < cases.count && s->n + TEXTS_MAX < PAIRS_MAX; c += split_step()) {
    assert_true(cases.items[c].n_texts <= TEXTS_MAX);
    add_case(s, &cases.items[c]);
  }
  golden_free(&cases);
  return s;
}

static void end(subject *s) {
  for (size_t i = 0; i < s->n; i++) {
    drop(s->left[i]);
    drop(s->kept[i]);
  }
  rr_arena_finish(&s->arena);
  rr_workspace_destroy(s->workspace);
  rr_scorer_destroy(s->scorer);
  free(s);
}

static void forward(subject *s, rr_sequence **sequences, size_t n) {
  rr_error err = {.message = ""};
  if (rr_scorer_forward(s->workspace, sequences, n, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
}

static void one(subject *s, rr_sequence *sequence) { forward(s, &sequence, 1); }

static void check_same(const subject *s, const char *variant) {
  assert_true(2 * s->n_warm > s->n);
  for (size_t i = 0; i < s->n; i++) {
    if (!isfinite(s->whole[i]) || memcmp(&s->whole[i], &s->warmed[i], sizeof s->whole[i]) != 0) {
      fail_msg("%s, %s, pair %zu: %.9g with kept state, %.9g as a whole", variant,
               rr_scorer_info(s->scorer)->dtype_name, i, (double)s->warmed[i], (double)s->whole[i]);
    }
    if (s->left[i].data != NULL) {
      assert_int_equal(s->left[i].size, s->kept[i].size);
      assert_memory_equal(s->left[i].data, s->kept[i].data, s->kept[i].size);
    }
  }
}

static void one_sequence_at_a_time(void **state) {
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = begin(*state, dtypes[d]);
    for (size_t i = 0; i < s->n; i++) {
      one(s, &s->documents[i]);
      one(s, &s->pairs[i]);
      one(s, &s->warm[i]);
    }
    check_same(s, *state);
    end(s);
  }
}

/* Every pair of every request at once, so that query sides are shared, among whole pairs and warm
 * ones. */
static void queries_are_shared(void **state) {
  static rr_sequence *all[2 * PAIRS_MAX];
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = begin(*state, dtypes[d]);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
      one(s, &s->documents[i]);
      all[n++] = &s->pairs[i];
      all[n++] = &s->warm[s->n - 1 - i];
    }
    forward(s, all, n);
    check_same(s, *state);
    end(s);
  }
}

/* Twelve requests at once, their queries as long as each other, pair by pair in turn. */
static void queries_of_one_length_are_told_apart(void **state) {
  static const char *const words[] = {"river", "bridge", "water", "stone", "iron", "city",
                                      "town",  "house",  "tree",  "leaf",  "seed", "bread"};
  enum { QUERIES = 12, TEXTS = 3 };
  static const rr_text texts[TEXTS] = {
      {"the baker keeps the oven warm", 29}, {"a stone bridge", 14}, {"", 0}};
  const rr_encode_options options = {.truncate = true};
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = start(split_load(*state, dtypes[d]));
    float alone[TEXTS * QUERIES];
    float together[TEXTS * QUERIES];
    rr_sequence *all[TEXTS * QUERIES];
    for (size_t q = 0; q < QUERIES; q++) {
      rr_encoded encoded = encode(s, (rr_text){words[q], strlen(words[q])}, texts, TEXTS, &options);
      for (size_t t = 0; t < TEXTS; t++) {
        size_t at = t * QUERIES + q;
        all[at] = &encoded.sequences[t];
        assert_int_equal(all[at]->input->split_at, 3);
        all[at]->input->output = &alone[at];
        one(s, all[at]);
        all[at]->input->output = &together[at];
      }
    }
    forward(s, all, TEXTS * QUERIES);
    assert_memory_equal(alone, together, sizeof alone);
    end(s);
  }
}

/* Every micro-batch holds whole pairs, warm ones and documents, in no order; warm pairs come a
 * round after their documents. */
static void documents_among_pairs(void **state) {
  enum { STEP = 7 };
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = begin(*state, dtypes[d]);
    for (size_t first = 0; first < s->n + STEP; first += STEP) {
      rr_sequence *batch[3 * STEP];
      size_t n = 0;
      for (size_t i = first; i < first + STEP && i < s->n; i++) {
        batch[n++] = &s->documents[i];
        batch[n++] = &s->pairs[i];
      }
      for (size_t i = first; i-- > 0 && i + STEP >= first;) {
        if (i < s->n) {
          batch[n++] = &s->warm[i];
        }
      }
      forward(s, batch, n);
    }
    check_same(s, *state);
    end(s);
  }
}

/* What a document leaves beside one query serves another. */
static void kept_state_serves_other_queries(void **state) {
  static const rr_text queries[] = {{"bread", 5}, {"who built the bridge over the river", 35}};
  static const rr_text texts[] = {
      {"the baker keeps the oven warm", 29}, {"a stone bridge", 14}, {"", 0}};
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = start(split_load(*state, dtypes[d]));
    rr_encode_options options = {.truncate = true};
    rr_kept kept[3];
    float whole[3];
    float warm[3];
    rr_encoded first = encode(s, queries[0], texts, 3, &options);
    rr_encoded second = encode(s, queries[1], texts, 3, &options);
    for (size_t t = 0; t < 3; t++) {
      kept[t] = place(s, &first.sequences[t]);
      one(s, &first.sequences[t]);
      second.sequences[t].input->output = &whole[t];
      one(s, &second.sequences[t]);
    }
    options.kept = kept;
    rr_encoded given = encode(s, queries[1], texts, 3, &options);
    for (size_t t = 0; t < 3; t++) {
      assert_int_equal(given.sequences[t].input->part, RR_PART_WARM);
      given.sequences[t].input->output = &warm[t];
      one(s, &given.sequences[t]);
      drop(kept[t]);
    }
    assert_memory_equal(whole, warm, sizeof whole);
    end(s);
  }
}

static void refuse(subject *s, rr_input input, const char *message) {
  rr_sequence sequence = {.input = &input};
  rr_sequence *one_of = &sequence;
  rr_error err = {.message = ""};
  rr_status status = rr_scorer_forward(s->workspace, &one_of, 1, &err);
  if (status != RR_ERR_INPUT || strstr(err.message, message) == NULL) {
    fail_msg("%d, \"%s\" instead of \"%s\"", (int)status, err.message, message);
  }
}

static void wrong_parts_are_refused(void **state) {
  (void)state;
  subject *s = begin("split", RR_DTYPE_BFLOAT16);
  one(s, &s->documents[0]);
  assert_int_equal(s->warm[0].input->part, RR_PART_WARM);
  rr_input bad = *s->warm[0].input;
  bad.kept = NULL;
  refuse(s, bad, "kept nowhere");
  bad = *s->warm[0].input;
  bad.split_at = 0;
  refuse(s, bad, "without a document side");
  bad.split_at = bad.length;
  refuse(s, bad, "where there can be none");
  bad.length = 513;
  refuse(s, bad, "513 tokens");
  bad = *s->pairs[0].input;
  bad.split_at = SIZE_MAX;
  refuse(s, bad, "where there can be none");
  bad = *s->pairs[1].input; /* one side has nothing to leave */
  assert_non_null(bad.kept);
  bad.split_at = 0;
  refuse(s, bad, "without a document side");
  bad = *s->documents[0].input;
  bad.kept = NULL;
  refuse(s, bad, "kept nowhere");
  bad = *s->documents[0].input;
  bad.split_at = 1;
  refuse(s, bad, "a document side with two sides");
  end(s);
}

static void check_refuses_parts(subject *s) {
  int32_t ids[4] = {2, 9, 3, 3};
  uint8_t types[4] = {0};
  char kept[4096];
  float output;
  rr_input input = {.ids = ids,
                    .type_ids = types,
                    .length = 4,
                    .output = &output,
                    .kept = kept,
                    .part = RR_PART_DOCUMENT};
  const char *none =
      rr_scorer_info(s->scorer)->split_layers > 0 ? "keeps no" : "where there can be none";
  refuse(s, input, "keeps no");
  input.part = RR_PART_WHOLE;
  refuse(s, input, "keeps no");
  input.split_at = 3;
  refuse(s, input, none);
  input.part = RR_PART_WARM;
  refuse(s, input, none);
}

static void models_that_keep_no_texts_refuse_parts(void **state) {
  (void)state;
  subject *joint = start(split_load("split-joint-cosine", RR_DTYPE_FLOAT32));
  check_refuses_parts(joint);
  end(joint);
  subject *plain = start(must_load(golden_path("cross-encoder")));
  check_refuses_parts(plain);
  end(plain);
}

/* What damage makes is an error, no score. */
static void kept_state_that_is_no_number_is_a_numeric_error(void **state) {
  (void)state;
  static const rr_text query = {"bread", 5};
  static const rr_text text = {"a stone bridge", 14};
  subject *s = start(split_load("split-mean-maxsim", RR_DTYPE_BFLOAT16));
  rr_encode_options options = {.truncate = true, .kept_only = true};
  rr_encoded document = encode(s, query, &text, 1, &options);
  const rr_kept kept = place(s, &document.sequences[0]); /* and not computed: NaN */
  options = (rr_encode_options){.truncate = true, .kept = &kept};
  rr_encoded warm = encode(s, query, &text, 1, &options);
  float score;
  one(s, &warm.sequences[0]);
  assert_int_equal(rr_scorer_scores(s->scorer, &warm, false, &score, NULL), RR_ERR_NUMERIC);
  drop(kept);
  end(s);
}

#define EACH(test)                                                                                 \
  {#test ": split", test, NULL, NULL, (void *)"split"},                                            \
      {#test ": mean, maxsim", test, NULL, NULL, (void *)"split-mean-maxsim"},                     \
      {#test ": cls, maxsim", test, NULL, NULL, (void *)"split-cls-maxsim"}, {                     \
#test ": mean", test, NULL, NULL, (void *)"split-mean"                                         \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      EACH(one_sequence_at_a_time),
      EACH(documents_among_pairs),
      EACH(queries_are_shared),
      EACH(queries_of_one_length_are_told_apart),
      EACH(kept_state_serves_other_queries),
      cmocka_unit_test(wrong_parts_are_refused),
      cmocka_unit_test(models_that_keep_no_texts_refuse_parts),
      cmocka_unit_test(kept_state_that_is_no_number_is_a_numeric_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
