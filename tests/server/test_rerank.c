/* The workers and the path of a request with the golden cross-encoder and a real loop, but without
 * HTTP: what is taken back, by a client that left or by a deadline, wherever it is at that
 * moment. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "server/base/clock.h"
#include "server/models/warmup.h"
#include "server/request/own.h"

enum {
  MEMORY = 256 << 20,
  TEXTS = 200,
  MANY = 24,
  TEXT_BYTES = 1200,
  WAIT_SECONDS = 60,
  BODY_BYTES = TEXTS * (TEXT_BYTES + 8) + 200
};

static rr_scorer *scorer;
static workers *crew;
static uv_loop_t loop;
static metrics counters;
static rr_budget memory;
static rerank_service service;
static http_exchange exchanges[MANY];

/* --- set up --- */

static int load_model(void **state) {
  (void)state;
  const char *golden = getenv("RR_GOLDEN");
  char directory[4096];
  rr_error error;
  const rr_load_options how = {.dtype = RR_DTYPE_FLOAT32};
  if (golden == NULL) {
    return -1;
  }
  rr_json_init();
  (void)snprintf(directory, sizeof directory, "%s/score/cross-encoder", golden);
  return rr_scorer_load(directory, &how, &scorer, &error) == RR_OK ? 0 : -1;
}

static int free_model(void **state) {
  (void)state;
  rr_scorer_destroy(scorer);
  return 0;
}

static void start_workers(uint64_t max_tokens) {
  const workers_config config = {.threads = 1,
                                 .max_batch_tokens = 512,
                                 .max_jobs = MANY,
                                 .limits = {.max_wait = UINT64_MAX, .max_tokens = max_tokens}};
  assert_int_equal(workers_create(scorer, &config, &crew, NULL), RR_OK);
  assert_int_equal(warmup_run(scorer, crew, NULL), RR_OK);
}

static int start(void **state) {
  (void)state;
  start_workers(UINT64_MAX);
  metrics_init(&counters);
  rr_budget_init(&memory, MEMORY);
  const rerank_config config = {.max_concurrent_requests = MANY,
                                .max_texts = TEXTS,
                                .memory = &memory,
                                .request_limit = 64 << 20,
                                .payload_limit = 10 << 20,
                                .auto_truncate = true,
                                .pool_threads = 1,
                                .model_name = "golden"};
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(rerank_service_init(&service, &loop, &config, &counters), 0);
  service.scorer = scorer;
  service.workers = crew;
  memset(exchanges, 0, sizeof exchanges);
  return 0;
}

static int stop(void **state) {
  (void)state;
  rerank_service_close(&service);
  (void)uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  workers_destroy(crew);
  return 0;
}

/* --- requests --- */

/* Each is two tokens. A slow program needs less to be at it for a while. */
static int words_of_a_text(void) { return getenv("RR_SLOW") != NULL ? 20 : 150; }

static char *make_body(size_t texts, const char *further) {
  const int words = words_of_a_text();
  char *body = malloc(BODY_BYTES);
  assert_non_null(body);
  size_t size =
      (size_t)snprintf(body, BODY_BYTES, "{\"query\":\"water and stone\"%s,\"texts\":[", further);
  for (size_t i = 0; i < texts; i++) {
    size += (size_t)snprintf(body + size, BODY_BYTES - size, "%s\"%zu", i == 0 ? "" : ",", i);
    for (int word = 0; word < words; word++) {
      size += (size_t)snprintf(body + size, BODY_BYTES - size, " a %c",
                               'a' + (int)((i + (size_t)word) % 26));
    }
    size += (size_t)snprintf(body + size, BODY_BYTES - size, "\"");
  }
  (void)snprintf(body + size, BODY_BYTES - size, "]}");
  return body;
}

static rerank_task *begin(int at, size_t texts, const char *further) {
  http_exchange *exchange = &exchanges[at];
  *exchange = (http_exchange){
      .path = "/rerank", .request_id = "id", .received_at = clock_now(), .priority = INT32_MIN};
  exchange->body = make_body(texts, further);
  exchange->body_size = strlen(exchange->body);
  rerank_start(&service, exchange, rr_endpoint_at(exchange->path));
  return exchange->task;
}

static uint64_t computed(void) {
  workers_stats stats;
  workers_read_stats(crew, &stats);
  return (uint64_t)stats.batch_sequences.sum;
}

/* With a rest, for the worker's sake: valgrind runs one thread at a time. */
static void turn_the_loop(void) {
  (void)uv_run(&loop, UV_RUN_NOWAIT);
  (void)usleep(50);
}

