/* The score cache's structure: bounds, no wrong hit, what stays and what goes, threads, faults. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "server/cache/lfu.h"

enum { SMALL = 256 << 10, LARGE = 4 << 20 };

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static lfu_key key_of(uint64_t number) {
  return (lfu_key){.high = mix(2 * number + 1), .low = mix(0x9e3779b97f4a7c15u + 2 * number)};
}

/* A value that tells its key. */
static lfu_value value_of(uint64_t number) {
  return (lfu_value){.raw = (float)(number % 1000000) / 64.0f,
                     .text_tokens = (uint32_t)number,
                     .length = (uint32_t)(number * 7) & 0x7fffffffu,
                     .truncated = number % 2 == 1,
                     .query_length = (uint32_t)(number * 13) & 0x7fffffffu,
                     .query_truncated = number % 3 == 1};
}

static bool is_value_of(const lfu_value *value, uint64_t number) {
  lfu_value wanted = value_of(number);
  return value->raw == wanted.raw && value->text_tokens == wanted.text_tokens &&
         value->length == wanted.length && value->truncated == wanted.truncated &&
         value->query_length == wanted.query_length &&
         value->query_truncated == wanted.query_truncated;
}

static lfu *make(size_t bytes) {
  lfu *self = NULL;
  assert_int_equal(lfu_create(bytes, &self, NULL), RR_OK);
  return self;
}

static uint64_t capacity_of(lfu *self) {
  lfu_stats stats;
  lfu_read_stats(self, &stats);
  return stats.capacity;
}

/* As a request does: asks, and adds what is not there. A hit must be the right one. */
static bool ask(lfu *self, uint64_t number) {
  lfu_value value;
  if (lfu_find(self, key_of(number), &value)) {
    assert_true(is_value_of(&value, number));
    return true;
  }
  value = value_of(number);
  lfu_insert(self, key_of(number), &value);
  return false;
}

/* --- the reference: least recently used first out --------------------------------------------- */

typedef struct lru {
  uint32_t *newer; /* by number; numbers + 1: the list's head; its own neighbour 0: not in it */
  uint32_t *older;
  bool *in;
  uint32_t head;
  uint64_t n;
  uint64_t capacity;
} lru;

static lru lru_make(uint32_t numbers, uint64_t capacity) {
  lru self = {.newer = rr_calloc(numbers + 1, sizeof(uint32_t)),
              .older = rr_calloc(numbers + 1, sizeof(uint32_t)),
              .in = rr_calloc(numbers + 1, sizeof(bool)),
              .head = numbers,
              .capacity = capacity};
  assert_true(self.newer != NULL && self.older != NULL && self.in != NULL);
  self.newer[numbers] = self.older[numbers] = numbers;
  return self;
}

static void lru_free(lru *self) {
  rr_free(self->newer);
  rr_free(self->older);
  rr_free(self->in);
}

static void lru_unlink(lru *self, uint32_t number) {
  self->older[self->newer[number]] = self->older[number];
  self->newer[self->older[number]] = self->newer[number];
  self->in[number] = false;
  self->n--;
}

static bool lru_ask(lru *self, uint32_t number) {
  bool hit = self->in[number];
  if (hit) {
    lru_unlink(self, number);
  } else if (self->n == self->capacity) {
    lru_unlink(self, self->newer[self->head]); /* the ring's other end: the oldest */
  }
  self->older[number] = self->older[self->head];
  self->newer[number] = self->head;
  self->newer[self->older[number]] = number;
  self->older[self->head] = number;
  self->in[number] = true;
  self->n++;
  return hit;
}

/* --- traces ----------------------------------------------------------------------------------- */

static uint64_t random_state;

static double uniform(void) {
  random_state += 0x9e3779b97f4a7c15u;
  return (double)(mix(random_state) >> 11) / 9007199254740992.0;
}

/* Number i with a chance in proportion to 1 / (i + 1)^exponent. */
static double *zipf_make(uint32_t numbers, double exponent) {
  double *sums = rr_calloc(numbers, sizeof *sums);
  assert_non_null(sums);
  double sum = 0;
  for (uint32_t i = 0; i < numbers; i++) {
    sum += pow(i + 1.0, -exponent);
    sums[i] = sum;
  }
  return sums;
}

