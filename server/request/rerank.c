#include "server/request/rerank.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/base/loop_thread.h"
#include "server/request/documents.h"
#include "server/request/error_reply.h"
#include "server/request/own.h"
#include "server/request/shared.h"

enum { PACKED_SHARE = 4 }; /* a packed body is taken for so many times its size */

static const uint64_t ns_per_ms = 1000000;

static void pump(rerank_service *self);

/* On a thread of the pool. */
static void prepare_on_pool(uv_work_t *work) { rerank_prepare(work->data); }
static void resume_on_pool(uv_work_t *work) { rerank_resume(work->data); }

/* What nobody reads any more once the task is answered: a client may take a minute to read the
 * reply. */
static void release_memory(rerank_task *task) {
  task->own->service->arena_bytes -= task->own->arena_counted;
  task->own->arena_counted = 0;
  http_free_body(&task->body);
  task->claim.beside = 0;
  rerank_documents_release(task);
  rerank_shared_release(task);
  rr_arena_finish(&task->arena);
  rr_claim_unreserve(&task->claim);
}

static void free_task(rerank_task *task) {
  task->own->service->tasks--;
  release_memory(task);
  rr_free(task->reply);
  rr_claim_give(&task->claim, task->reply_held);
  assert(task->claim.held == 0);
  rr_free(task);
}

void task_enter(rerank_task *task, task_state next) {
  assert_loop_thread();
  assert(task_state_may_follow(task->own->state, next));
  task->own->state = next;
}

bool task_was_looked_up(const rerank_task *task) {
  assert_loop_thread();
  return task->own->pool.begin != 0;
}

bool task_is_being_prepared(const rerank_task *task) {
  assert_loop_thread();
  return task->own->state == TASK_PREPARING || task->own->state == TASK_TOKENIZING;
}

/* No thread holds the task, or the last one that did has let go of it. */
static void forget_if_done(rerank_task *task) {
  if (task->own->holders > 0) {
    return;
  }
  if (task->own->state == TASK_OVER) {
    free_task(task);
  } else if (task_state_is_answered(task->own->state)) {
    release_memory(task);
  }
}

/* A thread no longer holds the task. */
static void let_go(rerank_task *task) {
  assert(task->own->holders > 0);
  task->own->holders--;
  forget_if_done(task);
}

/* A worker has let go of the task: with its results, unless it was taken back before. */
static void on_released(mail *received) {
  rerank_task *task = (rerank_task *)((char *)received - offsetof(rerank_task, released));
  if (task->own->state == TASK_COMPUTING || task->own->state == TASK_COMPUTING_IN_VAIN) {
    task->own->stopped_at = task->job.finished_at;
    rerank_reply(task);
  }
  let_go(task);
}

static void set_timer(rerank_service *self);

/* Back on the loop, with an answer made of a part of the scores. */
static void on_concluded(uv_work_t *work, int status) {
  rerank_task *task = work->data;
  if (status != 0) {
    rerank_fail(task, RR_API_UNHEALTHY, "the server is stopping");
  }
  task->own->service->metrics->pool_busy += phase_ns(task->encode);
  rerank_reply(task);
  let_go(task);
}

static void conclude_on_pool(uv_work_t *work) { rerank_conclude(work->data); }

/* Makes the answer from what there is; whether it can be. */
static bool answer_partly(rerank_task *task) {
  if (task->job.all_or_nothing || (task->job.queue.started_at == 0 && task->n_cached == 0)) {
    return false;
  }
  task->cut_short = true;
  if (uv_queue_work(task->own->service->loop, &task->work, conclude_on_pool, on_concluded) != 0) {
    return false;
  }
  task->own->holders++;
  task_enter(task, TASK_CONCLUDING);
  return true;
}

/* Takes a task back from wherever it is. False where its answer is on its way anyway. */
static bool take_back(rerank_task *task) {
  rerank_own *own = task->own;
  if (own->state == TASK_CONCLUDING || task_state_is_in_vain(task->own->state)) {
    return false;
  }
  own->stopped_at = clock_now();
  switch (own->state) {
  case TASK_WAITING:
  case TASK_WAITING_AGAIN: intake_remove(&own->service->intake, &own->intake); return true;
  case TASK_PREPARING:
  case TASK_TOKENIZING: atomic_store(&task->cancelled, true); return true;
  case TASK_ASKING: rerank_shared_cancel(task); return true;
  case TASK_COMPUTING:
    switch (workers_detach(own->service->workers, &task->job)) {
    case WORKERS_FREE: own->holders--; return true;
    case WORKERS_HELD: return true;
    case WORKERS_FINISHED: return false;
    }
    return false;
  default: assert(false && "a task that nobody can take back"); return false;
  }
}

