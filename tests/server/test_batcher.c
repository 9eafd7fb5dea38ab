#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/sched/batcher.h"

enum { ITEMS = 1024 };

static batcher make(size_t max_jobs, size_t max_tokens, size_t min_tokens, unsigned workers) {
  batcher self;
  const batcher_config config = {.max_jobs = max_jobs,
                                 .max_tokens = max_tokens,
                                 .min_tokens = min_tokens,
                                 .workers = workers,
                                 .priority_step = 100};
  assert_true(batcher_init(&self, &config));
  return self;
}

static batcher_job job_of(const uint32_t *lengths, uint32_t n) {
  return (batcher_job){.lengths = lengths, .n = n};
}

static void nothing_waits_in_an_empty_batcher(void **state) {
  (void)state;
  batcher self = make(4, 100, 1, 1);
  batcher_item items[ITEMS];
  size_t tokens = 1;
  assert_int_equal(batcher_cut(&self, 1, items, ITEMS, &tokens), 0);
  assert_int_equal(tokens, 0);
  batcher_finish(&self);
}

static void a_lone_request_is_cut_at_once_and_shared_by_the_workers(void **state) {
  (void)state;
  batcher self = make(4, 1000, 10, 2);
  uint32_t lengths[40];
  for (int i = 0; i < 40; i++) {
    lengths[i] = 10;
  }
  batcher_job job = job_of(lengths, 40);
  assert_true(batcher_add(&self, &job, 5));
  batcher_item items[ITEMS];
  size_t tokens;
  /* 400 tokens wait for two workers: a quarter is cut, not all of it. */
  assert_int_equal(batcher_cut(&self, 7, items, ITEMS, &tokens), 10);
  assert_int_equal(tokens, 100);
  assert_int_equal(job.added_at, 5);
  assert_int_equal(job.started_at, 7);
  assert_int_equal(self.waiting.tokens, 300);
  assert_int_equal(self.waiting_sequences, 30);
  batcher_finish(&self);
}

static void every_sequence_is_handed_out_once_and_in_order(void **state) {
  (void)state;
  batcher self = make(4, 64, 16, 3);
  uint32_t lengths[100];
  for (uint32_t i = 0; i < 100; i++) {
    lengths[i] = 1 + (i * 37) % 60;
  }
  batcher_job job = job_of(lengths, 100);
  assert_true(batcher_add(&self, &job, 1));
  uint32_t next = 0;
  batcher_item items[ITEMS];
  size_t tokens;
  size_t n;
  while ((n = batcher_cut(&self, 2, items, ITEMS, &tokens)) > 0) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
      assert_ptr_equal(items[i].job, &job);
      assert_int_equal(items[i].position, next++);
      sum += lengths[items[i].position];
    }
    assert_int_equal(sum, tokens);
    assert_true(tokens <= 64);
  }
  assert_int_equal(next, 100);
  assert_int_equal(self.waiting.tokens, 0);
  assert_int_equal(self.n_jobs, 0);
  batcher_finish(&self);
}

static void a_sequence_over_the_budget_goes_alone(void **state) {
  (void)state;
  batcher self = make(4, 50, 10, 1);
  const uint32_t lengths[] = {500, 3};
  batcher_job job = job_of(lengths, 2);
  assert_true(batcher_add(&self, &job, 1));
  batcher_item items[ITEMS];
  size_t tokens;
  assert_int_equal(batcher_cut(&self, 1, items, ITEMS, &tokens), 1);
  assert_int_equal(tokens, 500);
  assert_int_equal(batcher_cut(&self, 1, items, ITEMS, &tokens), 1);
  assert_int_equal(tokens, 3);
  batcher_finish(&self);
}