static void run_until_replied(int at) {
  uint64_t begin_at = clock_now();
  while (!exchanges[at].replied) {
    turn_the_loop();
    assert_true(clock_now() - begin_at < WAIT_SECONDS * (uint64_t)1000000000);
  }
}

/* As the HTTP server does when the reply is out; the task may still be held. */
static void finish(int at) {
  assert_true(exchanges[at].replied);
  rerank_task_destroy(exchanges[at].task);
  rr_free(exchanges[at].reply.body);
  memset(&exchanges[at], 0x5a, sizeof exchanges[at]); /* nobody may look at it any more */
}

static void run_until_idle(void) {
  uint64_t begin_at = clock_now();
  while (!rerank_is_idle(&service)) {
    turn_the_loop();
    assert_true(clock_now() - begin_at < WAIT_SECONDS * (uint64_t)1000000000);
  }
  assert_int_equal(counters.active, 0);
  assert_int_equal(rr_budget_used(&memory), 0); /* whatever became of the requests */
}

static bool run_until_state(const rerank_task *task, task_state state) {
  while (task->own->state < state) {
    turn_the_loop();
  }
  return task->own->state == state;
}

/* --- memory --- */

static bool says(int at, const char *words) {
  const http_reply *reply = &exchanges[at].reply;
  return memmem(reply->body, reply->size, words, strlen(words)) != NULL;
}

static bool tells_to_come_again(int at) {
  for (size_t i = 0; i < exchanges[at].reply.n_headers; i++) {
    if (strcmp(exchanges[at].reply.headers[i].name, "Retry-After") == 0) {
      return strtoul(exchanges[at].reply.headers[i].value, NULL, 10) > 0;
    }
  }
  return false;
}

static void an_answered_request_has_its_reply_and_no_more(void **state) {
  (void)state;
  (void)begin(0, TEXTS, ",\"return_text\":true");
  run_until_replied(0);
  assert_int_equal(exchanges[0].reply.status, 200);
  for (int i = 0; i < 10; i++) { /* until the worker has let go */
    turn_the_loop();
  }
  size_t size = exchanges[0].reply.size;
  assert_true(size > 1000);
  assert_int_equal(rr_budget_used(&memory), size + 1);
  finish(0);
  run_until_idle();
}

static void beyond_the_bound_a_request_comes_again(void **state) {
  (void)state;
  size_t others = rr_budget_most(&memory) - 1000;
  assert_int_equal(rr_budget_take(&memory, 0, others), RR_REFUSAL_NONE);
  uint64_t before = computed();
  rr_budget_set_limit(
      &memory,
      others + 1000); /* an eighth is kept for small ones, and these 1000 bytes are too few */
  (void)begin(0, TEXTS, "");
  run_until_replied(0);
  assert_int_equal(exchanges[0].reply.status, 429);
  assert_true(says(0, "memory"));
  assert_true(tells_to_come_again(0));
  assert_int_equal(counters.refusals[ADMISSION_MEMORY], 1);
  finish(0);
  rr_budget_give(&memory, others);
  run_until_idle();
  assert_int_equal(computed(), before);
}

static void what_never_fits_need_not_come_again(void **state) {
  (void)state;
  rr_budget_set_limit(&memory, 1 << 18);
  (void)begin(0, TEXTS, "");
  run_until_replied(0);
  assert_int_equal(exchanges[0].reply.status, 413);
  assert_true(says(0, "--request-memory"));
  assert_false(tells_to_come_again(0));
  finish(0);
  rr_budget_set_limit(&memory, MEMORY);
  service.config.request_limit = 1 << 18;
  (void)begin(1, TEXTS, "");
  run_until_replied(1);
  assert_int_equal(exchanges[1].reply.status, 413);
  assert_true(says(1, "--payload-limit"));
  assert_false(tells_to_come_again(1));
  finish(1);
  run_until_idle();
}

/* Wherever a request meets the bound, it is refused before anything of it is computed. */
static void what_cannot_be_concluded_is_not_computed(void **state) {
  (void)state;
  size_t limit = 1 << 16;
  for (int status = 0; status != 200; limit += 1 << 14) {
    uint64_t before = computed();
    rr_budget_set_limit(&memory, limit);
    (void)begin(0, 20, ",\"return_text\":true");
    run_until_replied(0);
    status = exchanges[0].reply.status;
    assert_true(status == 200 || (status == 413 && computed() == before));
    finish(0);
    run_until_idle();
    assert_true(limit < MEMORY);
  }
}

/* --- a client that left --- */