static void on_deadline(rerank_task *task) {
  if (take_back(task) && (task->own->state != TASK_COMPUTING || !answer_partly(task))) {
    rerank_reply_late(task);
    forget_if_done(task);
  }
}

void rerank_abandon(rerank_task *task) {
  assert_loop_thread();
  if (task_state_is_answered(task->own->state) || task_state_is_in_vain(task->own->state)) {
    return;
  }
  if (take_back(task)) {
    rerank_reply_to_nobody(task);
    set_timer(task->own->service);
    forget_if_done(task);
  } else {
    task_enter(task, task->own->state == TASK_COMPUTING ? TASK_COMPUTING_IN_VAIN
                                                        : TASK_CONCLUDING_IN_VAIN);
  }
}

static void on_timer(uv_timer_t *timer) {
  rerank_service *self = timer->data;
  deadline *first;
  while ((first = deadlines_first(&self->cuts)) != NULL && first->at <= clock_now()) {
    deadlines_remove(&self->cuts, first);
    on_deadline(((rerank_own *)((char *)first - offsetof(rerank_own, cut)))->task);
  }
  set_timer(self);
}

/* For the first deadline. */
static void set_timer(rerank_service *self) {
  const deadline *first = deadlines_first(&self->cuts);
  if (first == NULL) {
    (void)uv_timer_stop(&self->timer);
    return;
  }
  uint64_t now = clock_now();
  uint64_t ms = first->at <= now ? 0 : (first->at - now + ns_per_ms - 1) / ns_per_ms;
  uv_update_time(self->loop);
  (void)uv_timer_start(&self->timer, on_timer, ms, 0);
}

static void watch_deadline(rerank_task *task, uint64_t at) {
  rerank_service *self = task->own->service;
  deadlines_remove(&self->cuts, &task->own->cut);
  if (at != 0) {
    (void)deadlines_add(&self->cuts, &task->own->cut,
                        at); /* there is room for all that are at work */
  }
  set_timer(self);
}

static void submit_sequences(rerank_task *task) {
  admission answer = workers_submit(task->own->service->workers, &task->job);
  if (answer.verdict != ADMISSION_GRANTED) {
    rerank_refuse(task, &answer);
    rerank_reply(task);
    return;
  }
  task_enter(task, TASK_COMPUTING);
  task->own->holders++;
  /* The task is the workers' from here on: not even its `failed` may be read. */
}

/* What a thread of the pool has done and taken: all of it, or what came before the shared cache, or
 * after it. Returns ns of the body, of both. */
static uint64_t count_prepared(rerank_task *task) {
  rerank_service *self = task->own->service;
  uint64_t before = phase_ns(task->parse) + phase_ns(task->look_up);
  uint64_t after = phase_ns(task->tokenize);
  self->metrics->pool_busy +=
      (task_was_looked_up(task) ? 0 : before) + after + phase_ns(task->encode);
  self->arena_bytes += task->arena.total - task->own->arena_counted;
  task->own->arena_counted = task->arena.total;
  return before + after;
}

/* To the threads of the pool, once more. */
static void queue_again(rerank_task *task) {
  rerank_service *self = task->own->service;
  uint64_t now = clock_now();
  task->own->shared_end = now;
  if (!intake_add(&self->intake, &task->own->intake, task->own->intake.bytes,
                  now)) { /* there is room for all */
    task->own->stopped_at = now;
    rerank_fail(task, RR_API_UNHEALTHY, "the server cannot take work");
    rerank_reply(task);
    return;
  }
  task_enter(task, TASK_WAITING_AGAIN);
  pump(self);
}

/* With the texts looked up. */
static void ask_shared(rerank_task *task) {
  batcher_job *queue = &task->own->intake.queue;
  task->own->pool = (phase_span){queue->added_at, task->parse.begin};
  task->own->told_ms = task->timeout_ms;
  queue->priority = task->job.queue.priority;
  queue->deadline = task->job.queue.deadline;
  watch_deadline(task, queue->deadline);
  task_enter(task, TASK_ASKING);
  if (!rerank_shared_ask(task, queue_again)) {
    queue_again(task);
  }
}

