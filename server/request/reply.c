/* How a task is answered and told of: on the loop. */
#include <inttypes.h>

#include "server/base/clock.h"
#include "server/base/loop_thread.h"
#include "server/request/error_reply.h"
#include "server/request/own.h"

enum { CLIENT_GONE = 499 }; /* a status for the log alone */

/* Both are 0 for what was never begun. */
static uint64_t queue_time(const rerank_task *task) {
  const batcher_job *queue = &task->job.queue;
  uint64_t begun = queue->started_at > 0 ? queue->started_at : task->own->stopped_at;
  return queue->added_at == 0 ? 0 : begun - queue->added_at;
}

static uint64_t inference_time(const rerank_task *task) {
  return task->job.queue.started_at == 0 ? 0 : task->own->stopped_at - task->job.queue.started_at;
}

static double seconds(uint64_t ns) { return (double)ns / 1e9; }

static void count_success(const rerank_task *task) {
  metrics *counters = task->own->service->metrics;
  counters->successes[rr_endpoint_operation(task->endpoint)]++;
  histogram_add(&counters->parse, seconds(phase_ns(task->parse)));
  histogram_add(&counters->tokenization, seconds(phase_ns(task->tokenize)));
  if (task->n_sequences > 0) { /* else it never met the workers */
    histogram_add(&counters->queue, seconds(queue_time(task)));
    histogram_add(&counters->inference, seconds(inference_time(task)));
  }
  histogram_add(&counters->total, seconds(clock_now() - task->own->exchange->received_at));
  uint64_t computed = 0;
  for (size_t i = 0; i < task->n_sequences; i++) {
    histogram_add(&counters->input_length, task->job.sequences[i]->length);
    computed += task->job.sequences[i]->length;
  }
  counters->known_tokens += task->tokens > computed ? task->tokens - computed : 0;
}

/* Whole milliseconds. */
static void add_timing(http_reply *reply, const rerank_task *task) {
  const uint64_t ms = 1000000;
  uint64_t compute = phase_ns(task->parse) + phase_ns(task->tokenize) + inference_time(task);
  uint64_t total = clock_now() - task->own->exchange->received_at;
  http_add_header(reply, "x-compute-type", "cpu");
  http_add_header(reply, "x-compute-time", "%" PRIu64, compute / ms);
  http_add_header(reply, "x-compute-characters", "%" PRIu64, task->characters);
  http_add_header(reply, "x-compute-tokens", "%" PRIu64, task->tokens);
  http_add_header(reply, "x-truncated-count", "%zu", task->n_truncated);
  http_add_header(reply, "x-total-time", "%" PRIu64, total / ms);
  http_add_header(reply, "x-tokenization-time", "%" PRIu64, phase_ns(task->tokenize) / ms);
  http_add_header(reply, "x-queue-time", "%" PRIu64, queue_time(task) / ms);
  http_add_header(reply, "x-inference-time", "%" PRIu64, inference_time(task) / ms);
}

/* Before, at and after the shared cache. What a thread wrote before it is the loop's since. */
static void tell_sharing(const rerank_task *task, uint64_t given_out, bool thread_at_it) {
  phase_span *of = task->own->exchange->phases.of;
  of[PHASE_POOL] = task->own->pool;
  of[PHASE_PARSE] = task->parse;
  of[PHASE_SHARE] =
      (phase_span){task->look_up.begin,
                   task->own->shared_end > 0 ? task->own->shared_end : task->own->stopped_at};
  if (task->own->shared_end > 0) {
    bool known = !thread_at_it && task->tokenize.begin > 0;
    of[PHASE_RESUME] =
        (phase_span){task->own->shared_end, known ? task->tokenize.begin : given_out};
  }
}

/* Hands what is known of the task's phases to its exchange. What a thread of the pool that is at it
 * writes is not read. */