static void a_request_nobody_waits_for_is_dropped_before_the_pool_has_it(void **state) {
  (void)state;
  uint64_t before = computed();
  (void)begin(0, TEXTS, "");
  rerank_task *second = begin(1, TEXTS, "");
  assert_int_equal(second->own->state, TASK_WAITING); /* the one thread has the first */
  rerank_abandon(second);
  assert_int_equal(exchanges[1].reply.status, 499);
  finish(1);
  run_until_replied(0);
  assert_int_equal(exchanges[0].reply.status, 200);
  finish(0);
  run_until_idle();
  assert_int_equal(computed() - before, TEXTS);
  assert_int_equal(counters.dropped, 1);
}

static void and_while_a_thread_of_the_pool_is_at_it(void **state) {
  (void)state;
  uint64_t before = computed();
  rerank_task *task = begin(0, TEXTS, "");
  assert_int_equal(task->own->state, TASK_PREPARING);
  rerank_abandon(task);
  assert_int_equal(exchanges[0].reply.status, 499); /* at once, whatever the thread does */
  finish(0);
  run_until_idle();
  assert_int_equal(computed(), before);
}

static void and_while_a_worker_is_at_it(void **state) {
  (void)state;
  uint64_t before = computed();
  rerank_task *task = begin(0, TEXTS, "");
  assert_true(run_until_state(task, TASK_COMPUTING));
  while (computed() == before) {
    (void)usleep(100);
  }
  rerank_abandon(task);
  uint64_t after = computed();
  rerank_abandon(task); /* a second time does nothing */
  assert_int_equal(counters.dropped, 1);
  finish(0);
  run_until_idle();
  assert_int_equal(computed(), after); /* no further micro-batch was begun */
  assert_true(after - before < TEXTS);
  workers_stats stats;
  workers_read_stats(crew, &stats);
  assert_int_equal(stats.queued_sequences + stats.queued_tokens + stats.queued_requests, 0);
}

static void and_when_it_is_done(void **state) {
  (void)state;
  uint64_t before = computed();
  rerank_task *task = begin(0, TEXTS / 4, "");
  assert_true(run_until_state(task, TASK_COMPUTING));
  while (computed() - before < TEXTS / 4) {
    (void)usleep(100);
  }
  (void)usleep(20000);
  rerank_abandon(task); /* the worker's result is on its way, or the worker about to be done */
  run_until_replied(0);
  assert_int_equal(exchanges[0].reply.status, 499);
  finish(0);
  run_until_idle();
  assert_int_equal(counters.dropped, 1);
}

/* At any moment, with others under way: every request gets one reply, theirs are right, and nothing
 * is left. */
static void and_at_any_moment(void **state) {
  (void)state;
  int rounds = getenv("RR_SLOW") != NULL ? 3 : 12;
  for (int round = 0; round < rounds; round++) {
    rerank_task *tasks[MANY];
    for (int i = 0; i < MANY; i++) {
      tasks[i] =
          begin(i, 1 + (size_t)((i * 7 + round) % 40), i % 3 == 0 ? ",\"timeout_ms\":20" : "");
      for (int turn = 0; turn < (i + round) % 5; turn++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        (void)usleep(500);
      }
      if (i % 2 == 1 && !exchanges[i / 2].replied) {
        rerank_abandon(tasks[i / 2]);
      }
    }
    for (int i = 0; i < MANY; i++) {
      run_until_replied(i);
      int status = exchanges[i].reply.status;
      assert_true(status == 200 || status == 499 || status == 504 || status == 429);
      assert_true(status != 504 || i % 3 == 0);
      finish(i);
    }
    run_until_idle();
  }
}

/* --- a deadline --- */

/* What the reply's header says; 0 where it is not there. */
static size_t unscored(int at) {
  for (size_t i = 0; i < exchanges[at].reply.n_headers; i++) {
    if (strcmp(exchanges[at].reply.headers[i].name, "x-rerank-degraded") == 0) {
      return strtoul(exchanges[at].reply.headers[i].value, NULL, 10);
    }
  }
  return 0;
}

/* Has the timer come when about half is computed, by moving the deadline there. */
static rerank_task *cut_in_the_middle(const char *further) {
  uint64_t before = computed();
  rerank_task *task = begin(0, TEXTS, further);
  assert_true(run_until_state(task, TASK_COMPUTING));
  while (computed() - before < TEXTS / 2) {
    (void)usleep(100);
  }
  assert_true(service.cuts.n == 1);
  service.cuts.heap[0]->at = clock_now();
  (void)uv_timer_start(&service.timer, service.timer.timer_cb, 0, 0);
  return task;
}

