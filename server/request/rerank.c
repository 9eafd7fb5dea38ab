#include "server/request/rerank.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/request/documents.h"
#include "server/request/error_reply.h"
#include "server/request/own.h"
#include "server/request/shared.h"

enum { PACKED_SHARE = 4 }; /* a packed body is taken for so many times its size */

static const uint64_t ns_per_ms = 1000000;

static void pump(rerank_service *self);

/* On a thread of the pool. */
static void prepare(uv_work_t *work) { rerank_prepare(work->data); }
static void resume(uv_work_t *work) { rerank_resume(work->data); }

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

/* No thread holds the task, or the last one that did has let go of it. */
static void forget_if_done(rerank_task *task) {
  if (task->own->holders > 0) {
    return;
  }
  if (task->own->over) {
    free_task(task);
  } else if (task->own->stage == RERANK_ANSWERED) {
    release_memory(task);
  }
}

/* A thread no longer holds the task. */
static void let_go(rerank_task *task) {
  task->own->holders--;
  forget_if_done(task);
}

/* A worker has let go of the task: with its results, unless it was taken back before. */
static void on_released(rerank_task *task) {
  if (task->own->stage == RERANK_COMPUTING) {
    task->own->stopped_at = task->job.finished_at;
    rerank_reply(task);
  }
  let_go(task);
}

