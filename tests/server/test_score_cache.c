/* A key holds all that a score depends on, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "server/cache/score_cache.h"

enum { BYTES = 1 << 20 };

static rr_model_info some_model(void) {
  return (rr_model_info){.kind = RR_CROSS_ENCODER,
                         .dtype_name = "float32",
                         .scoring_name = "logit",
                         .kernels = "portable",
                         .max_input_length = 512,
                         .parameters = 1000};
}

static score_cache *make(const char *name, const char *commit, const rr_model_info *info) {
  score_cache *self = NULL;
  assert_int_equal(score_cache_create(BYTES, name, commit, info, &self, NULL), RR_OK);
  return self;
}

static rr_text text_of(const char *text) { return (rr_text){text, strlen(text)}; }

static lfu_key key_of(const score_cache *scores, rr_text query, rr_text text,
                      const rr_encode_options *options) {
  score_query hashed;
  score_query_init(&hashed, scores, query, options);
  return score_query_key(&hashed, text);
}

static bool same(lfu_key a, lfu_key b) { return a.high == b.high && a.low == b.low; }

static int set_up(void **state) {
  rr_model_info info = some_model();
  *state = make("model", "", &info);
  return 0;
}

static int tear_down(void **state) {
  score_cache_destroy(*state);
  return 0;
}

static void equal_pairs_have_equal_keys(void **state) {
  const score_cache *scores = *state;
  rr_encode_options options = {.truncate = true, .cut = RR_CUT_TEXT};
  size_t culprit = 0;
  char copy[] = "a text";
  score_query hashed;
  score_query_init(&hashed, scores, text_of("query"), &options);
  lfu_key key = score_query_key(&hashed, text_of("a text"));
  (void)score_query_key(&hashed, text_of("another in between"));
  assert_true(same(score_query_key(&hashed, text_of(copy)), key));
  options.ret_culprit = &culprit; /* says where to tell, not what to do */
  assert_true(same(key_of(scores, text_of("query"), text_of(copy), &options), key));
}

static void every_option_makes_another_key(void **state) {
  const score_cache *scores = *state;
  const rr_encode_options options[] = {{0},
                                       {.truncate = true},
                                       {.side = RR_TRUNCATE_LEFT},
                                       {.cut = RR_CUT_TEXT},
                                       {.cut = RR_CUT_TEXT_IF_POSSIBLE},
                                       {.max_length = 1},
                                       {.max_text_tokens = 1},
                                       {.alone = true}};
  enum { N = sizeof options / sizeof options[0] };
  lfu_key keys[N];
  for (size_t i = 0; i < N; i++) {
    keys[i] = key_of(scores, text_of("query"), text_of("text"), &options[i]);
    for (size_t j = 0; j < i; j++) {
      assert_false(same(keys[i], keys[j]));
    }
  }
}

/* Where the query ends and the text begins is in the key, NUL and nothing are texts like any
 * other. */
static void every_pair_has_a_key_of_its_own(void **state) {
  const score_cache *scores = *state;
  static const char zeros[4096];
  static const rr_text texts[] = {
      {"", 0},       {NULL, 0},     {"a", 1},      {"ab", 2},     {"b", 1},     {"a\0", 2},
      {"\0a", 2},    {zeros, 1},    {zeros, 2},    {zeros, 15},   {zeros, 16},  {zeros, 17},
      {zeros, 1000}, {zeros, 1024}, {zeros, 1025}, {zeros, 4095}, {zeros, 4096}};
  enum { N = sizeof texts / sizeof texts[0] };
  static lfu_key keys[N * N];
  size_t n = 0;
  const rr_encode_options options = {0};
  for (size_t q = 1; q < N; q++) { /* no data and size 0: the same text */
    for (size_t t = 1; t < N; t++) {
      keys[n] = key_of(scores, texts[q], texts[t], &options);
      for (size_t i = 0; i < n; i++) {
        assert_false(same(keys[n], keys[i]));
      }
      n++;
    }
  }
  assert_true(same(key_of(scores, texts[0], texts[0], &options),
                   key_of(scores, texts[1], texts[1], &options)));
}

