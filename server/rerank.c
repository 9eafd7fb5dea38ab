#include "server/rerank.h"

#include <inttypes.h>
#include <time.h>

#include "core/base/alloc.h"
#include "server/answer.h"
#include "server/clock.h"
#include "server/rerank_task.h"

/* On a thread of the pool. */
static void prepare(uv_work_t *work) { rerank_prepare(work->data); }

/* On the worker that finished the task's last sequence. */
static void on_computed(engine_job *job) {
  rerank_task *task = (rerank_task *)job;
  rerank_service *service = task->service;
  if (job->error.status != RR_OK) {
    rerank_fail(task, RR_API_BACKEND, job->error.message);
  } else {
    rerank_conclude(task);
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
  counters->successes[rr_endpoint_operation(task->endpoint)]++;
  histogram_add(&counters->parse, seconds(task->parse));
  histogram_add(&counters->tokenization, seconds(task->tokenization));
  if (task->n_sequences > 0) { /* else it never met the workers */
    histogram_add(&counters->queue, seconds(queue_time(task)));
    histogram_add(&counters->inference, seconds(inference_time(task)));
  }
  histogram_add(&counters->total, seconds(clock_now() - task->exchange->received_at));
  for (size_t i = 0; i < task->n_sequences; i++) {
    histogram_add(&counters->input_length, task->job.sequences[i]->length);
  }
}

/* Whole milliseconds. */
static void add_timing(http_reply *reply, const rerank_task *task) {
  const uint64_t ms = 1000000;
  uint64_t compute = task->parse + task->tokenization + inference_time(task);
  uint64_t total = clock_now() - task->exchange->received_at;
  http_add_header(reply, "x-compute-type", "cpu");
  http_add_header(reply, "x-compute-time", "%" PRIu64, compute / ms);
  http_add_header(reply, "x-compute-characters", "%" PRIu64, task->characters);
  http_add_header(reply, "x-compute-tokens", "%" PRIu64, task->tokens);
  http_add_header(reply, "x-truncated-count", "%zu", task->n_truncated);
  http_add_header(reply, "x-total-time", "%" PRIu64, total / ms);
  http_add_header(reply, "x-tokenization-time", "%" PRIu64, task->tokenization / ms);
  http_add_header(reply, "x-queue-time", "%" PRIu64, queue_time(task) / ms);
  http_add_header(reply, "x-inference-time", "%" PRIu64, inference_time(task) / ms);
}

/* On the loop. Nothing but its log line is left to a task after this. */
static void reply_to(rerank_task *task) {
  task->service->metrics->active--;
  if (task->failed) {
    answer_api_error(task->service->metrics, task->exchange, task->dialect, &task->error);
    return;
  }
  http_reply reply = {.status = 200, .content_type = "application/json", .body = task->reply,
                      .size = task->reply_size};
  task->reply = NULL;
  add_timing(&reply, task);
  if (task->reply_coding != CODING_IDENTITY) {
    http_add_header(&reply, "Content-Encoding", "%s", coding_name(task->reply_coding));
    http_add_header(&reply, "Vary", "Accept-Encoding");
  }
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

/* Back on the loop, with sequences; or with the reply, where there was nothing to compute. */
static void on_prepared(uv_work_t *work, int status) {
  rerank_task *task = work->data;
  http_release_body(task->exchange);
  if (status != 0 && !task->failed) {
    rerank_fail(task, RR_API_UNHEALTHY, "the server is stopping");
  }
  if (!task->failed && task->reply == NULL) {
    if (engine_submit(task->service->engine, &task->job)) {
      return; /* the task is the workers' from here on: not even its `failed` may be read */
    }
    rerank_fail(task, RR_API_OVERLOADED, "Model is overloaded");
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
  const rr_endpoint *endpoint = rr_endpoint_at(exchange->path);
  counters->requests[rr_endpoint_operation(endpoint)]++;
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
  task->endpoint = endpoint;
  task->body_coding = coding_of_content(http_header_of(exchange, "Content-Encoding"));
  task->reply_coding = coding_accepted(http_header_of(exchange, "Accept-Encoding"));
  task->created = (int64_t)time(NULL);
  task->job.done = on_computed;
  task->work.data = task;
  exchange->task = task;
  counters->active++;
  int status = uv_queue_work(self->loop, &task->work, prepare, on_prepared);
  if (status != 0) {
    rerank_fail(task, RR_API_UNHEALTHY, "the server cannot take work");
    reply_to(task);
  }
}

void rerank_describe(const rerank_task *task, log_request_fields *fields) {
  fields->parse = task->parse;
  fields->dialect = task->dialect == NULL ? NULL : rr_dialect_name(task->dialect);
  if (task->failed) {
    fields->error = task->error.message;
    return;
  }
  fields->texts = task->request.n_texts;
  fields->cached = task->n_cached;
  fields->tokens = task->tokens;
  fields->truncated = task->n_truncated;
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
