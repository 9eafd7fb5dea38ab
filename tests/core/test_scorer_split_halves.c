/* Halves of a split model's pairs: computed apart, in any company, for any query, they give to the
 * bit what the whole pair gives; what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/core/split_support.h"

enum { PAIRS_MAX = 512, MICRO_BATCH = 65536 };

static const rr_dtype dtypes[] = {RR_DTYPE_FLOAT32, RR_DTYPE_BFLOAT16, RR_DTYPE_INT8};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

/* A variant's cases as pairs, whole ones and from halves. */
typedef struct subject {
  rr_scorer *scorer;
  rr_workspace *workspace;
  rr_arena arena;
  size_t n;
  rr_sequence pairs[PAIRS_MAX];
  rr_sequence joint[PAIRS_MAX];
  rr_sequence warm[PAIRS_MAX];
  rr_sequence queries[PAIRS_MAX];
  rr_sequence documents[PAIRS_MAX];
  float whole[PAIRS_MAX]; /* the logits */
  float halved[PAIRS_MAX];
  float warmed[PAIRS_MAX];
} subject;

/* Memory of exactly a half's size, so that sanitizers see what is written beyond it. */
static void *half_memory(const subject *s, rr_split_part part, uint32_t tokens) {
  size_t size = rr_scorer_split_size(s->scorer, part, tokens);
  void *half = malloc(size);
  assert_non_null(half);
  memset(half, 0xff, size); /* NaN */
  return half;
}

static void add_pair(subject *s, const rr_sequence *pair) {
  size_t i = s->n++;
  s->pairs[i] = *pair;
  s->joint[i] = *pair;
  s->pairs[i].output = &s->whole[i];
  s->joint[i].output = &s->halved[i];
  s->whole[i] = NAN;
  s->halved[i] = NAN;
  s->warm[i] = *pair;
  s->warm[i].output = &s->warmed[i];
  s->warmed[i] = NAN;
  void *query = half_memory(s, RR_SPLIT_QUERY, pair->split_at);
  void *document = half_memory(s, RR_SPLIT_DOCUMENT, pair->length - pair->split_at);
  s->queries[i] = rr_sequence_split_side(pair, RR_SPLIT_QUERY, query);
  s->documents[i] = rr_sequence_split_side(pair, RR_SPLIT_DOCUMENT, document);
  rr_sequence_split_join(&s->joint[i], query, document);
  rr_sequence_split_join(&s->warm[i], NULL, document);
  if (i % 2 == 1) { /* every other one leaves its document half */
    s->pairs[i].split_document = half_memory(s, RR_SPLIT_DOCUMENT, pair->length - pair->split_at);
  }
}

static subject *begin(const char *variant, rr_dtype dtype) {
  golden_cases cases = golden_load(variant);
  subject *s = calloc(1, sizeof *s);
  assert_non_null(s);
  s->scorer = split_load(variant, dtype);
  rr_arena_init(&s->arena, 64u << 20);
  assert_int_equal(rr_workspace_create(s->scorer, MICRO_BATCH, &s->workspace, NULL), RR_OK);
  for (size_t c = 0; c < cases.count; c += split_step()) {
    const golden_case *item = &cases.items[c];
    rr_encoded encoded;
    assert_int_equal(rr_scorer_encode(s->scorer, item->query, item->texts, item->n_texts,
                                      &item->options, &s->arena, &encoded, NULL),
                     RR_OK);
    for (size_t i = 0; i < encoded.n_sequences && s->n < PAIRS_MAX; i++) {
      add_pair(s, &encoded.sequences[i]);
    }
  }
  golden_free(&cases);
  return s;
}

static void end(subject *s) {
  for (size_t i = 0; i < s->n; i++) {
    free(s->queries[i].split_query);
    free(s->documents[i].split_document);
    free(s->pairs[i].split_document);
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
  for (size_t i = 0; i < s->n; i++) {
    if (!isfinite(s->whole[i]) || memcmp(&s->whole[i], &s->halved[i], sizeof s->whole[i]) != 0 ||
        memcmp(&s->whole[i], &s->warmed[i], sizeof s->whole[i]) != 0) {
      fail_msg("%s, %s, pair %zu: %.9g from halves, %.9g from one, %.9g as a whole", variant,
               rr_scorer_info(s->scorer)->dtype_name, i, (double)s->halved[i], (double)s->warmed[i],
               (double)s->whole[i]);
    }
    if (s->pairs[i].split_document != NULL) {
      assert_memory_equal(
          s->pairs[i].split_document, s->documents[i].split_document,
          rr_scorer_split_size(s->scorer, RR_SPLIT_DOCUMENT, s->documents[i].length));
    }
  }
}

static void halves_one_at_a_time(void **state) {
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = begin(*state, dtypes[d]);
    for (size_t i = 0; i < s->n; i++) {
      one(s, &s->documents[i]);
      one(s, &s->queries[i]);
      one(s, &s->pairs[i]);
      one(s, &s->joint[i]);
      one(s, &s->warm[i]);
    }
    check_same(s, *state);
    end(s);
  }
}