/* Back on the loop, with sequences; or with a question. */
static void on_prepared(uv_work_t *work, int status) {
  rerank_task *task = work->data;
  rerank_service *self = task->own->service;
  bool asks = !task->failed && !task_was_looked_up(task) && rerank_shared_is_due(task);
  workload found = {0};
  for (size_t i = 0; !task->failed && i < task->n_sequences; i++) {
    workload_add(&found, task->job.queue.lengths[i]);
  }
  uint64_t took = count_prepared(task);
  intake_done(&self->intake, &task->own->intake, took, task->failed || asks ? NULL : &found);
  http_free_body(&task->body);
  task->claim.beside = 0;
  if (status != 0 && !task->failed) {
    rerank_fail(task, RR_API_UNHEALTHY, "the server is stopping");
  }
  if (task_is_being_prepared(task)) {
    task->own->stopped_at = clock_now();
    if (asks && !task->failed) {
      ask_shared(task);
    } else if (task->failed ||
               task->reply != NULL) { /* all may be known, and nothing left to compute */
      rerank_reply(task);
    } else {
      task->own->told_ms = task->timeout_ms;
      watch_deadline(task, task->job.queue.deadline);
      submit_sequences(task);
    }
  }
  let_go(task);
  pump(self);
}

/* Gives the pool what it has threads for. */
static void pump(rerank_service *self) {
  intake_job *job;
  while ((job = intake_next(&self->intake, clock_now())) != NULL) {
    rerank_task *task = ((rerank_own *)((char *)job - offsetof(rerank_own, intake)))->task;
    bool again = task->own->state == TASK_WAITING_AGAIN;
    task_enter(task, again ? TASK_TOKENIZING : TASK_PREPARING);
    task->own->holders++;
    if (uv_queue_work(self->loop, &task->work, again ? resume_on_pool : prepare_on_pool,
                      on_prepared) != 0) {
      intake_done(&self->intake, job, 0, NULL);
      rerank_fail(task, RR_API_UNHEALTHY, "the server cannot take work");
      rerank_reply(task);
      let_go(task);
    }
  }
}

int rerank_service_init(rerank_service *self, uv_loop_t *loop, const rerank_config *config,
                        metrics *counters) {
  loop_thread_claim();
  *self = (rerank_service){.config = *config, .loop = loop, .metrics = counters};
  if (!deadlines_init(&self->cuts, config->max_concurrent_requests) ||
      !intake_init(&self->intake, config->pool_threads, config->max_concurrent_requests)) {
    deadlines_finish(&self->cuts);
    return UV_ENOMEM;
  }
  int status = mailbox_init(&self->released, loop, on_released);
  (void)uv_timer_init(loop, &self->timer);
  self->timer.data = self;
  return status;
}

void rerank_service_close(rerank_service *self) {
  assert_loop_thread();
  mailbox_close(&self->released);
  uv_close((uv_handle_t *)&self->timer, NULL);
  deadlines_finish(&self->cuts);
  intake_finish(&self->intake);
}

bool rerank_is_idle(const rerank_service *self) {
  assert_loop_thread();
  return self->tasks == 0;
}

/* What the loop knows before anybody has looked into the body. */
static admission_outlook look_ahead(const rerank_task *task, uint64_t now) {
  const rerank_service *self = task->own->service;
  const batcher_job *queue = &task->own->intake.queue;
  size_t bytes = task->own->intake.bytes;
  admission_outlook outlook = {.priority = queue->priority,
                               .busy = !intake_is_empty(&self->intake)};
  outlook.request.own = intake_expect(&self->intake, bytes);
  outlook.request.time_left = queue->deadline == 0    ? ADMISSION_NO_DEADLINE
                              : queue->deadline > now ? queue->deadline - now
                                                      : 0;
  outlook.request.all_or_nothing = task->headers.on_timeout == RR_ON_TIMEOUT_ERROR;
  outlook.ahead = intake_ahead(&self->intake, outlook.request.own.tokens);
  outlook.delay = intake_delay(&self->intake, bytes, queue->priority);
  return outlook;
}

/* Refuses at once what is hopeless already; else queues it for the pool. */
static void queue_body(rerank_task *task) {
  rerank_service *self = task->own->service;
  uint64_t now = clock_now();
  task->outlook = look_ahead(task, now);
  admission answer = workers_ask(self->workers, &task->outlook);
  if (answer.verdict == ADMISSION_GRANTED &&
      !intake_add(&self->intake, &task->own->intake, task->own->intake.bytes, now)) {
    answer.verdict = ADMISSION_REQUESTS;
  }
  if (answer.verdict != ADMISSION_GRANTED) {
    task->dialect = rerank_guess(task);
    rerank_refuse(task, &answer);
    rerank_reply(task);
    forget_if_done(task);
    return;
  }
  task_enter(task, TASK_WAITING);
  watch_deadline(task, task->own->intake.queue.deadline);
  pump(self);
}

