/* The document cache: its bound, with what is held by requests alone; what stays and what goes;
 * keys; threads; faults. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "server/cache/document_cache.h"
#include "tests/slow.h"

enum { SMALL = 1 << 20, LARGE = 16 << 20, THREADS = 4 };

static rr_scorer *scorer;

static int load_model(void **state) {
  (void)state;
  const char *golden = getenv("RR_GOLDEN");
  char directory[4096];
  const rr_load_options how = {.dtype = RR_DTYPE_FLOAT32};
  if (golden == NULL) {
    return -1;
  }
  (void)snprintf(directory, sizeof directory, "%s/score/bi-encoder-mean", golden);
  return rr_scorer_load(directory, &how, &scorer, NULL) == RR_OK ? 0 : -1;
}

static int free_model(void **state) {
  (void)state;
  rr_scorer_destroy(scorer);
  return 0;
}

static document_cache *make(size_t bytes) {
  document_cache *self = NULL;
  assert_int_equal(
      document_cache_create(&(document_cache_config){.bytes = bytes}, scorer, &self, NULL), RR_OK);
  return self;
}

static document_stats stats_of(document_cache *self) {
  document_stats stats;
  document_cache_read_stats(self, &stats);
  return stats;
}

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static lfu_key key_of(uint64_t number) {
  return (lfu_key){.high = mix(2 * number + 1), .low = mix(0x9e3779b97f4a7c15u + 2 * number)};
}

static size_t size_of(uint64_t number) { return 16 + mix(number) % 8000; }

/* Bytes that tell the number. */
static void fill(document *made, uint64_t number) {
  uint8_t *bytes = document_data(made);
  for (size_t i = 0; i < document_size(made); i++) {
    bytes[i] = (uint8_t)(number * 31 + i);
  }
}

static bool is_of(document *found, uint64_t number) {
  const uint8_t *bytes = document_data(found);
  bool right = document_size(found) == size_of(number) && (uintptr_t)bytes % 16 == 0;
  for (size_t i = 0; right && i < document_size(found); i++) {
    right = bytes[i] == (uint8_t)(number * 31 + i);
  }
  return right;
}

static bool put(document_cache *self, uint64_t number, bool firmly) {
  document *made = document_cache_reserve(self, size_of(number));
  if (made == NULL) {
    return false;
  }
  fill(made, number);
  bool there = document_cache_insert(self, key_of(number), made, firmly);
  document_release(made);
  return there;
}

/* As a request does. */
static bool ask(document_cache *self, uint64_t number) {
  document *found = document_cache_find_kept(self, key_of(number));
  if (found == NULL) {
    (void)put(self, number, false);
    return false;
  }
  assert_true(is_of(found, number));
  document_release(found);
  return true;
}

/* --- tests --- */

static void documents_of_any_sizes_stay_within_the_bytes(void **state) {
  (void)state;
  static const size_t sizes[] = {SMALL, 3 << 20, LARGE, 40 << 20};
  const size_t n =
      sizeof sizes / sizeof sizes[0] + 1 - slow_step(2, 3); /* the largest take longest */
  for (size_t s = 0; s < n; s++) {
    document_cache *self = make(sizes[s]);
    assert_int_equal(stats_of(self).most, sizes[s]);
    for (uint64_t i = 0; i < sizes[s] / 1000; i++) {
      (void)ask(self, i);
      document_stats stats = stats_of(self);
      assert_true(stats.bytes <= stats.most);
      assert_true(stats.memory.weight <= stats.memory.heaviest);
      assert_int_equal(stats.bytes, stats.memory.weight); /* nobody else holds any */
    }
    document_stats stats = stats_of(self);
    assert_int_equal(stats.memory.insertions - stats.memory.evictions - stats.memory.rejections,
                     stats.memory.entries);
    assert_true(stats.memory.weight > stats.memory.heaviest * 9 / 10);
    assert_true(stats.memory.bytes + stats.memory.heaviest <
                stats.most); /* the index is within the bytes */
    document_cache_destroy(self);
  }
}