/* Every pair of every request at once, so that query sides are shared, first whole, then from
 * document halves. */
static void queries_are_shared(void **state) {
  static rr_sequence *all[2 * PAIRS_MAX];
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = begin(*state, dtypes[d]);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
      one(s, &s->documents[i]);
      one(s, &s->queries[i]);
      one(s, &s->joint[i]);
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
    subject *s = begin(*state, dtypes[d]);
    float alone[TEXTS * QUERIES];
    float together[TEXTS * QUERIES];
    rr_sequence *all[TEXTS * QUERIES];
    for (size_t q = 0; q < QUERIES; q++) {
      rr_encoded encoded;
      const rr_text query = {words[q], strlen(words[q])};
      assert_int_equal(
          rr_scorer_encode(s->scorer, query, texts, TEXTS, &options, &s->arena, &encoded, NULL),
          RR_OK);
      for (size_t t = 0; t < TEXTS; t++) {
        size_t at = t * QUERIES + q;
        all[at] = &encoded.sequences[t];
        assert_int_equal(all[at]->split_at, 3);
        all[at]->output = &alone[at];
        one(s, all[at]);
        all[at]->output = &together[at];
      }
    }
    forward(s, all, TEXTS * QUERIES);
    assert_memory_equal(alone, together, sizeof alone);
    end(s);
  }
}

/* Every micro-batch holds pairs from halves, whole pairs, query and document sides, in no order;
 * pairs come a round after their halves. */
static void halves_among_pairs(void **state) {
  enum { STEP = 7 };
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = begin(*state, dtypes[d]);
    for (size_t first = 0; first < s->n + STEP; first += STEP) {
      rr_sequence *batch[5 * STEP];
      size_t n = 0;
      for (size_t i = first; i < first + STEP && i < s->n; i++) {
        batch[n++] = &s->documents[i];
        batch[n++] = &s->pairs[i];
        batch[n++] = &s->queries[i];
      }
      for (size_t i = first; i-- > 0 && i + STEP >= first;) {
        if (i < s->n) {
          batch[n++] = &s->joint[i];
          batch[n++] = &s->warm[i];
        }
      }
      forward(s, batch, n);
    }
    check_same(s, *state);
    end(s);
  }
}

/* A document's half computed beside one query serves another, a query's beside one document too. */
static void halves_serve_other_pairs(void **state) {
  static const rr_text queries[] = {{"bread", 5}, {"who built the bridge over the river", 35}};
  static const rr_text texts[] = {
      {"the baker keeps the oven warm", 29}, {"a stone bridge", 14}, {"", 0}};
  const rr_encode_options options = {.truncate = true};
  for (size_t d = 0; d < DTYPES; d++) {
    subject *s = begin(*state, dtypes[d]);
    rr_encoded encoded[2];
    float whole[2][3];
    float halved;
    for (size_t q = 0; q < 2; q++) {
      assert_int_equal(
          rr_scorer_encode(s->scorer, queries[q], texts, 3, &options, &s->arena, &encoded[q], NULL),
          RR_OK);
      for (size_t t = 0; t < 3; t++) {
        encoded[q].sequences[t].output = &whole[q][t];
        one(s, &encoded[q].sequences[t]);
      }
    }
    for (size_t t = 0; t < 3; t++) {
      const rr_sequence *from = &encoded[0].sequences[t];
      rr_sequence *pair = &encoded[1].sequences[t];
      void *document_half = half_memory(s, RR_SPLIT_DOCUMENT, from->length - from->split_at);
      void *query_half = half_memory(s, RR_SPLIT_QUERY, encoded[1].sequences[2].split_at);
      rr_sequence document = rr_sequence_split_side(from, RR_SPLIT_DOCUMENT, document_half);
      rr_sequence query =
          rr_sequence_split_side(&encoded[1].sequences[2], RR_SPLIT_QUERY, query_half);
      one(s, &document);
      one(s, &query);
      pair->output = &halved;
      rr_sequence_split_join(pair, query_half, document_half);
      one(s, pair);
      assert_memory_equal(&halved, &whole[1][t], sizeof halved);
      free(query_half);
      free(document_half);
    }
    end(s);
  }
}

