/* The path of a request for scores: unpack, decode and tokenize on the thread pool, compute on the
 * workers, rank, encode and pack on the worker that finishes it, reply on the loop.
 *
 * 1. A task belongs to one thread at a time: loop, pool, workers, loop. Each
 *    hand-over is a queue with a lock.
 * 2. Finished tasks reach the loop through the mailbox and uv_async_send, which may coalesce: the
 *    loop
 *    takes all under the lock and replies outside of it.
 * 3. A task whose scores are all known is concluded where it was prepared and never meets the
 *    workers.
 * 4. The number of tasks between start and reply is at most max_concurrent_requests.
 * 5. All memory of a task is its claim's, and the claim is a part of the service's budget. What a
 *    task has is given back once
 *    it is answered and no thread is at it, but for the reply, which goes with the exchange.
 * 6. A deadline is answered by the loop's timer wherever the task is. A thread that is still at it
 *    then (one parse, one
 *    micro-batch) holds the task, which outlives its exchange until that thread has let go.
 */
#ifndef RR_SERVER_REQUEST_RERANK_H
#define RR_SERVER_REQUEST_RERANK_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "core/base/budget.h"
#include "core/scorer.h"
#include "proto/dialect.h"
#include "server/http/http.h"
#include "server/metrics/metrics.h"
#include "server/observe/log.h"
#include "server/request/deadline.h"
#include "server/sched/intake.h"
#include "server/sched/mailbox.h"
#include "server/sched/workers.h"

typedef struct rerank_task rerank_task;

typedef struct rerank_config {
  size_t max_concurrent_requests;
  size_t max_texts;
  rr_budget *memory;    /* of all requests together; NULL: no bound */
  size_t request_limit; /* bytes a request may take beside its body */
  size_t payload_limit; /* bytes of a body, unpacked */
  bool auto_truncate;
  unsigned pool_threads;     /* that parse and tokenize; the pool has one more */
  size_t default_timeout_ms; /* 0: none */
  const char *model_name;    /* the name it is served under; borrowed */
} rerank_config;

typedef struct rerank_service {
  rerank_config config;
  const rr_scorer *scorer;          /* NULL until the model is loaded */
  struct score_cache *cache;        /* NULL: none, or not yet */
  struct document_cache *documents; /* the same */
  struct rerank_sharing *sharing;   /* the same; of the shared cache */
  workers *workers;
  metrics *metrics;
  uv_loop_t *loop;

  /* rerank.c's own. */
  mailbox released; /* tasks that workers have let go of */
  uv_timer_t timer;
  deadlines cuts;
  intake intake;
  size_t tasks;       /* not yet freed */
  size_t arena_bytes; /* of tasks that were prepared, as much as it was then */
} rerank_service;

/* Prepares the service in the caller's memory; scorer and workers are set when they are there.
 * Returns 0 or a libuv error. Loop thread only, as all of the following. */
int rerank_service_init(rerank_service *self, uv_loop_t *loop, const rerank_config *config,
                        metrics *counters);

/* Closes the loop's handle; no task may be under way. */
void rerank_service_close(rerank_service *self);

/* Answers an exchange whose path is the endpoint's and whose Content-Encoding is known, now or
 * later. exchange->task is set if there is work to account for. */
void rerank_start(rerank_service *self, http_exchange *exchange, const rr_endpoint *endpoint);

/* The client of a task is gone: what of it was not begun never will be; it is answered soon, for
 * nobody. */
void rerank_abandon(rerank_task *task);

/* Whether no task is left, answered or not. */
bool rerank_is_idle(const rerank_service *self);

/* Adds what is known of a task to its log line. */
void rerank_describe(const rerank_task *task, log_request_fields *fields);

/* The task's exchange is over; its memory goes once no thread holds it. NULL is allowed. */
void rerank_task_destroy(rerank_task *task);

#endif
