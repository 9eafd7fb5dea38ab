#include "server/rerank.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/base/alloc.h"
#include "proto/tei.h"
#include "server/answer.h"
#include "server/clock.h"

enum { JSON_VALUES_MAX = 1000000 };

struct rerank_task {
  engine_job job; /* first: the engine hands this back */
  uv_work_t work;
  rerank_service *service;
  http_exchange *exchange;
  rerank_task *next; /* in the finished list */
  rr_arena arena;
  rr_rerank_request request;
  rr_encoded encoded;
  bool failed;
  rr_api_error error;
  char *reply; /* JSON; NULL once it was handed on */
  size_t reply_size;
  uint64_t characters;
  uint64_t parse;        /* ns */
  uint64_t tokenization; /* ns */
};

static void fail(rerank_task *task, rr_api_error_kind kind, const char *message) {
  task->failed = true;
  (void)rr_api_fail(&task->error, kind, "%s", message);
}

/* Code points: every byte that does not continue one. */
static uint64_t count_characters(rr_text text) {
  uint64_t count = 0;
  for (size_t i = 0; i < text.size; i++) {
    count += ((unsigned char)text.data[i] & 0xC0u) != 0x80u;
  }
  return count;
}

static int longest_first(const void *a, const void *b) {
  uint32_t left = (*(rr_sequence *const *)a)->length;
  uint32_t right = (*(rr_sequence *const *)b)->length;
  return left < right ? 1 : left > right ? -1 : 0;
}

/* The order of computing: long sequences first, so that the last micro-batches are fine-grained. */
static bool order_sequences(rerank_task *task) {
  size_t n = task->encoded.n_sequences;
  rr_sequence **sequences = rr_arena_calloc(&task->arena, n, sizeof(rr_sequence *));
  uint32_t *lengths = rr_arena_calloc(&task->arena, n, sizeof *lengths);
  if (sequences == NULL || lengths == NULL) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    sequences[i] = &task->encoded.sequences[i];
  }
  qsort(sequences, n, sizeof *sequences, longest_first);
  for (size_t i = 0; i < n; i++) {
    lengths[i] = sequences[i]->length;
  }
  task->job.sequences = sequences;
  task->job.queue.lengths = lengths;
  task->job.queue.n = (uint32_t)n;
  return true;
}

static void tokenize(rerank_task *task) {
  const rerank_service *service = task->service;
  const rr_rerank_request *request = &task->request;
  rr_encode_options options = {
      .truncate = request->truncate == RR_TRUNCATE_DEFAULT ? service->config.auto_truncate
                                                           : request->truncate != 0,
      .side = request->truncate_left ? RR_TRUNCATE_LEFT : RR_TRUNCATE_RIGHT,
  };
  rr_error problem;
  rr_status status = rr_scorer_encode(service->scorer, request->query, request->texts, request->n_texts,
                                      &options, &task->arena, &task->encoded, &problem);
  if (status == RR_OK && !order_sequences(task)) {
    status = rr_fail(&problem, RR_ERR_MEMORY, "out of memory");
  }
  if (status != RR_OK) {
    fail(task,
         status == RR_ERR_MEMORY  ? RR_API_MEMORY
         : status == RR_ERR_INPUT ? RR_API_VALIDATION
                                  : RR_API_TOKENIZER,
         problem.message);
    return;
  }
  task->characters = count_characters(request->query);
  for (size_t i = 0; i < request->n_texts; i++) {
    task->characters += count_characters(request->texts[i]);
  }
}

/* On a thread of the pool. */
static void prepare(uv_work_t *work) {
  rerank_task *task = work->data;
  const rr_rerank_limits limits = {.max_texts = task->service->config.max_texts,
                                   .max_json_values = JSON_VALUES_MAX};
  uint64_t begin = clock_now();
  bool decoded = rr_tei_decode_rerank(task->exchange->body, task->exchange->body_size, &limits,
                                      &task->arena, &task->request, &task->error);
  uint64_t parsed = clock_now();
  task->parse = parsed - begin;
  if (!decoded) {
    task->failed = true;
    return;
  }
  tokenize(task);
  task->tokenization = clock_now() - parsed;
}

static void rank_and_encode(rerank_task *task) {
  size_t n = task->request.n_texts;
  float *scores = rr_arena_calloc(&task->arena, n, sizeof *scores);
  rr_ranked *ranked = rr_arena_calloc(&task->arena, n, sizeof *ranked);
  if (scores == NULL || ranked == NULL) {
    fail(task, RR_API_MEMORY, "out of memory");
    return;
  }
  rr_error problem;
  if (rr_scorer_scores(task->service->scorer, &task->encoded, task->request.raw_scores, scores,
                       &problem) != RR_OK) {
    fail(task, RR_API_BACKEND, problem.message);
    return;
  }
  rr_rank(scores, n, ranked);
  task->reply = rr_tei_encode_rerank(&task->request, ranked, n, &task->reply_size);
  if (task->reply == NULL) {
    fail(task, RR_API_MEMORY, "out of memory");
  }
}

/* On the worker that finished the task's last sequence. */
static void on_computed(engine_job *job) {
  rerank_task *task = (rerank_task *)job;
  rerank_service *service = task->service;
  if (job->error.status != RR_OK) {
    fail(task, RR_API_BACKEND, job->error.message);
  } else {
    rank_and_encode(task);
  }
  (void)pthread_mutex_lock(&service->lock);
  task->next = service->finished;
  service->finished = task;
  /* Under the lock: once the loop has seen the task, the service may be on its way down. */
  (void)uv_async_send(&service->wake);
  (void)pthread_mutex_unlock(&service->lock);
}