static void many_small_documents_stay_within_the_index(void **state) {
  (void)state;
  document_cache *self = make(SMALL);
  for (uint64_t i = 0; i < 20000; i++) {
    document *made = document_cache_reserve(self, 1);
    assert_non_null(made);
    (void)document_cache_insert(self, key_of(i), made, i % 3 == 0);
    document_release(made);
    assert_true(stats_of(self).memory.entries <= stats_of(self).memory.capacity);
  }
  assert_int_equal(stats_of(self).memory.entries, stats_of(self).memory.capacity);
  document_cache_destroy(self);
}

static void what_is_too_large_is_not_kept(void **state) {
  (void)state;
  document_cache *self = make(SMALL);
  assert_null(document_cache_reserve(self, SMALL));
  document *made = document_cache_reserve(self, SMALL - SMALL / 12);
  assert_non_null(made);
  memset(document_data(made), 1, document_size(made));
  assert_false(document_cache_insert(self, key_of(1), made, true));
  assert_false(document_cache_has(self, key_of(1)));
  document_release(made);
  assert_int_equal(stats_of(self).bytes, 0);
  document_cache_destroy(self);
}

static void what_is_held_outlives_its_place_and_counts(void **state) {
  (void)state;
  enum { HELD = 8 }; /* within what is spared for such */
  document *held[HELD];
  document_cache *self = make(SMALL);
  for (uint64_t i = 0; i < HELD; i++) {
    held[i] = document_cache_reserve(self, size_of(i));
    assert_non_null(held[i]);
    fill(held[i], i);
    assert_true(document_cache_insert(self, key_of(i), held[i], true));
  }
  for (uint64_t i = 0; i < 2000; i++) { /* drives all of them out */
    (void)put(self, 1000 + i, true);
  }
  size_t gone = 0;
  for (uint64_t i = 0; i < HELD; i++) {
    gone += !document_cache_has(self, key_of(i));
    assert_true(is_of(held[i], i));
  }
  document_stats stats = stats_of(self);
  assert_true(gone == HELD);
  assert_true(stats.bytes > stats.memory.weight);
  assert_true(stats.bytes <= stats.most);
  for (uint64_t i = 0; i < HELD; i++) {
    document_release(held[i]);
  }
  assert_int_equal(stats_of(self).bytes, stats_of(self).memory.weight);
  document_cache_destroy(self);
}

/* Requests that hold all there may be: nothing more is kept, until they let go. */
static void there_is_no_room_while_all_is_held(void **state) {
  (void)state;
  enum { MANY = 2000 };
  static document *held[MANY];
  document_cache *self = make(SMALL);
  size_t n = 0;
  while (n < MANY && (held[n] = document_cache_reserve(self, 4000)) != NULL) {
    n++;
  }
  assert_in_range(n, 200, SMALL / 4000);
  assert_null(document_cache_reserve(self, 8100));
  document_release(held[--n]);
  document_release(held[--n]);
  document_release(held[--n]);
  assert_true(put(self, 1, true));
  while (n > 0) {
    document_release(held[--n]);
  }
  document_release(NULL);
  document_cache_destroy(self);
}

static void popular_documents_survive_a_scan(void **state) {
  (void)state;
  document_cache *self = make(LARGE);
  enum { HOT = 1500 };
  for (int round = 0; round < 4; round++) {
    for (uint64_t i = 0; i < HOT; i++) {
      (void)ask(self, i);
    }
  }
  for (uint64_t i = 0; i < 20000; i++) {
    (void)ask(self, 100000 + i);
  }
  size_t kept = 0;
  for (uint64_t i = 0; i < HOT; i++) {
    kept += document_cache_has(self, key_of(i));
  }
  print_message("# after a scan: %zu of %d\n", kept, (int)HOT);
  assert_true(kept > HOT * 9 / 10);
  document_cache_destroy(self);
}