static void on_wake(uv_async_t *wake) {
  rerank_service *self = wake->data;
  rerank_mailbox *mailbox = &self->mailbox;
  (void)pthread_mutex_lock(&mailbox->lock);
  rerank_task *newest = mailbox->newest;
  mailbox->newest = NULL;
  (void)pthread_mutex_unlock(&mailbox->lock);
  rerank_task *oldest = NULL;
  while (newest != NULL) {
    rerank_task *next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest != NULL) {
    rerank_task *next = oldest->next; /* the reply may end the task */
    on_released(oldest);
    oldest = next;
  }
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

static void conclude(uv_work_t *work) { rerank_conclude(work->data); }

/* Makes the answer from what there is; whether it can be. */
static bool answer_partly(rerank_task *task) {
  if (task->job.all_or_nothing || (task->job.queue.started_at == 0 && task->n_cached == 0)) {
    return false;
  }
  task->cut_short = true;
  task->own->stage = RERANK_CONCLUDING;
  task->own->holders++;
  if (uv_queue_work(task->own->service->loop, &task->work, conclude, on_concluded) == 0) {
    return true;
  }
  task->own->holders--;
  task->own->stage = RERANK_COMPUTING;
  return false;
}

/* Takes a task back from wherever it is. False where its answer is on its way anyway. */
static bool take_back(rerank_task *task) {
  if (task->own->stage == RERANK_CONCLUDING) {
    return false;
  }
  task->own->stopped_at = clock_now();
  switch (task->own->stage) {
  case RERANK_WAITING: intake_remove(&task->own->service->intake, &task->own->intake); return true;
  case RERANK_PREPARING: atomic_store(&task->cancelled, true); return true;
  case RERANK_ASKING: rerank_shared_cancel(task); return true;
  case RERANK_COMPUTING:
    switch (workers_detach(task->own->service->workers, &task->job)) {
    case WORKERS_FREE: task->own->holders--; return true;
    case WORKERS_HELD: return true;
    case WORKERS_FINISHED: return false;
    }
    return false;
  case RERANK_CONCLUDING:
  case RERANK_ANSWERED: break;
  }
  return false;
}

static void on_deadline(rerank_task *task) {
  if (take_back(task) && (task->own->stage != RERANK_COMPUTING || !answer_partly(task))) {
    rerank_reply_late(task);
    forget_if_done(task);
  }
}

void rerank_abandon(rerank_task *task) {
  if (task->own->stage == RERANK_ANSWERED) {
    return;
  }
  task->own->gone = true;
  if (take_back(task)) {
    rerank_reply_to_nobody(task);
    set_timer(task->own->service);
    forget_if_done(task);
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

static void submit(rerank_task *task) {
  admission answer = workers_submit(task->own->service->workers, &task->job);
  if (answer.verdict != ADMISSION_GRANTED) {
    rerank_refuse(task, &answer);
    rerank_reply(task);
    return;
  }
  task->own->stage = RERANK_COMPUTING;
  task->own->holders++;
  /* The task is the workers' from here on: not even its `failed` may be read. */
}

/* What a thread of the pool has done and taken: all of it, or what came before the shared cache, or after it. Returns ns of the
 * body, of both. */
static uint64_t count_prepared(rerank_task *task) {
  rerank_service *self = task->own->service;
  uint64_t before = phase_ns(task->parse) + phase_ns(task->look_up);
  uint64_t after = phase_ns(task->tokenize);
  self->metrics->pool_busy += (task->own->parsed ? 0 : before) + after + phase_ns(task->encode);
  self->arena_bytes += task->arena.total - task->own->arena_counted;
  task->own->arena_counted = task->arena.total;
  return before + after;
}

/* To the threads of the pool, once more. */
static void queue_again(rerank_task *task) {
  rerank_service *self = task->own->service;
  uint64_t now = clock_now();
  task->own->shared_end = now;
  task->own->stage = RERANK_WAITING;
  if (!intake_add(&self->intake, &task->own->intake, task->own->intake.bytes,
                  now)) { /* there is room for all */
    task->own->stopped_at = now;
    rerank_fail(task, RR_API_UNHEALTHY, "the server cannot take work");
    rerank_reply(task);
    return;
  }
  pump(self);
}

/* With the texts looked up. */
static void ask(rerank_task *task) {
  batcher_job *queue = &task->own->intake.queue;
  task->own->parsed = true;
  task->own->pool = (phase_span){queue->added_at, task->parse.begin};
  task->own->told_ms = task->timeout_ms;
  queue->priority = task->job.queue.priority;
  queue->deadline = task->job.queue.deadline;
  watch_deadline(task, queue->deadline);
  task->own->stage = RERANK_ASKING;
  if (!rerank_shared_ask(task, queue_again)) {
    queue_again(task);
  }
}

/* Back on the loop, with sequences; or with a question. */
static void on_prepared(uv_work_t *work, int status) {
  rerank_task *task = work->data;
  rerank_service *self = task->own->service;
  bool asks = !task->failed && !task->own->parsed && rerank_shared_is_due(task);
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
  if (task->own->stage == RERANK_PREPARING) {
    task->own->stopped_at = clock_now();
    if (asks && !task->failed) {
      ask(task);
    } else if (task->failed || task->reply != NULL) { /* all may be known, and nothing left to compute */
      rerank_reply(task);
    } else {
      task->own->told_ms = task->timeout_ms;
      watch_deadline(task, task->job.queue.deadline);
      submit(task);
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
    task->own->stage = RERANK_PREPARING;
    task->own->holders++;
    if (uv_queue_work(self->loop, &task->work, task->own->parsed ? resume : prepare, on_prepared) !=
        0) {
      intake_done(&self->intake, job, 0, NULL);
      rerank_fail(task, RR_API_UNHEALTHY, "the server cannot take work");
      rerank_reply(task);
      let_go(task);
    }
  }
}

int rerank_service_init(rerank_service *self, uv_loop_t *loop, const rerank_config *config,
                        metrics *counters) {
  *self = (rerank_service){.config = *config, .loop = loop, .metrics = counters};
  (void)pthread_mutex_init(&self->mailbox.lock, NULL);
  if (!deadlines_init(&self->cuts, config->max_concurrent_requests) ||
      !intake_init(&self->intake, config->pool_threads, config->max_concurrent_requests)) {
    deadlines_finish(&self->cuts);
    return UV_ENOMEM;
  }
  int status = uv_async_init(loop, &self->mailbox.wake, on_wake);
  self->mailbox.wake.data = self;
  (void)uv_timer_init(loop, &self->timer);
  self->timer.data = self;
  return status;
}

void rerank_service_close(rerank_service *self) {
  /* Waits for a worker that is still inside rerank_computed's lock. */
  (void)pthread_mutex_lock(&self->mailbox.lock);
  (void)pthread_mutex_unlock(&self->mailbox.lock);
  uv_close((uv_handle_t *)&self->mailbox.wake, NULL);
  uv_close((uv_handle_t *)&self->timer, NULL);
  deadlines_finish(&self->cuts);
  intake_finish(&self->intake);
}

bool rerank_is_idle(const rerank_service *self) { return self->tasks == 0; }

/* What the loop knows before anybody has looked into the body. */
static admission_outlook look_ahead(const rerank_task *task, uint64_t now) {
  const rerank_service *self = task->own->service;
  const batcher_job *queue = &task->own->intake.queue;
  size_t bytes = task->own->intake.bytes;
  admission_outlook outlook = {.priority = queue->priority, .busy = !intake_is_empty(&self->intake)};
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
static void enqueue(rerank_task *task) {
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
  watch_deadline(task, task->own->intake.queue.deadline);
  pump(self);
}

static rerank_task *new_task(rerank_service *self, http_exchange *exchange, const rr_endpoint *endpoint) {
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
                               .mailbox = &self->mailbox};
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

/* Whether the body will not say how long it has: else the server's default could come before it is read. Of one that
 * is too large for the loop to search it is not known; its time is cut when a thread has read it. */
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

void rerank_start(rerank_service *self, http_exchange *exchange) {
  metrics *counters = self->metrics;
  const rr_endpoint *endpoint = rr_endpoint_at(exchange->path);
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
    enqueue(task);
  } else {
    rerank_reply(task);
    forget_if_done(task);
  }
}

void rerank_task_destroy(rerank_task *task) {
  if (task == NULL) {
    return;
  }
  task->own->over = true;
  if (task->own->holders == 0) {
    free_task(task);
  }
}
