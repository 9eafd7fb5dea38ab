/* The pure parts of scheduling, each by itself: the estimate, deadlines, admission, the intake,
 * what a request wishes of its time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "server/http/api_keys.h"
#include "server/request/deadline.h"
#include "server/request/request_time.h"
#include "server/sched/admission.h"
#include "server/sched/estimate.h"
#include "server/sched/intake.h"

static const uint64_t ms = 1000000;

static uint64_t random_state = 7;

static uint64_t draw(uint64_t below) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (random_state >> 33) % below;
}

/* --- the estimate --- */

static workload batch(unsigned n, unsigned length) {
  workload sum = {0};
  for (unsigned i = 0; i < n; i++) {
    workload_add(&sum, length);
  }
  return sum;
}

static uint64_t cost(workload work, double token, double square) {
  return (uint64_t)(token * (double)work.tokens + square * (double)work.squares);
}

static void assert_near(uint64_t value, uint64_t wanted, double share) {
  double difference = (double)value - (double)wanted;
  assert_true(difference <= share * (double)wanted && -difference <= share * (double)wanted);
}

static void nothing_seen_is_no_time(void **state) {
  (void)state;
  estimate speed;
  estimate_init(&speed, 0.001);
  assert_int_equal(estimate_ns(&speed, batch(10, 100)), 0);
  assert_true(estimate_tokens_per_second(&speed, 2) == 0);
  estimate_observe(&speed, (workload){0}, 5);
  estimate_observe(&speed, batch(1, 1), 0);
  assert_int_equal(estimate_ns(&speed, batch(10, 100)), 0);
}

static void one_observation_is_an_estimate(void **state) {
  (void)state;
  estimate speed;
  estimate_init(&speed, 0);
  estimate_observe(&speed, batch(10, 100), 20 * ms);
  assert_near(estimate_ns(&speed, batch(20, 100)), 40 * ms, 0.001);
  assert_near((uint64_t)estimate_tokens_per_second(&speed, 2), 100000, 0.001);
}

/* Both costs are found from batches of mixed lengths with a tenth of noise, though the shape given
 * is wrong. */
static void tokens_and_attention_are_told_apart(void **state) {
  (void)state;
  estimate speed;
  estimate_init(&speed, 0.0001);
  for (int i = 0; i < 400; i++) {
    workload work =
        draw(2) == 0 ? batch(1 + (unsigned)draw(40), 24) : batch(1 + (unsigned)draw(2), 512);
    uint64_t ns = cost(work, 1000, 2) * (90 + draw(21)) / 100;
    estimate_observe(&speed, work, ns);
  }
  assert_near(estimate_ns(&speed, batch(40, 24)), cost(batch(40, 24), 1000, 2), 0.08);
  assert_near(estimate_ns(&speed, batch(2, 512)), cost(batch(2, 512), 1000, 2), 0.08);
}

static void lengths_all_alike_leave_the_models_shape(void **state) {
  (void)state;
  estimate speed;
  estimate_init(&speed, 0.001);
  for (int i = 0; i < 200; i++) {
    workload work = batch(1 + (unsigned)draw(10), 100);
    estimate_observe(&speed, work, cost(work, 1000, 1));
  }
  assert_near(estimate_ns(&speed, batch(2, 500)), cost(batch(2, 500), 1000, 1), 0.01);
}

static void a_stall_moves_little_and_a_change_lasts(void **state) {
  (void)state;
  estimate speed;
  estimate_init(&speed, 0);
  workload work = batch(10, 100);
  for (int i = 0; i < 200; i++) {
    estimate_observe(&speed, work, 10 * ms);
  }
  estimate_observe(&speed, work, 60000 * ms); /* a minute: the machine slept */
  assert_near(estimate_ns(&speed, work), 10 * ms, 0.08);
  for (int i = 0; i < 300; i++) {
    estimate_observe(&speed, work, 100 * ms);
  }
  assert_near(estimate_ns(&speed, work), 100 * ms, 0.1);
  for (int i = 0; i < 300; i++) {
    estimate_observe(&speed, work, 10 * ms);
  }
  assert_near(estimate_ns(&speed, work), 10 * ms, 0.1);
}