static uint32_t zipf_draw(const double *sums, uint32_t numbers) {
  double wanted = uniform() * sums[numbers - 1];
  uint32_t low = 0;
  uint32_t high = numbers - 1;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (sums[middle] < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void all_memory_is_within_the_bytes_that_were_asked_for(void **state) {
  (void)state;
  lfu *self = NULL;
  rr_error error;
  assert_int_equal(lfu_create(LFU_BYTES_MIN - 1, &self, &error), RR_ERR_INPUT);
  for (size_t bytes = LFU_BYTES_MIN; bytes <= (64u << 20); bytes = bytes * 3 / 2 + 7) {
    lfu_stats stats;
    self = make(bytes);
    lfu_read_stats(self, &stats);
    assert_true(stats.bytes <= bytes);
    assert_true(stats.bytes > bytes - bytes / 50);  /* and little of it is wasted */
    assert_true(stats.capacity * 48 < stats.bytes); /* a key, a value, three links */
    assert_true(stats.capacity * 64 > stats.bytes - bytes / 20);
    assert_int_equal(stats.entries, 0);
    lfu_destroy(self);
  }
}

static void there_are_never_more_entries_than_its_capacity(void **state) {
  (void)state;
  lfu *self = make(SMALL);
  uint64_t capacity = capacity_of(self);
  lfu_stats stats;
  rr_alloc_fail_at(1, 1); /* nothing allocates: it would fail */
  for (uint64_t i = 0; i < 10 * capacity; i++) {
    lfu_value value = value_of(i);
    lfu_insert(self, key_of(i), &value);
    if (i % 100 == 0) {
      lfu_read_stats(self, &stats);
      assert_true(stats.entries <= capacity);
    }
  }
  assert_int_equal(rr_alloc_count(), 0);
  rr_alloc_fail_at(0, 0);
  lfu_read_stats(self, &stats);
  assert_int_equal(stats.entries, capacity);
  assert_int_equal(stats.insertions, 10 * capacity);
  assert_int_equal(stats.insertions - stats.evictions - stats.rejections, stats.entries);
  assert_int_equal(stats.hits + stats.misses, 0);
  lfu_destroy(self);
}

static void everything_is_found_while_there_is_room(void **state) {
  (void)state;
  lfu *self = make(LARGE);
  uint64_t n = capacity_of(self) * 8 / 10; /* shards do not fill alike */
  for (uint64_t i = 0; i < n; i++) {
    assert_false(ask(self, i));
  }
  for (uint64_t i = 0; i < n; i++) {
    assert_true(ask(self, i));
  }
  lfu_stats stats;
  lfu_read_stats(self, &stats);
  assert_int_equal(stats.hits, n);
  assert_int_equal(stats.misses, n);
  assert_int_equal(stats.entries, n);
  assert_int_equal(stats.evictions + stats.rejections, 0);
  lfu_destroy(self);
}

/* One half of the key is not enough, in the same shard and bucket too. */
static void an_entry_is_found_under_its_whole_key_only(void **state) {
  (void)state;
  lfu *self = make(SMALL);
  for (uint64_t i = 0; i < 1000; i++) {
    lfu_value value = value_of(i);
    lfu_key key = key_of(i);
    lfu_insert(self, key, &value);
    assert_false(lfu_find(self, (lfu_key){key.high, ~key.low}, &value));
    assert_false(lfu_find(self, (lfu_key){key.high ^ 1u << 31, key.low}, &value));
    assert_false(lfu_find(self, (lfu_key){key.high ^ (uint64_t)1 << 63, key.low}, &value));
    assert_true(lfu_find(self, key, &value) && is_value_of(&value, i));
  }
  lfu_destroy(self);
}

static void all_in_one_bucket_are_told_apart_and_go_one_by_one(void **state) {
  (void)state;
  lfu *self = make(LFU_BYTES_MIN);
  uint64_t capacity = capacity_of(self);
  lfu_value value;
  for (uint64_t i = 0; i < 3 * capacity; i++) {
    value = value_of(i);
    lfu_insert(self, (lfu_key){.high = 5, .low = mix(i)}, &value);
  }
  uint64_t found = 0;
  for (uint64_t i = 0; i < 3 * capacity; i++) {
    if (lfu_find(self, (lfu_key){.high = 5, .low = mix(i)}, &value)) {
      assert_true(is_value_of(&value, i));
      found++;
    }
  }
  assert_int_equal(found, capacity);
  lfu_destroy(self);
}

static void what_is_there_stays_as_it_is(void **state) {
  (void)state;
  lfu *self = make(SMALL);
  lfu_value value = value_of(1);
  lfu_insert(self, key_of(1), &value);
  value = value_of(2);
  lfu_insert(self, key_of(1), &value);
  assert_true(lfu_find(self, key_of(1), &value) && is_value_of(&value, 1));
  lfu_stats stats;
  lfu_read_stats(self, &stats);
  assert_int_equal(stats.entries, 1);
  lfu_destroy(self);
}

/* A full cache, a request of a hundred new texts, and the same once more. */
static void a_request_that_comes_again_at_once_is_found(void **state) {
  (void)state;
  lfu *self = make(SMALL);
  uint64_t capacity = capacity_of(self);
  for (int round = 0; round < 3; round++) { /* all of it is in use */
    for (uint64_t i = 0; i < capacity; i++) {
      (void)ask(self, i);
    }
  }
  for (uint64_t i = 0; i < 100; i++) {
    assert_false(ask(self, 1000000 + i));
  }
  for (uint64_t i = 0; i < 100; i++) {
    assert_true(ask(self, 1000000 + i));
  }
  lfu_destroy(self);
}

static void a_hot_set_survives_a_long_scan(void **state) {
  (void)state;
  lfu *self = make(LARGE);
  uint32_t capacity = (uint32_t)capacity_of(self);
  uint32_t hot = capacity / 2;
  uint32_t scan = 8 * capacity;
  lru reference = lru_make(hot + scan, capacity);
  for (int round = 0; round < 4; round++) {
    for (uint32_t i = 0; i < hot; i++) {
      (void)ask(self, i);
      (void)lru_ask(&reference, i);
    }
  }
  for (uint32_t i = 0; i < scan; i++) {
    (void)ask(self, hot + i);
    (void)lru_ask(&reference, hot + i);
  }
  uint32_t kept = 0;
  uint32_t reference_kept = 0;
  for (uint32_t i = 0; i < hot; i++) {
    lfu_value value;
    kept += lfu_find(self, key_of(i), &value);
    reference_kept += reference.in[i];
  }
  print_message("# after a scan of 8 times its size: %.2f %% of the hot set, by LRU %.2f %%\n",
                100.0 * kept / hot, 100.0 * reference_kept / hot);
  assert_int_equal(reference_kept, 0);
  assert_true(kept > hot - hot / 10);
  lru_free(&reference);
  lfu_destroy(self);
}

/* Hit rates in the second half of a trace, of the cache and of an LRU of as many entries. */
static void compare(uint32_t (*next)(void *), void *trace, uint32_t numbers, uint32_t length,
                    double *ret_rate, double *ret_reference) {
  lfu *self = make(SMALL);
  lru reference = lru_make(numbers, capacity_of(self));
  uint32_t hits = 0;
  uint32_t reference_hits = 0;
  for (uint32_t i = 0; i < length; i++) {
    uint32_t number = next(trace);
    bool hit = ask(self, number);
    bool reference_hit = lru_ask(&reference, number);
    hits += hit && i >= length / 2;
    reference_hits += reference_hit && i >= length / 2;
  }
  *ret_rate = 2.0 * hits / length;
  *ret_reference = 2.0 * reference_hits / length;
  lru_free(&reference);
  lfu_destroy(self);
}

typedef struct zipf {
  double *sums;
  uint32_t numbers;
} zipf;

static uint32_t next_of_zipf(void *trace) {
  const zipf *self = trace;
  return zipf_draw(self->sums, self->numbers);
}

static void popular_texts_are_found_more_often_than_by_lru(void **state) {
  (void)state;
  static const double exponents[] = {0.6, 0.8, 1.0, 1.2};
  for (size_t e = 0; e < sizeof exponents / sizeof exponents[0]; e++) {
    zipf trace = {.numbers = 200000};
    trace.sums = zipf_make(trace.numbers, exponents[e]);
    random_state = 3;
    double rate;
    double reference;
    compare(next_of_zipf, &trace, trace.numbers, 600000, &rate, &reference);
    print_message("# Zipf %.1f, 50 times its size: hits %.3f, by LRU %.3f\n", exponents[e], rate,
                  reference);
    assert_true(rate >= reference);
    rr_free(trace.sums);
  }
}

/* Requests of a hundred texts; queries are popular as Zipf has it, so that texts come in runs. */
typedef struct requests {
  zipf queries;
  uint32_t query;
  uint32_t text;
} requests;

static uint32_t next_of_requests(void *trace) {
  requests *self = trace;
  if (self->text == 100) {
    self->query = next_of_zipf(&self->queries);
    self->text = 0;
  }
  return self->query * 100 + self->text++;
}

static void requests_of_popular_queries_are_found_more_often_than_by_lru(void **state) {
  (void)state;
  requests trace = {.queries = {.numbers = 5000}, .text = 100};
  trace.queries.sums = zipf_make(trace.queries.numbers, 0.9);
  random_state = 5;
  double rate;
  double reference;
  compare(next_of_requests, &trace, trace.queries.numbers * 100, 1000000, &rate, &reference);
  print_message("# requests: hits %.3f, by LRU %.3f\n", rate, reference);
  assert_true(rate >= reference);
  rr_free(trace.queries.sums);
}

/* What is popular changes: from then on, other numbers. */
static void a_new_hot_set_takes_the_old_one_s_place(void **state) {
  (void)state;
  lfu *self = make(SMALL);
  uint32_t hot = (uint32_t)capacity_of(self) / 2;
  for (uint32_t i = 0; i < 40 * hot; i++) {
    (void)ask(self, i % hot);
  }
  uint32_t hits = 0;
  for (uint32_t i = 0; i < 40 * hot; i++) {
    bool hit = ask(self, 1000000 + i % (3 * hot / 2)); /* with the old set it does not fit */
    hits += hit && i >= 30 * hot;
  }
  print_message("# a new hot set, after 20 rounds: hits %.3f\n", hits / (10.0 * hot));
  assert_true(hits > 9 * hot);
  lfu_destroy(self);
}

enum { THREADS = 4 };

typedef struct hammerer {
  lfu *cache;
  uint64_t seed;
  pthread_t thread;
} hammerer;

static void *hammer(void *argument) {
  lfu *self = ((hammerer *)argument)->cache;
  uint64_t random = ((hammerer *)argument)->seed;
  size_t wrong = 0;
  for (int i = 0; i < 60000; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    uint64_t number = (random >> 33) % 20000;
    number = number % 3 == 0 ? number : number % 500;
    lfu_value value;
    if (lfu_find(self, key_of(number), &value)) {
      wrong += !is_value_of(&value, number);
    } else {
      value = value_of(number);
      lfu_insert(self, key_of(number), &value);
    }
    if (i % 5000 == 0) {
      lfu_stats stats;
      lfu_read_stats(self, &stats);
      wrong += stats.entries > stats.capacity;
    }
  }
  return (void *)wrong;
}

static void threads_find_what_is_right(void **state) {
  (void)state;
  static const size_t sizes[] = {LFU_BYTES_MIN, SMALL, LARGE};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    lfu *self = make(sizes[s]);
    hammerer threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
      threads[i] = (hammerer){.cache = self, .seed = mix((uint64_t)i + 1)};
      assert_int_equal(pthread_create(&threads[i].thread, NULL, hammer, &threads[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
      void *wrong = NULL;
      assert_int_equal(pthread_join(threads[i].thread, &wrong), 0);
      assert_null(wrong);
    }
    lfu_stats stats;
    lfu_read_stats(self, &stats);
    assert_int_equal(stats.hits + stats.misses, THREADS * 60000);
    assert_int_equal(stats.insertions - stats.evictions - stats.rejections, stats.entries);
    lfu_destroy(self);
  }
}

static void whichever_allocation_fails_there_is_no_cache_and_no_leak(void **state) {
  (void)state;
  int failed = 0;
  for (unsigned long n = 1;; n++) {
    lfu *self = NULL;
    rr_error error;
    rr_alloc_fail_at(n, 0);
    rr_status status = lfu_create(LARGE, &self, &error);
    unsigned long asked = rr_alloc_count();
    rr_alloc_fail_at(0, 0);
    if (asked < n) {
      assert_int_equal(status, RR_OK);
      lfu_destroy(self);
      break;
    }
    assert_int_equal(status, RR_ERR_MEMORY);
    assert_null(self);
    failed++;
  }
  assert_true(failed > 10);
  lfu_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_memory_is_within_the_bytes_that_were_asked_for),
      cmocka_unit_test(there_are_never_more_entries_than_its_capacity),
      cmocka_unit_test(everything_is_found_while_there_is_room),
      cmocka_unit_test(an_entry_is_found_under_its_whole_key_only),
      cmocka_unit_test(all_in_one_bucket_are_told_apart_and_go_one_by_one),
      cmocka_unit_test(what_is_there_stays_as_it_is),
      cmocka_unit_test(a_request_that_comes_again_at_once_is_found),
      cmocka_unit_test(a_hot_set_survives_a_long_scan),
      cmocka_unit_test(popular_texts_are_found_more_often_than_by_lru),
      cmocka_unit_test(requests_of_popular_queries_are_found_more_often_than_by_lru),
      cmocka_unit_test(a_new_hot_set_takes_the_old_one_s_place),
      cmocka_unit_test(threads_find_what_is_right),
      cmocka_unit_test(whichever_allocation_fails_there_is_no_cache_and_no_leak),
  };
  cmocka_set_test_filter(getenv("RR_CASES")); /* NULL: all */
  return cmocka_run_group_tests(tests, NULL, NULL);
}