static uint64_t queue_time(const rerank_task *task) {
  return task->job.queue.started_at - task->job.queue.added_at;
}

static uint64_t inference_time(const rerank_task *task) {
  return task->job.finished_at - task->job.queue.started_at;
}

static double seconds(uint64_t ns) { return (double)ns / 1e9; }

static void count_success(const rerank_task *task) {
  metrics *counters = task->service->metrics;
  counters->successes++;
  histogram_add(&counters->parse, seconds(task->parse));
  histogram_add(&counters->tokenization, seconds(task->tokenization));
  histogram_add(&counters->queue, seconds(queue_time(task)));
  histogram_add(&counters->inference, seconds(inference_time(task)));
  histogram_add(&counters->total, seconds(clock_now() - task->exchange->received_at));
  for (size_t i = 0; i < task->encoded.n_sequences; i++) {
    histogram_add(&counters->input_length, task->encoded.sequences[i].length);
  }
}

/* TEI's headers: whole milliseconds. */
static void add_timing(http_reply *reply, const rerank_task *task) {
  const uint64_t ms = 1000000;
  uint64_t compute = task->parse + task->tokenization + inference_time(task);
  uint64_t total = clock_now() - task->exchange->received_at;
  http_add_header(reply, "x-compute-type", "cpu");
  http_add_header(reply, "x-compute-time", "%" PRIu64, compute / ms);
  http_add_header(reply, "x-compute-characters", "%" PRIu64, task->characters);
  http_add_header(reply, "x-compute-tokens", "%" PRIu64, task->encoded.tokens);
  http_add_header(reply, "x-total-time", "%" PRIu64, total / ms);
  http_add_header(reply, "x-tokenization-time", "%" PRIu64, task->tokenization / ms);
  http_add_header(reply, "x-queue-time", "%" PRIu64, queue_time(task) / ms);
  http_add_header(reply, "x-inference-time", "%" PRIu64, inference_time(task) / ms);
}

/* On the loop. Nothing but its log line is left to a task after this. */
static void reply_to(rerank_task *task) {
  task->service->metrics->active--;
  if (task->failed) {
    answer_error(task->service->metrics, task->exchange, task->error.kind, "%s", task->error.message);
    return;
  }
  http_reply reply = {.status = 200, .content_type = "application/json", .body = task->reply,
                      .size = task->reply_size};
  task->reply = NULL;
  add_timing(&reply, task);
  count_success(task);
  http_reply_to(task->exchange, &reply);
}

static void on_wake(uv_async_t *wake) {
  rerank_service *self = wake->data;
  (void)pthread_mutex_lock(&self->lock);
  rerank_task *newest = self->finished;
  self->finished = NULL;
  (void)pthread_mutex_unlock(&self->lock);
  rerank_task *oldest = NULL;
  while (newest != NULL) {
    rerank_task *next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest != NULL) {
    rerank_task *next = oldest->next; /* the reply may end the task */
    reply_to(oldest);
    oldest = next;
  }
}

/* Back on the loop, with sequences. */
static void on_prepared(uv_work_t *work, int status) {
  rerank_task *task = work->data;
  http_release_body(task->exchange);
  if (status != 0 && !task->failed) {
    fail(task, RR_API_UNHEALTHY, "the server is stopping");
  }
  if (!task->failed) {
    if (engine_submit(task->service->engine, &task->job)) {
      return; /* the task is the workers' from here on: not even its `failed` may be read */
    }
    fail(task, RR_API_OVERLOADED, "Model is overloaded");
  }
  reply_to(task);
}

int rerank_service_init(rerank_service *self, uv_loop_t *loop, const rerank_config *config,
                        metrics *counters) {
  *self = (rerank_service){.config = *config, .loop = loop, .metrics = counters};
  (void)pthread_mutex_init(&self->lock, NULL);
  int status = uv_async_init(loop, &self->wake, on_wake);
  self->wake.data = self;
  return status;
}

void rerank_service_close(rerank_service *self) {
  /* Waits for a worker that is still inside on_computed's lock. */
  (void)pthread_mutex_lock(&self->lock);
  (void)pthread_mutex_unlock(&self->lock);
  uv_close((uv_handle_t *)&self->wake, NULL);
}

void rerank_start(rerank_service *self, http_exchange *exchange) {
  metrics *counters = self->metrics;
  counters->requests++;
  if (counters->active >= self->config.max_concurrent_requests) {
    answer_error(counters, exchange, RR_API_OVERLOADED, "Model is overloaded");
    return;
  }
  rerank_task *task = rr_calloc(1, sizeof *task);
  if (task == NULL) {
    answer_error(counters, exchange, RR_API_MEMORY, "out of memory");
    return;
  }
  rr_arena_init(&task->arena, self->config.arena_limit);
  task->service = self;
  task->exchange = exchange;
  task->job.done = on_computed;
  task->work.data = task;
  exchange->task = task;
  counters->active++;
  int status = uv_queue_work(self->loop, &task->work, prepare, on_prepared);
  if (status != 0) {
    fail(task, RR_API_UNHEALTHY, "the server cannot take work");
    reply_to(task);
  }
}

void rerank_describe(const rerank_task *task, log_request_fields *fields) {
  fields->parse = task->parse;
  if (task->failed) {
    fields->error = task->error.message;
    return;
  }
  fields->texts = task->request.n_texts;
  fields->tokens = task->encoded.tokens;
  fields->truncated = task->encoded.n_truncated;
  fields->tokenization = task->tokenization;
  fields->queue = queue_time(task);
  fields->inference = inference_time(task);
}

void rerank_task_destroy(rerank_task *task) {
  if (task == NULL) {
    return;
  }
  rr_arena_finish(&task->arena);
  rr_free(task->reply);
  rr_free(task);
}