/* The margin is such that about nine of ten ends come before prediction times margin, within its
 * bounds. */
static void the_margin_follows_the_errors(void **state) {
  (void)state;
  estimate speed;
  estimate_init(&speed, 0);
  for (int i = 0; i < 5000; i++) {
    estimate_check(&speed, 100 * ms,
                   (80 + draw(50)) * ms); /* even from .8 to 1.3: nine tenths are below 1.25 */
  }
  assert_true(speed.margin > 1.19 && speed.margin < 1.31);
  for (int i = 0; i < 5000; i++) {
    estimate_check(&speed, 100 * ms, 50 * ms);
  }
  assert_true(speed.margin == 1);
  for (int i = 0; i < 5000; i++) {
    estimate_check(&speed, 100 * ms, 1000 * ms);
  }
  assert_true(speed.margin == 1.5);
  double before = speed.margin;
  estimate_check(&speed, ms, 0); /* too short to tell anything */
  assert_true(speed.margin == before);
}

/* --- deadlines --- */

static void deadlines_come_in_order_whatever_is_removed(void **state) {
  (void)state;
  enum { N = 300 };
  static deadline entries[N];
  deadlines list;
  assert_true(deadlines_init(&list, N));
  assert_null(deadlines_first(&list));
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < N; i++) {
      assert_true(deadlines_add(&list, &entries[i], draw(100)));
    }
    deadline extra = {0};
    assert_false(deadlines_add(&list, &extra, 1));
    for (int i = 0; i < N; i += 1 + (int)draw(3)) {
      deadlines_remove(&list, &entries[i]);
      deadlines_remove(&list, &entries[i]); /* a second time does nothing */
    }
    uint64_t last = 0;
    for (deadline *first; (first = deadlines_first(&list)) != NULL;) {
      assert_true(first->at >= last);
      last = first->at;
      deadlines_remove(&list, first);
    }
  }
  deadlines_finish(&list);
}

/* --- admission: a worker does a token in a millisecond --- */

static estimate slow(void) {
  estimate speed;
  estimate_init(&speed, 0);
  estimate_observe(&speed, (workload){.tokens = 100}, 100 * ms);
  speed.margin = 1;
  return speed;
}

static const admission_limits wide = {.max_wait = UINT64_MAX, .max_tokens = UINT64_MAX};

static admission decide(const admission_limits *limits, uint64_t before, uint64_t waiting,
                        uint64_t own, uint64_t left_ms, bool all_or_nothing) {
  estimate speed = slow();
  const admission_queue queue = {.before = {.tokens = before},
                                 .waiting = {.tokens = waiting},
                                 .workers = 2,
                                 .batch_tokens = 10};
  const admission_request request = {.own = {.tokens = own},
                                     .all_or_nothing = all_or_nothing,
                                     .time_left =
                                         left_ms == 0 ? ADMISSION_NO_DEADLINE : left_ms * ms};
  return admission_decide(limits, &queue, &request, &speed);
}

static void what_fits_is_granted_and_what_does_not_is_told_when(void **state) {
  (void)state;
  /* 100 tokens before it on two workers: 50 ms; its own 20: 10 ms, and half a micro-batch more at
   * the end. */
  admission answer = decide(&wide, 100, 100, 20, 66, false);
  assert_int_equal(answer.verdict, ADMISSION_GRANTED);
  assert_near(answer.predicted, 65 * ms, 0.001);
  answer = decide(&wide, 100, 100, 20, 60, false);
  assert_int_equal(answer.verdict, ADMISSION_DEADLINE);
  assert_near(answer.retry_after, 5 * ms, 0.001);
  /* What does not go before it does not count. */
  assert_int_equal(decide(&wide, 0, 100000, 20, 16, false).verdict, ADMISSION_GRANTED);
}