static void a_small_request_passes_a_large_one_under_way(void **state) {
  (void)state;
  batcher self = make(4, 100, 100, 1);
  uint32_t many[100];
  for (int i = 0; i < 100; i++) {
    many[i] = 50;
  }
  const uint32_t few[] = {20, 20};
  batcher_job large = job_of(many, 100);
  batcher_job small = job_of(few, 2);
  batcher_item items[ITEMS];
  size_t tokens;
  assert_true(batcher_add(&self, &large, 1));
  assert_int_equal(batcher_cut(&self, 1, items, ITEMS, &tokens), 2);
  assert_true(batcher_add(&self, &small, 2));
  assert_int_equal(batcher_cut(&self, 2, items, ITEMS, &tokens), 3);
  assert_ptr_equal(items[0].job, &small);
  assert_ptr_equal(items[1].job, &small);
  assert_ptr_equal(items[2].job, &large); /* the rest of the budget is not wasted */
  assert_int_equal(items[2].position, 2);
  batcher_finish(&self);
}

static void equal_requests_are_served_first_come_first_served(void **state) {
  (void)state;
  batcher self = make(8, 100, 100, 1);
  const uint32_t lengths[] = {60, 60, 60};
  batcher_job jobs[4];
  batcher_item items[ITEMS];
  size_t tokens;
  for (int i = 0; i < 4; i++) {
    jobs[i] = job_of(lengths, 3);
    assert_true(batcher_add(&self, &jobs[i], (uint64_t)i));
  }
  for (int i = 0; i < 12; i++) {
    assert_int_equal(batcher_cut(&self, 9, items, ITEMS, &tokens), 1);
    assert_ptr_equal(items[0].job, &jobs[i / 3]);
  }
  batcher_finish(&self);
}

/* Small requests arrive for ever, one a micro-batch; the large one must still end, and after a
 * bounded amount of others' work: its own size, plus what waited, plus one micro-batch. */
static void a_large_request_is_not_starved_by_a_stream_of_small_ones(void **state) {
  (void)state;
  enum { STREAM = 2000 };
  batcher self = make(STREAM + 1, 100, 100, 1);
  uint32_t many[50];
  for (int i = 0; i < 50; i++) {
    many[i] = 100;
  }
  const uint32_t one[] = {100};
  batcher_job large = job_of(many, 50);
  batcher_job *small = calloc(STREAM, sizeof *small);
  assert_non_null(small);
  assert_true(batcher_add(&self, &large, 0));
  batcher_item items[ITEMS];
  size_t tokens;
  int cuts = 0;
  while (large.next < large.n) {
    assert_true(cuts < STREAM);
    small[cuts] = job_of(one, 1);
    assert_true(batcher_add(&self, &small[cuts], 0));
    assert_int_equal(batcher_cut(&self, 0, items, ITEMS, &tokens), 1);
    cuts++;
  }
  assert_in_range(cuts, 50, 2 * 50 + 1);
  free(small);
  batcher_finish(&self);
}

static void more_jobs_than_allowed_are_refused(void **state) {
  (void)state;
  batcher self = make(1, 100, 1, 1);
  const uint32_t lengths[] = {5};
  batcher_job first = job_of(lengths, 1);
  batcher_job second = job_of(lengths, 1);
  assert_true(batcher_add(&self, &first, 0));
  assert_false(batcher_add(&self, &second, 0));
  batcher_item items[ITEMS];
  size_t tokens;
  assert_int_equal(batcher_cut(&self, 0, items, ITEMS, &tokens), 1);
  assert_true(batcher_add(&self, &second, 0));
  batcher_finish(&self);
}