static void tell_phases(const rerank_task *task, bool thread_at_it) {
  phase_span *of = task->own->exchange->phases.of;
  const batcher_job *body = &task->own->intake.queue;
  const batcher_job *queue = &task->job.queue;
  uint64_t given_out = body->started_at > 0 ? body->started_at : task->own->stopped_at;
  if (task_was_looked_up(task)) {
    tell_sharing(task, given_out, thread_at_it);
  } else {
    of[PHASE_POOL] = (phase_span){body->added_at, body->added_at == 0 ? 0 : given_out};
  }
  if (thread_at_it) {
    of[task_was_looked_up(task) ? PHASE_TOKENIZE : PHASE_PARSE] =
        (phase_span){given_out, task->own->stopped_at};
    return;
  }
  if (!task_was_looked_up(task) && task->parse.begin != 0) {
    of[PHASE_POOL].end = task->parse.begin;
  }
  of[PHASE_PARSE] = task->parse;
  of[PHASE_TOKENIZE] = task->tokenize;
  of[PHASE_ENCODE] = task->encode;
  if (queue->added_at > 0) {
    uint64_t begun = queue->started_at > 0 ? queue->started_at : task->own->stopped_at;
    of[PHASE_QUEUE] = (phase_span){queue->added_at, begun};
    of[PHASE_COMPUTE] =
        (phase_span){queue->started_at, queue->started_at > 0 ? task->own->stopped_at : 0};
  }
}

/* What each answer ends with; `how`: TASK_ANSWERED, TASK_LATE or TASK_LEFT. */
static void end(rerank_task *task, task_state how) {
  rerank_service *self = task->own->service;
  tell_phases(task, how != TASK_ANSWERED && task_is_being_prepared(task));
  task_enter(task, how);
  deadlines_remove(&self->cuts, &task->own->cut);
  self->metrics->active--;
}

void rerank_reply_to_nobody(rerank_task *task) {
  assert_loop_thread();
  end(task, TASK_LEFT);
  task->own->service->metrics->dropped++;
  http_reply_to(task->own->exchange, &(http_reply){.status = CLIENT_GONE});
}

const rr_dialect *rerank_guess(const rerank_task *task) {
  assert_loop_thread();
  return task->body_coding != CODING_IDENTITY
             ? NULL
             : rr_dialect_guess(task->endpoint, task->body.data, task->body.size);
}

void rerank_reply_late(rerank_task *task) {
  assert_loop_thread();
  rr_api_error error;
  bool known = task_was_looked_up(task) || task->own->state == TASK_COMPUTING;
  const rr_dialect *dialect = known ? task->dialect : rerank_guess(task);
  rerank_late(task->own->told_ms, &error);
  end(task, TASK_LATE);
  task->own->service->metrics->missed++;
  error_reply_send(task->own->service->metrics, task->own->exchange, dialect, &error);
}

void rerank_reply(rerank_task *task) {
  assert_loop_thread();
  if (task_state_is_in_vain(task->own->state)) {
    rerank_reply_to_nobody(task);
    return;
  }
  metrics *counters = task->own->service->metrics;
  end(task, TASK_ANSWERED);
  if (task->failed) {
    counters->refusals[task->refused]++;
    counters->missed += task->refused == ADMISSION_GRANTED && task->error.kind == RR_API_TIMEOUT;
    error_reply_send(counters, task->own->exchange, task->dialect, &task->error);
    return;
  }
  http_reply reply = {.status = 200,
                      .content_type = "application/json",
                      .body = task->reply,
                      .size = task->reply_size};
  task->reply = NULL;
  add_timing(&reply, task);
  if (task->n_unscored > 0) {
    counters->degraded++;
    http_add_header(&reply, "x-rerank-degraded", "%zu", task->n_unscored);
  }
  if (task->reply_coding != CODING_IDENTITY) {
    http_add_header(&reply, "Content-Encoding", "%s", coding_name(task->reply_coding));
    http_add_header(&reply, "Vary", "Accept-Encoding");
  }
  count_success(task);
  http_reply_to(task->own->exchange, &reply);
}

void rerank_describe(const rerank_task *task, log_request_fields *fields) {
  assert_loop_thread();
  task_state state = task->own->state;
  if (state == TASK_LEFT || state == TASK_LATE) { /* a thread may still write to the rest */
    fields->error = state == TASK_LEFT ? "the client left" : "the deadline came first";
    return;
  }
  fields->parse = phase_ns(task->parse);
  fields->dialect = task->dialect == NULL ? NULL : rr_dialect_name(task->dialect);
  if (task->failed) {
    fields->error = task->error.logged;
    return;
  }
  fields->texts = task->request.n_texts;
  fields->cached = task->n_cached;
  fields->tokens = task->tokens;
  fields->truncated = task->n_truncated;
  fields->unscored = task->n_unscored;
  fields->tokenization = phase_ns(task->tokenize);
  fields->queue = queue_time(task);
  fields->inference = inference_time(task);
}