static void what_fits_into_no_queue_is_done_in_part_or_never(void **state) {
  (void)state;
  /* 1,000 tokens: 505 ms alone. */
  assert_int_equal(decide(&wide, 0, 10, 1000, 100, false).verdict, ADMISSION_GRANTED);
  assert_int_equal(decide(&wide, 90, 90, 1000, 100, false).verdict, ADMISSION_GRANTED);
  admission answer =
      decide(&wide, 200, 200, 1000, 100, false); /* hardly begun before its deadline */
  assert_int_equal(answer.verdict, ADMISSION_DEADLINE);
  assert_near(answer.retry_after, 50 * ms, 0.001);
  assert_int_equal(decide(&wide, 90, 90, 1000, 100, true).verdict, ADMISSION_NEVER);
  /* So near that the estimate may be wrong: once nothing goes before it. */
  assert_int_equal(decide(&wide, 0, 90, 1000, 450, true).verdict, ADMISSION_GRANTED);
  answer = decide(&wide, 90, 90, 1000, 450, true);
  assert_int_equal(answer.verdict, ADMISSION_DEADLINE);
  assert_near(answer.retry_after, 45 * ms, 0.001);
}

static void the_queue_has_its_bounds(void **state) {
  (void)state;
  const admission_limits limits = {.max_wait = 100 * ms, .max_tokens = 1000};
  assert_int_equal(decide(&limits, 199, 900, 100, 0, false).verdict, ADMISSION_GRANTED);
  admission answer = decide(&limits, 400, 900, 100, 0, false);
  assert_int_equal(answer.verdict, ADMISSION_WAIT);
  assert_near(answer.retry_after, 100 * ms, 0.001);
  answer = decide(&limits, 0, 900, 101, 0, false);
  assert_int_equal(answer.verdict, ADMISSION_TOKENS);
  assert_near(answer.retry_after, ms / 2, 0.01);
  assert_int_equal(decide(&limits, 0, 0, 100000, 0, false).verdict, ADMISSION_GRANTED);
}

static void an_idle_server_lets_everything_in(void **state) {
  (void)state;
  estimate speed = slow();
  const admission_limits nothing = {.max_wait = 0, .max_tokens = 0};
  const admission_queue queue = {.workers = 1, .batch_tokens = 10, .idle = true};
  const admission_request request = {
      .own = {.tokens = 1000}, .time_left = ms, .all_or_nothing = true};
  assert_int_equal(admission_decide(&nothing, &queue, &request, &speed).verdict, ADMISSION_GRANTED);
}

static void waiting_is_told_in_whole_seconds(void **state) {
  (void)state;
  assert_int_equal(admission_seconds(0), 1);
  assert_int_equal(admission_seconds(1000 * ms), 1);
  assert_int_equal(admission_seconds(1000 * ms + 1), 2);
  assert_int_equal(admission_seconds(UINT64_MAX), 3600);
}

/* --- the intake --- */