static void what_a_client_wants_kept_is_there_whatever_was_popular(void **state) {
  (void)state;
  enum { KEPT = 30 };
  document_cache *self = make(SMALL);
  for (int round = 0; round < 10; round++) {
    for (uint64_t i = 0; i < 180; i++) { /* most of what it holds */
      (void)ask(self, i);
    }
  }
  for (uint64_t i = 0; i < KEPT; i++) {
    assert_null(document_cache_find_kept(self, key_of(1000 + i))); /* as the server does first */
    assert_true(put(self, 1000 + i, true));
  }
  for (uint64_t i = 0; i < 1000; i++) { /* and no scan drives much of it out */
    (void)ask(self, 5000 + i);
  }
  size_t kept = 0;
  for (uint64_t i = 0; i < KEPT; i++) {
    kept += document_cache_has(self, key_of(1000 + i));
  }
  print_message("# after a scan: %zu of %d\n", kept, (int)KEPT);
  assert_true(kept >= KEPT * 9 / 10);
  document_cache_destroy(self);
}

static void a_name_is_given_anew_and_kept_state_stays(void **state) {
  (void)state;
  document_cache *self = make(SMALL);
  for (uint64_t i = 0; i < 100; i++) {
    document *made = document_cache_reserve(self, size_of(i));
    fill(made, i);
    assert_true(document_cache_insert(self, key_of(7), made, true));
    document_release(made);
    document *found = document_cache_find_text(self, key_of(7));
    assert_true(is_of(found, i));
    document_release(found);
    assert_int_equal(stats_of(self).memory.entries, 1);
  }
  document *other = document_cache_reserve(self, 5);
  memset(document_data(other), 0, 5);
  assert_true(document_cache_insert(self, key_of(7), other, false));
  document_release(other);
  document *found = document_cache_find_text(self, key_of(7));
  assert_true(is_of(found, 99));
  document_release(found);
  document_cache_destroy(self);
}

static bool same(lfu_key a, lfu_key b) { return a.high == b.high && a.low == b.low; }

static lfu_key key_with(const document_cache *self, const rr_encode_options *options,
                        const char *text) {
  document_keys hashed;
  document_keys_init(&hashed, self, options);
  (void)document_key_of_text(&hashed, (rr_text){"another", 7});
  return document_key_of_text(&hashed, (rr_text){text, strlen(text)});
}

static void a_key_holds_what_kept_state_depends_on(void **state) {
  (void)state;
  document_cache *self = make(SMALL);
  document_cache *other = make(SMALL);
  const rr_encode_options different[] = {{0},
                                         {.truncate = true},
                                         {.side = RR_TRUNCATE_LEFT},
                                         {.max_length = 20},
                                         {.max_text_tokens = 20}};
  const rr_encode_options alike[] = {{.cut = RR_CUT_TEXT},
                                     {.cut = RR_CUT_TEXT_IF_POSSIBLE},
                                     {.kept_only = true},
                                     {.max_length = 100000},
                                     {.max_text_tokens = 4096}};
  enum { N = sizeof different / sizeof different[0] };
  lfu_key keys[N + 3];
  for (size_t i = 0; i < N; i++) {
    keys[i] = key_with(self, &different[i], "text");
  }
  keys[N] = key_with(self, &different[0], "texT");
  keys[N + 1] = document_key_of_name(self, (rr_text){"text", 4});
  keys[N + 2] = key_with(other, &different[0], "text"); /* each cache draws a key of its own */
  for (size_t i = 0; i < N + 3; i++) {
    for (size_t j = 0; j < i; j++) {
      assert_false(same(keys[i], keys[j]));
    }
  }
  for (size_t i = 0; i < sizeof alike / sizeof alike[0]; i++) {
    assert_true(same(keys[0], key_with(self, &alike[i], "text")));
  }
  document_cache_destroy(other);
  document_cache_destroy(self);
}

static void what_is_forgotten_is_gone(void **state) {
  (void)state;
  document_cache *self = make(SMALL);
  document_cache_forget(self, key_of(1));
  assert_true(put(self, 1, true));
  document_cache_forget(self, key_of(1));
  assert_false(document_cache_has(self, key_of(1)));
  assert_int_equal(stats_of(self).bytes, 0);
  assert_true(put(self, 1, true));
  document_cache_destroy(self);
}

/* --- with a file behind it --- */