static void a_removed_job_takes_its_waiting_sequences_along(void **state) {
  (void)state;
  batcher self = make(4, 10, 10, 1);
  const uint32_t lengths[] = {10, 10, 10};
  batcher_job gone = job_of(lengths, 3);
  batcher_job kept = job_of(lengths, 3);
  assert_true(batcher_add(&self, &gone, 0));
  assert_true(batcher_add(&self, &kept, 0));
  batcher_item items[ITEMS];
  size_t tokens;
  assert_int_equal(batcher_cut(&self, 0, items, ITEMS, &tokens), 1);
  assert_int_equal(batcher_remove(&self, &gone), 2);
  assert_int_equal(batcher_remove(&self, &gone), 0);
  assert_int_equal(self.waiting.tokens, 30);
  assert_int_equal(self.waiting_sequences, 3);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(batcher_cut(&self, 0, items, ITEMS, &tokens), 1);
    assert_ptr_equal(items[0].job, &kept);
  }
  assert_int_equal(batcher_remove(&self, &kept), 0);
  batcher_finish(&self);
}

static void a_step_of_priority_is_so_many_tokens_of_others_work(void **state) {
  (void)state;
  batcher self = make(8, 100, 100, 1); /* a step is 100 tokens */
  const uint32_t lengths[] = {100};
  batcher_job jobs[5];
  const int32_t priorities[] = {2, 0, -1, 1, INT32_MIN};
  const int order[] = {4, 2, 1, 3, 0};
  batcher_item items[ITEMS];
  size_t tokens;
  for (int i = 0; i < 5; i++) {
    jobs[i] = job_of(lengths, 1);
    jobs[i].priority = priorities[i];
    assert_true(batcher_add(&self, &jobs[i], 0));
  }
  for (int i = 0; i < 5; i++) {
    assert_int_equal(batcher_cut(&self, 0, items, ITEMS, &tokens), 1);
    assert_ptr_equal(items[0].job, &jobs[order[i]]);
  }
  batcher_finish(&self);
}

static void a_low_priority_goes_on_amid_higher_ones(void **state) {
  (void)state;
  enum { STREAM = 200 };
  batcher self = make(STREAM + 1, 100, 100, 1);
  const uint32_t one[] = {100};
  batcher_job low = job_of(one, 1);
  static batcher_job high[STREAM];
  batcher_item items[ITEMS];
  size_t tokens;
  low.priority = 20;
  assert_true(batcher_add(&self, &low, 0));
  int cuts = 0;
  while (low.next == 0) {
    high[cuts] = job_of(one, 1);
    high[cuts].priority = -20;
    assert_true(cuts < STREAM && batcher_add(&self, &high[cuts], 0));
    assert_int_equal(batcher_cut(&self, 0, items, ITEMS, &tokens), 1);
    cuts++;
  }
  assert_in_range(cuts, 40, 42); /* 40 steps between them */
  batcher_finish(&self);
}

static void what_is_ahead_is_what_goes_first(void **state) {
  (void)state;
  batcher self = make(4, 100, 100, 1);
  const uint32_t lengths[] = {10, 20, 70};
  batcher_job small = job_of(lengths, 2);
  batcher_job large = job_of(lengths, 3);
  assert_true(batcher_add(&self, &small, 0) && batcher_add(&self, &large, 0));
  assert_int_equal(batcher_ahead(&self, 29, 0).tokens, 0);
  assert_int_equal(batcher_ahead(&self, 30, 0).tokens, 30);
  assert_int_equal(batcher_ahead(&self, 30, 0).squares, 500);
  assert_int_equal(batcher_ahead(&self, 100, 0).tokens, 130);
  assert_int_equal(batcher_ahead(&self, 30, 1).tokens, 130);
  assert_int_equal(batcher_ahead(&self, 100, -1).tokens, 0);
  batcher_finish(&self);
}