static void bodies_wait_for_threads_and_small_ones_pass(void **state) {
  (void)state;
  intake self;
  assert_true(intake_init(&self, 2, 4));
  static intake_job jobs[5];
  const size_t sizes[] = {1000, 1000, 5000, 200, 10};
  assert_true(intake_is_empty(&self));
  for (int i = 0; i < 2; i++) {
    assert_true(intake_add(&self, &jobs[i], sizes[i], 0));
    assert_ptr_equal(intake_next(&self, 0), &jobs[i]);
  }
  for (int i = 2; i < 5; i++) {
    assert_true(intake_add(&self, &jobs[i], sizes[i], 0));
  }
  assert_null(intake_next(&self, 0)); /* both threads have one */
  const workload found = {.tokens = 250, .squares = 25000};
  intake_done(&self, &jobs[0], ms, &found);
  assert_ptr_equal(intake_next(&self, 0), &jobs[4]);
  intake_remove(&self, &jobs[3]);
  intake_done(&self, &jobs[1], ms, NULL);
  assert_ptr_equal(intake_next(&self, 0), &jobs[2]);
  assert_null(intake_next(&self, 0));
  intake_done(&self, &jobs[2], ms, NULL);
  assert_false(intake_is_empty(&self));
  intake_done(&self, &jobs[4], ms, NULL);
  assert_true(intake_is_empty(&self));
  /* A quarter of a token a byte, a hundred squares a token; a millisecond for 1,000 bytes and what
   * any body costs. */
  assert_int_equal(intake_expect(&self, 4000).tokens, 1000);
  assert_int_equal(intake_expect(&self, 4000).squares, 100000);
  assert_near(intake_delay(&self, 4000, 0), ms * 6048 / 3048, 0.001);
  intake_finish(&self);
}

static void bodies_ahead_are_those_that_ask_for_less(void **state) {
  (void)state;
  intake self;
  static intake_job jobs[4];
  assert_true(intake_init(&self, 1, 3));
  assert_true(intake_add(&self, &jobs[0], 1000, 0));
  assert_ptr_equal(intake_next(&self, 0), &jobs[0]);
  intake_done(&self, &jobs[0], ms, &(workload){.tokens = 1000});
  for (int i = 0; i < 3; i++) {
    assert_true(intake_add(&self, &jobs[i], (size_t)(i + 1) * 100, 0));
  }
  assert_false(intake_add(&self, &jobs[3], 1, 0));
  assert_int_equal(intake_ahead(&self, 50).tokens, 0);
  assert_int_equal(intake_ahead(&self, 200).tokens, 300);
  assert_ptr_equal(intake_next(&self, 0), &jobs[0]);
  assert_int_equal(intake_ahead(&self, 50).tokens,
                   0); /* on a thread: its tokens come behind all the same */
  assert_int_equal(intake_ahead(&self, 200).tokens, 300);
  intake_done(&self, &jobs[0], ms, NULL);
  assert_int_equal(intake_ahead(&self, 200).tokens, 200);
  intake_finish(&self);
}

static void small_bodies_do_not_make_large_ones_look_slow(void **state) {
  (void)state;
  intake self;
  static intake_job job;
  assert_true(intake_init(&self, 1, 1));
  for (int i = 0; i < 100; i++) { /* all of it what any body costs */
    assert_true(intake_add(&self, &job, 100, 0));
    assert_ptr_equal(intake_next(&self, 0), &job);
    intake_done(&self, &job, ms / 50, &(workload){.tokens = 20});
  }
  assert_true(intake_delay(&self, 1000000, 0) < 20 * ms);
  intake_finish(&self);
}

static void bodies_too_late_are_not_given_out(void **state) {
  (void)state;
  intake self;
  static intake_job jobs[2];
  assert_true(intake_init(&self, 1, 2));
  jobs[0].queue.deadline = 10;
  assert_true(intake_add(&self, &jobs[0], 10, 0));
  assert_true(intake_add(&self, &jobs[1], 20, 0));
  assert_ptr_equal(intake_next(&self, 10), &jobs[1]);
  intake_remove(&self, &jobs[0]); /* by the timer; it is out already */
  intake_done(&self, &jobs[1], 1, NULL);
  assert_true(intake_is_empty(&self));
  intake_finish(&self);
}

/* --- wishes --- */