static rerank_task *new_task(rerank_service *self, http_exchange *exchange,
                             const rr_endpoint *endpoint) {
  struct {
    rerank_task task; /* first: what is freed */
    rerank_own own;
  } *both = rr_calloc(1, sizeof *both);
  if (both == NULL) {
    return NULL;
  }
  rerank_task *task = &both->task;
  both->own = (rerank_own){.task = task, .service = self, .exchange = exchange};
  task->own = &both->own;
  task->tools = (rerank_tools){.config = self->config,
                               .scorer = self->scorer,
                               .cache = self->cache,
                               .documents = self->documents,
                               .sharing = self->sharing,
                               .workers = self->workers,
                               .released = &self->released};
  rr_claim_init(&task->claim, self->config.memory, self->config.request_limit);
  rr_arena_init_within(&task->arena, &task->claim);
  (void)snprintf(task->id, sizeof task->id, "%s", exchange->request_id);
  task->endpoint = endpoint;
  task->body_coding = coding_of_content(http_header_of(exchange, "Content-Encoding"));
  task->reply_coding = coding_accepted(http_header_of(exchange, "Accept-Encoding"));
  task->created = (int64_t)time(NULL);
  task->received_at = exchange->received_at;
  task->key_priority = exchange->priority;
  task->body = http_take_body(exchange);
  task->claim.beside = task->body.capacity;
  task->job.done = rerank_computed;
  task->work.data = task;
  exchange->task = task;
  self->tasks++;
  return task;
}

/* Whether the body will not say how long it has: else the server's default could come before it is
 * read. Of one that is too large for the loop to search it is not known; its time is cut when a
 * thread has read it. */
static bool says_no_time(const rerank_task *task) {
  return task->own->service->config.default_timeout_ms > 0 &&
         task->body_coding == CODING_IDENTITY &&
         !rr_json_may_name(task->body.data, task->body.size, "timeout_ms");
}

/* What the headers say of the request's time. */
static bool take_headers(rerank_task *task) {
  const rerank_config *config = &task->own->service->config;
  batcher_job *queue = &task->own->intake.queue;
  if (!request_time_read(task->own->exchange, &task->headers, &task->error)) {
    task->failed = true;
    return false;
  }
  size_t fallback = says_no_time(task) ? config->default_timeout_ms : 0;
  task->timeout_ms = task->headers.timeout_ms > 0 ? task->headers.timeout_ms : fallback;
  task->own->told_ms = task->timeout_ms;
  queue->deadline = request_time_cut(&task->headers, fallback, task->received_at);
  queue->priority = request_time_priority(&task->headers, task->key_priority);
  size_t bytes = task->body.size * (task->body_coding == CODING_IDENTITY ? 1 : PACKED_SHARE);
  task->own->intake.bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
  return true;
}

/* All places are taken; one is free again when the average request is done. */
static void refuse_place(rerank_service *self, http_exchange *exchange) {
  rr_api_error error;
  workers_stats stats;
  workers_read_stats(self->workers, &stats);
  (void)rr_api_fail(&error, RR_API_OVERLOADED, "Model is overloaded");
  error.retry_after = admission_seconds(stats.queued_ns / self->metrics->active);
  self->metrics->refusals[ADMISSION_REQUESTS]++;
  error_reply_send(self->metrics, exchange, NULL, &error);
}

void rerank_start(rerank_service *self, http_exchange *exchange, const rr_endpoint *endpoint) {
  assert_loop_thread();
  metrics *counters = self->metrics;
  counters->requests[rr_endpoint_operation(endpoint)]++;
  if (counters->active >= self->config.max_concurrent_requests) {
    refuse_place(self, exchange);
    return;
  }
  rerank_task *task = new_task(self, exchange, endpoint);
  if (task == NULL) {
    error_reply_send_text(counters, exchange, RR_API_MEMORY, "out of memory");
    return;
  }
  counters->active++;
  if (take_headers(task)) {
    queue_body(task);
  } else {
    rerank_reply(task);
    forget_if_done(task);
  }
}

void rerank_task_destroy(rerank_task *task) {
  assert_loop_thread();
  if (task == NULL) {
    return;
  }
  task_enter(task, TASK_OVER);
  forget_if_done(task);
}