/* Texts that differ in one bit each, in all keys' bits alike: shards, buckets and sketch take
 * parts. */
static void single_bits_change_half_of_the_key(void **state) {
  const score_cache *scores = *state;
  enum { SIZE = 2000 };
  static char data[SIZE];
  const rr_encode_options options = {0};
  score_query hashed;
  score_query_init(&hashed, scores, text_of("query"), &options);
  lfu_key plain = score_query_key(&hashed, (rr_text){data, SIZE});
  unsigned changed[4] = {0};
  for (size_t bit = 0; bit < 8 * SIZE; bit++) {
    data[bit / 8] = (char)(1 << bit % 8);
    lfu_key key = score_query_key(&hashed, (rr_text){data, SIZE});
    data[bit / 8] = 0;
    assert_false(same(key, plain));
    changed[0] += (unsigned)__builtin_popcount((unsigned)(key.high ^ plain.high));
    changed[1] += (unsigned)__builtin_popcount((unsigned)((key.high ^ plain.high) >> 32));
    changed[2] += (unsigned)__builtin_popcount((unsigned)(key.low ^ plain.low));
    changed[3] += (unsigned)__builtin_popcount((unsigned)((key.low ^ plain.low) >> 32));
  }
  for (int part = 0; part < 4; part++) {
    double share = changed[part] / (32.0 * 8 * SIZE);
    assert_true(share > 0.45 && share < 0.55);
  }
}

/* Also where all else is the same: each cache draws a key of its own. */
static void caches_do_not_agree(void **state) {
  const score_cache *scores = *state;
  rr_model_info info = some_model();
  score_cache *other = make("model", "", &info);
  const rr_encode_options options = {0};
  assert_false(same(key_of(scores, text_of("query"), text_of("text"), &options),
                    key_of(other, text_of("query"), text_of("text"), &options)));
  assert_memory_not_equal(scores->model, other->model, sizeof scores->model);
  score_cache_destroy(other);
}

/* The same key for the hash, so that only the model's digest can differ. */
static void scoring_makes_another_key(void **state) {
  (void)state;
  rr_model_info info = some_model();
  score_cache *self = make("model", "", &info);
  uint8_t before[sizeof self->model];
  memcpy(before, self->model, sizeof before);
  score_cache_set_model(self, "model", "", &info);
  assert_memory_equal(self->model, before, sizeof before);
  info.scoring_name = "maxsim";
  score_cache_set_model(self, "model", "", &info);
  assert_memory_not_equal(self->model, before, sizeof before);
  score_cache_destroy(self);
}

static void bounds_and_faults_are_told(void **state) {
  (void)state;
  rr_model_info info = some_model();
  rr_error error;
  score_cache *self = NULL;
  assert_int_equal(score_cache_create(LFU_BYTES_MIN - 1, "m", "", &info, &self, &error),
                   RR_ERR_INPUT);
  for (unsigned long n = 1;; n++) {
    rr_alloc_fail_at(n, 0);
    rr_status status = score_cache_create(BYTES, "m", "", &info, &self, &error);
    unsigned long asked = rr_alloc_count();
    rr_alloc_fail_at(0, 0);
    if (asked < n) {
      assert_int_equal(status, RR_OK);
      break;
    }
    assert_int_equal(status, RR_ERR_MEMORY);
    assert_null(self);
  }
  score_cache_destroy(self);
  score_cache_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_pairs_have_equal_keys),
      cmocka_unit_test(every_option_makes_another_key),
      cmocka_unit_test(every_pair_has_a_key_of_its_own),
      cmocka_unit_test(single_bits_change_half_of_the_key),
      cmocka_unit_test(caches_do_not_agree),
      cmocka_unit_test(scoring_makes_another_key),
      cmocka_unit_test(bounds_and_faults_are_told),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