static void body_and_headers_are_merged(void **state) {
  (void)state;
  const request_time headers = {
      .timeout_ms = 100, .on_timeout = RR_ON_TIMEOUT_ERROR, .priority = 3};
  rr_rerank_request request = {.timeout_ms = 0};
  request_time merged = request_time_merge(&headers, &request);
  assert_int_equal(merged.timeout_ms, 100);
  assert_int_equal(merged.on_timeout, RR_ON_TIMEOUT_ERROR);
  assert_int_equal(merged.priority, 3);
  request =
      (rr_rerank_request){.timeout_ms = 50, .on_timeout = RR_ON_TIMEOUT_PARTIAL, .priority = -1};
  merged = request_time_merge(&headers, &request);
  assert_int_equal(merged.timeout_ms, 50);
  assert_int_equal(merged.on_timeout, RR_ON_TIMEOUT_PARTIAL);
  assert_int_equal(merged.priority, -1);
  request.timeout_ms = 500;
  request.no_part = true;
  merged = request_time_merge(&headers, &request);
  assert_int_equal(merged.timeout_ms, 100);
  assert_int_equal(merged.on_timeout, RR_ON_TIMEOUT_ERROR);
}

static void the_cut_keeps_time_for_the_way_back(void **state) {
  (void)state;
  const request_time none = {.timeout_ms = 0};
  const request_time some = {.timeout_ms = 16};
  const request_time long_one = {.timeout_ms = 10000};
  assert_int_equal(request_time_cut(&none, 0, 5), 0);
  assert_int_equal(request_time_cut(&none, 32, 5), 5 + 30 * ms);
  assert_int_equal(request_time_cut(&some, 32, 5), 5 + 15 * ms);
  assert_int_equal(request_time_cut(&long_one, 0, 5), 5 + 9990 * ms);
}

static void a_keys_priority_is_the_best_there_is(void **state) {
  (void)state;
  const request_time forward = {.priority = -50};
  const request_time back = {.priority = 50};
  const request_time far = {.priority = INT64_MAX};
  assert_int_equal(request_time_priority(&forward, API_KEY_NO_PRIORITY), -50);
  assert_int_equal(request_time_priority(&forward, 10), 10);
  assert_int_equal(request_time_priority(&back, 10), 60);
  assert_int_equal(request_time_priority(&forward, -10), -10);
  assert_int_equal(request_time_priority(&far, 1000), BATCHER_PRIORITY_MAX);
  assert_int_equal(request_time_priority(&far, API_KEY_NO_PRIORITY), BATCHER_PRIORITY_MAX);
}

static void without_memory_nothing_begins(void **state) {
  (void)state;
  deadlines list;
  intake self;
  rr_alloc_fail_at(1, 1);
  bool first = deadlines_init(&list, 4);
  bool second = intake_init(&self, 1, 4);
  rr_alloc_fail_at(0, 0);
  assert_false(first || second);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_seen_is_no_time),
      cmocka_unit_test(one_observation_is_an_estimate),
      cmocka_unit_test(tokens_and_attention_are_told_apart),
      cmocka_unit_test(lengths_all_alike_leave_the_models_shape),
      cmocka_unit_test(a_stall_moves_little_and_a_change_lasts),
      cmocka_unit_test(the_margin_follows_the_errors),
      cmocka_unit_test(deadlines_come_in_order_whatever_is_removed),
      cmocka_unit_test(what_fits_is_granted_and_what_does_not_is_told_when),
      cmocka_unit_test(what_fits_into_no_queue_is_done_in_part_or_never),
      cmocka_unit_test(the_queue_has_its_bounds),
      cmocka_unit_test(an_idle_server_lets_everything_in),
      cmocka_unit_test(waiting_is_told_in_whole_seconds),
      cmocka_unit_test(bodies_wait_for_threads_and_small_ones_pass),
      cmocka_unit_test(bodies_ahead_are_those_that_ask_for_less),
      cmocka_unit_test(bodies_too_late_are_not_given_out),
      cmocka_unit_test(small_bodies_do_not_make_large_ones_look_slow),
      cmocka_unit_test(body_and_headers_are_merged),
      cmocka_unit_test(the_cut_keeps_time_for_the_way_back),
      cmocka_unit_test(a_keys_priority_is_the_best_there_is),
      cmocka_unit_test(without_memory_nothing_begins),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