static void what_is_scored_by_the_deadline_is_answered(void **state) {
  (void)state;
  (void)cut_in_the_middle(",\"timeout_ms\":100000");
  run_until_replied(0);
  assert_int_equal(exchanges[0].reply.status, 200);
  size_t n = unscored(0);
  assert_true(n > 0 && n < TEXTS);
  assert_int_equal(counters.degraded, 1);
  json_t *answer = NULL;
  assert_int_equal(
      rr_json_parse(exchanges[0].reply.body, exchanges[0].reply.size, 10000, &answer, NULL), RR_OK);
  assert_int_equal(json_array_size(answer), TEXTS);
  double last = 2;
  json_int_t last_index = -1;
  for (size_t i = 0; i < TEXTS; i++) {
    const json_t *result = json_array_get(answer, i);
    double score = json_real_value(json_object_get(result, "score"));
    json_int_t index = json_integer_value(json_object_get(result, "index"));
    assert_true(score <= last);
    assert_true(i < TEXTS - n ? score > 0 : score == 0);
    assert_true(i <= TEXTS - n || index > last_index); /* the rest as they came */
    last = score;
    last_index = index;
  }
  json_decref(answer);
  finish(0);
  run_until_idle();
}

static void who_wants_all_or_nothing_gets_an_error(void **state) {
  (void)state;
  (void)cut_in_the_middle(",\"timeout_ms\":100000,\"on_timeout\":\"error\"");
  run_until_replied(0);
  assert_int_equal(exchanges[0].reply.status, 504);
  assert_int_equal(counters.missed, 1);
  assert_int_equal(counters.degraded, 0);
  finish(0);
  run_until_idle();
}

static void a_client_may_leave_while_its_part_is_put_together(void **state) {
  (void)state;
  rerank_task *task = cut_in_the_middle(",\"timeout_ms\":100000");
  while (task->own->state == TASK_COMPUTING) {
    turn_the_loop();
  }
  if (!exchanges[0].replied) {
    rerank_abandon(task);
    run_until_replied(0);
    assert_int_equal(exchanges[0].reply.status, 499);
  }
  finish(0);
  run_until_idle();
}

static void before_anything_is_scored_the_deadline_is_an_error(void **state) {
  (void)state;
  (void)begin(0, TEXTS, "");
  (void)begin(1, 5, ",\"timeout_ms\":1"); /* waits for the pool longer than that */
  (void)usleep(3000);
  run_until_replied(1);
  assert_int_equal(exchanges[1].reply.status, 504);
  finish(1);
  run_until_replied(0);
  finish(0);
  run_until_idle();
}

/* --- the queue --- */

static void a_full_queue_refuses_and_says_for_how_long(void **state) {
  (void)state;
  workers_destroy(crew);
  start_workers((uint64_t)(TEXTS * words_of_a_text()));
  service.workers = crew;
  (void)begin(0, TEXTS, ""); /* alone, it may be larger than the queue */
  rerank_task *first = exchanges[0].task;
  assert_true(run_until_state(first, TASK_COMPUTING));
  rerank_task *second = begin(1, TEXTS / 2, "");
  run_until_replied(1);
  assert_int_equal(exchanges[1].reply.status, 429);
  assert_int_equal(second->refused, ADMISSION_TOKENS);
  assert_string_equal(exchanges[1].reply.headers[0].name, "Retry-After");
  assert_true(strtol(exchanges[1].reply.headers[0].value, NULL, 10) >= 1);
  assert_int_equal(counters.refusals[ADMISSION_TOKENS], 1);
  finish(1);
  run_until_replied(0);
  assert_int_equal(exchanges[0].reply.status, 200);
  finish(0);
  run_until_idle();
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(an_answered_request_has_its_reply_and_no_more, start, stop),
      cmocka_unit_test_setup_teardown(beyond_the_bound_a_request_comes_again, start, stop),
      cmocka_unit_test_setup_teardown(what_never_fits_need_not_come_again, start, stop),
      cmocka_unit_test_setup_teardown(what_cannot_be_concluded_is_not_computed, start, stop),
      CASE(a_request_nobody_waits_for_is_dropped_before_the_pool_has_it),
      CASE(and_while_a_thread_of_the_pool_is_at_it),
      CASE(and_while_a_worker_is_at_it),
      CASE(and_when_it_is_done),
      CASE(and_at_any_moment),
      CASE(what_is_scored_by_the_deadline_is_answered),
      CASE(who_wants_all_or_nothing_gets_an_error),
      CASE(a_client_may_leave_while_its_part_is_put_together),
      CASE(before_anything_is_scored_the_deadline_is_an_error),
      CASE(a_full_queue_refuses_and_says_for_how_long),
  };
  return cmocka_run_group_tests(tests, load_model, free_model);
}