static document_cache *make_with_file(const char *path) {
  document_cache *self = NULL;
  rr_error error = {.message = ""};
  const document_cache_config config = {.bytes = SMALL, .file = path, .file_bytes = 8 << 20};
  if (document_cache_create(&config, scorer, &self, &error) != RR_OK) {
    fail_msg("%s", error.message);
  }
  return self;
}

/* Kept state of this scorer, whose bytes tell the text. */
static document *make_kept(document_cache *self, rr_text text) {
  rr_arena arena;
  rr_encoded encoded;
  rr_workspace *workspace = NULL;
  rr_arena_init(&arena, 1 << 20);
  const rr_encode_options options = {.truncate = true, .kept_only = true};
  assert_int_equal(rr_workspace_create(scorer, 512, &workspace, NULL), RR_OK);
  assert_int_equal(rr_scorer_encode(scorer, text, &text, 1, &options, &arena, &encoded, NULL),
                   RR_OK);
  rr_sequence *sequence = &encoded.sequences[0];
  assert_int_equal(rr_scorer_forward(workspace, &sequence, 1, NULL), RR_OK);
  document *made = document_cache_reserve(self, rr_scorer_kept_bytes(scorer, sequence));
  assert_non_null(made);
  rr_scorer_kept_write(scorer, sequence, document_data(made));
  rr_workspace_destroy(workspace);
  rr_arena_finish(&arena);
  return made;
}

static void a_restart_finds_in_the_file_what_was_kept(void **state) {
  (void)state;
  char folder[] = "/tmp/rerankd-documents-XXXXXX";
  char path[64];
  assert_non_null(mkdtemp(folder));
  (void)snprintf(path, sizeof path, "%s/documents", folder);
  const rr_encode_options options = {.truncate = true};
  document_cache *self = make_with_file(path);
  lfu_key key = key_with(self, &options, "bread");
  document *kept = make_kept(self, (rr_text){"bread", 5});
  assert_true(document_cache_insert(self, key, kept, false));
  for (uint64_t i = 0; i < 600; i++) { /* drives it out of memory, not out of the file */
    assert_true(put(self, i, true));
  }
  document_release(kept);
  document_cache_destroy(self);

  self = make_with_file(path);
  assert_true(same(key, key_with(self, &options, "bread"))); /* the secret is the file's */
  assert_int_equal(stats_of(self).memory.entries, 0);
  assert_true(document_cache_has(self, key));
  document *found = document_cache_find_kept(self, key);
  kept = make_kept(self, (rr_text){"bread", 5});
  assert_non_null(found);
  assert_int_equal(document_size(found), document_size(kept));
  assert_memory_equal(document_data(found), document_data(kept), document_size(kept));
  document_release(found);
  document_release(kept);
  assert_int_equal(stats_of(self).memory.entries, 1); /* in memory now */
  assert_int_equal(stats_of(self).file.hits, 1);
  found = document_cache_find_kept(self, key);
  assert_non_null(found);
  document_release(found);
  assert_int_equal(stats_of(self).file.hits, 1);
  found = document_cache_find_text(self, key_of(599)); /* any bytes: a text */
  assert_true(is_of(found, 599));
  document_release(found);
  document *none = document_cache_find_kept(self, key_of(598)); /* nothing of this model */
  assert_null(none);
  document_cache_destroy(self);
  assert_int_equal(remove(path), 0);
  assert_int_equal(remove(folder), 0);
}