/* A token takes a nanosecond. */
static void nothing_is_handed_out_that_ends_after_its_deadline(void **state) {
  (void)state;
  estimate speed;
  estimate_init(&speed, 0);
  estimate_observe(&speed, (workload){.tokens = 1000}, 1000);
  batcher self = make(4, 1000, 1000, 1);
  self.config.speed = &speed;
  const uint32_t lengths[] = {50, 50, 50};
  batcher_job tight = job_of(lengths, 3);
  batcher_job open = job_of(lengths, 3);
  batcher_item items[ITEMS];
  size_t tokens;
  tight.deadline = 1120;
  assert_true(batcher_add(&self, &tight, 0) && batcher_add(&self, &open, 0));
  /* Two of it end in time; a third would not, nor would they with any of the other's. */
  assert_int_equal(batcher_cut(&self, 1000, items, ITEMS, &tokens), 2);
  assert_ptr_equal(items[1].job, &tight);
  assert_int_equal(batcher_cut(&self, 1100, items, ITEMS, &tokens), 3);
  assert_ptr_equal(items[0].job, &open);
  assert_int_equal(tight.dropped, 1);
  assert_int_equal(self.n_jobs + self.waiting.tokens + self.waiting_sequences, 0);
  /* Alone it may try, however late it is predicted to be, until its time is over. */
  tight = job_of(lengths, 3);
  tight.deadline = 1210;
  assert_true(batcher_add(&self, &tight, 1200));
  assert_int_equal(batcher_cut(&self, 1200, items, ITEMS, &tokens), 1);
  assert_int_equal(batcher_cut(&self, 1210, items, ITEMS, &tokens), 0);
  assert_int_equal(tight.dropped, 2);
  batcher_finish(&self);
}

/* Seeded random traffic: whatever comes, nothing is lost or handed out twice, and the books
 * balance. */
static void random_traffic_keeps_the_books_balanced(void **state) {
  (void)state;
  enum { JOBS = 500, LARGEST = 30 };
  batcher self = make(64, 256, 32, 2);
  static uint32_t lengths[JOBS][LARGEST];
  static batcher_job jobs[JOBS];
  static uint32_t handed[JOBS];
  memset(handed, 0, sizeof handed);
  uint64_t random = 42;
  int added = 0;
  uint64_t waiting = 0;
  batcher_item items[ITEMS];
  while (added < JOBS || self.n_jobs > 0) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    if (added < JOBS && (random >> 60) < 9 && self.n_jobs < 64) {
      uint32_t n = 1 + (uint32_t)(random >> 33) % LARGEST;
      for (uint32_t i = 0; i < n; i++) {
        lengths[added][i] = 1 + (uint32_t)(random >> (i % 24)) % 200;
        waiting += lengths[added][i];
      }
      jobs[added] = job_of(lengths[added], n);
      assert_true(batcher_add(&self, &jobs[added], 0));
      added++;
    } else {
      size_t tokens;
      size_t n = batcher_cut(&self, 1, items, ITEMS, &tokens);
      for (size_t i = 0; i < n; i++) {
        handed[items[i].job - jobs]++;
      }
      waiting -= tokens;
    }
    assert_int_equal(self.waiting.tokens, waiting);
  }
  for (int i = 0; i < JOBS; i++) {
    assert_int_equal(handed[i], jobs[i].n);
  }
  batcher_finish(&self);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_waits_in_an_empty_batcher),
      cmocka_unit_test(a_lone_request_is_cut_at_once_and_shared_by_the_workers),
      cmocka_unit_test(every_sequence_is_handed_out_once_and_in_order),
      cmocka_unit_test(a_sequence_over_the_budget_goes_alone),
      cmocka_unit_test(a_small_request_passes_a_large_one_under_way),
      cmocka_unit_test(equal_requests_are_served_first_come_first_served),
      cmocka_unit_test(a_large_request_is_not_starved_by_a_stream_of_small_ones),
      cmocka_unit_test(more_jobs_than_allowed_are_refused),
      cmocka_unit_test(a_removed_job_takes_its_waiting_sequences_along),
      cmocka_unit_test(a_step_of_priority_is_so_many_tokens_of_others_work),
      cmocka_unit_test(a_low_priority_goes_on_amid_higher_ones),
      cmocka_unit_test(what_is_ahead_is_what_goes_first),
      cmocka_unit_test(nothing_is_handed_out_that_ends_after_its_deadline),
      cmocka_unit_test(random_traffic_keeps_the_books_balanced),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