static void refuse(subject *s, rr_sequence sequence, const char *message) {
  rr_sequence *one_of = &sequence;
  rr_error err = {.message = ""};
  rr_status status = rr_scorer_forward(s->workspace, &one_of, 1, &err);
  if (status != RR_ERR_INPUT || strstr(err.message, message) == NULL) {
    fail_msg("%d, \"%s\" instead of \"%s\"", (int)status, err.message, message);
  }
}

static void wrong_halves_are_refused(void **state) {
  (void)state;
  subject *s = begin("split", RR_DTYPE_BFLOAT16);
  one(s, &s->queries[0]);
  one(s, &s->documents[0]);
  rr_sequence bad = s->joint[0];
  bad.split_query = NULL;
  refuse(s, bad, "has no memory");
  bad = s->joint[0];
  bad.split_document = NULL;
  refuse(s, bad, "has no memory");
  bad = s->joint[0];
  bad.split_at = 0;
  refuse(s, bad, "without a document side");
  bad.split_at = bad.length;
  refuse(s, bad, "where there can be none");
  bad = s->pairs[0];
  bad.split_at = UINT32_MAX;
  refuse(s, bad, "where there can be none");
  bad = s->warm[0];
  bad.split_document = NULL;
  refuse(s, bad, "has no memory");
  bad = s->pairs[1]; /* one side has no half to leave */
  bad.split_at = 0;
  refuse(s, bad, "without a document side");
  bad = s->queries[0];
  bad.split_query = NULL;
  refuse(s, bad, "has no memory");
  bad = s->documents[0];
  bad.split_document = NULL;
  refuse(s, bad, "has no memory");
  bad = s->documents[0];
  bad.split_at = 1;
  refuse(s, bad, "a half with two sides");
  bad = s->joint[0];
  bad.length = 513;
  refuse(s, bad, "513 tokens");
  end(s);
}

static void check_refuses_halves(subject *s) {
  int32_t ids[4] = {2, 9, 3, 3};
  uint8_t types[4] = {0};
  char half[4096];
  float output;
  rr_sequence sequence = {.ids = ids,
                          .type_ids = types,
                          .length = 4,
                          .output = &output,
                          .split_query = half,
                          .split_document = half,
                          .split_part = RR_SPLIT_DOCUMENT};
  refuse(s, sequence, "computes no halves");
  sequence.split_part = RR_SPLIT_QUERY;
  refuse(s, sequence, "computes no halves");
  sequence.split_at = 3;
  sequence.split_part = RR_SPLIT_WARM;
  refuse(s, sequence,
         rr_scorer_info(s->scorer)->split_layers > 0 ? "computes no halves"
                                                     : "where there can be none");
  sequence.split_part = RR_SPLIT_JOINT;
  refuse(s, sequence,
         rr_scorer_info(s->scorer)->split_layers > 0 ? "computes no halves"
                                                     : "where there can be none");
}

static void models_without_halves_refuse_them(void **state) {
  (void)state;
  subject *joint = begin("split-joint-cosine", RR_DTYPE_FLOAT32);
  check_refuses_halves(joint);
  end(joint);
  subject plain = {.scorer = must_load(golden_path("cross-encoder"))};
  assert_int_equal(rr_workspace_create(plain.scorer, 512, &plain.workspace, NULL), RR_OK);
  check_refuses_halves(&plain);
  rr_workspace_destroy(plain.workspace);
  rr_scorer_destroy(plain.scorer);
}

/* What a damaged half makes is an error, no score. */
static void a_half_that_is_no_number_is_a_numeric_error(void **state) {
  (void)state;
  subject *s = begin("split-mean-maxsim", RR_DTYPE_BFLOAT16);
  static const uint32_t first = 0;
  float score;
  one(s, &s->queries[0]); /* the document's half is NaN from the beginning */
  one(s, &s->joint[0]);
  const rr_encoded encoded = {
      .sequences = &s->joint[0], .n_sequences = 1, .sequence_of = &first, .n_candidates = 1};
  assert_int_equal(rr_scorer_scores(s->scorer, &encoded, false, &score, NULL), RR_ERR_NUMERIC);
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
      EACH(halves_one_at_a_time),
      EACH(halves_among_pairs),
      EACH(queries_are_shared),
      EACH(queries_of_one_length_are_told_apart),
      EACH(halves_serve_other_pairs),
      cmocka_unit_test(wrong_halves_are_refused),
      cmocka_unit_test(models_without_halves_refuse_them),
      cmocka_unit_test(a_half_that_is_no_number_is_a_numeric_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