static void a_name_is_given_anew_in_the_file_too(void **state) {
  (void)state;
  char folder[] = "/tmp/rerankd-documents-XXXXXX";
  char path[64];
  assert_non_null(mkdtemp(folder));
  (void)snprintf(path, sizeof path, "%s/documents", folder);
  for (int round = 0; round < 3; round++) {
    document_cache *self = make_with_file(path);
    lfu_key key = document_key_of_name(self, (rr_text){"name", 4});
    document *found = document_cache_find_text(self, key);
    assert_int_equal(found != NULL, round > 0);
    assert_true(found == NULL || is_of(found, (uint64_t)round - 1));
    document_release(found);
    document *made = document_cache_reserve(self, size_of((uint64_t)round));
    fill(made, (uint64_t)round);
    assert_true(document_cache_insert(self, key, made, true));
    document_release(made);
    document_cache_destroy(self);
  }
  document_cache *self = make_with_file(path);
  lfu_key key = document_key_of_name(self, (rr_text){"name", 4});
  document_cache_forget(self, key); /* it was in the file alone */
  document_cache_destroy(self);
  self = make_with_file(path);
  document *found = document_cache_find_text(self, key);
  assert_int_equal(document_size(found), 1);
  assert_int_equal(*(const char *)document_data(found), DOCUMENT_GONE);
  document_release(found);
  document_cache_destroy(self);
  assert_int_equal(remove(path), 0);
  assert_int_equal(remove(folder), 0);
}

typedef struct worker {
  document_cache *cache;
  uint64_t seed;
  unsigned wrong;
} worker;

static void *work(void *argument) {
  worker *self = argument;
  for (uint64_t i = 0; i < 20000; i += slow_step(2, 8)) {
    uint64_t number = mix(self->seed + i) % 700;
    document *found = document_cache_find_kept(self->cache, key_of(number));
    if (found == NULL) {
      (void)put(self->cache, number, i % 5 == 0);
    } else {
      self->wrong += !is_of(found, number);
      document_release(found);
    }
  }
  return NULL;
}

static void threads_get_what_was_put(void **state) {
  (void)state;
  document_cache *self = make(SMALL);
  worker workers[THREADS];
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.cache = self, .seed = (uint64_t)i << 32};
    assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    (void)pthread_join(threads[i], NULL);
    assert_int_equal(workers[i].wrong, 0);
  }
  document_stats stats = stats_of(self);
  assert_int_equal(stats.bytes, stats.memory.weight);
  assert_true(stats.memory.hits > 1000 && stats.memory.evictions > 1000);
  document_cache_destroy(self);
}

static void faults_are_told(void **state) {
  (void)state;
  document_cache *self = NULL;
  rr_error error;
  const document_cache_config small = {.bytes = DOCUMENT_CACHE_BYTES_MIN - 1};
  const document_cache_config right = {.bytes = SMALL};
  assert_int_equal(document_cache_create(&small, scorer, &self, &error), RR_ERR_INPUT);
  for (unsigned long n = 1; self == NULL; n++) {
    rr_alloc_fail_at(n, 0);
    rr_status status = document_cache_create(&right, scorer, &self, &error);
    rr_alloc_fail_at(0, 0);
    assert_int_equal(status, self == NULL ? RR_ERR_MEMORY : RR_OK);
    assert_true(n < 100);
  }
  rr_alloc_fail_at(1, 1);
  assert_null(document_cache_reserve(self, 100));
  assert_int_equal(stats_of(self).bytes, 0);
  rr_alloc_fail_at(0, 0);
  assert_true(put(self, 1, false));
  document_cache_destroy(self);
  document_cache_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(documents_of_any_sizes_stay_within_the_bytes),
      cmocka_unit_test(many_small_documents_stay_within_the_index),
      cmocka_unit_test(what_is_too_large_is_not_kept),
      cmocka_unit_test(what_is_held_outlives_its_place_and_counts),
      cmocka_unit_test(there_is_no_room_while_all_is_held),
      cmocka_unit_test(popular_documents_survive_a_scan),
      cmocka_unit_test(what_a_client_wants_kept_is_there_whatever_was_popular),
      cmocka_unit_test(a_name_is_given_anew_and_kept_state_stays),
      cmocka_unit_test(a_key_holds_what_kept_state_depends_on),
      cmocka_unit_test(what_is_forgotten_is_gone),
      cmocka_unit_test(a_restart_finds_in_the_file_what_was_kept),
      cmocka_unit_test(a_name_is_given_anew_in_the_file_too),
      cmocka_unit_test(threads_get_what_was_put),
      cmocka_unit_test(faults_are_told),
  };
  cmocka_set_test_filter(getenv("RR_CASES")); /* NULL: all */
  return cmocka_run_group_tests(tests, load_model, free_model);
}
