/* A rerank request under way, as the threads of the pool and the workers know it: prepare.c,
 * conclude.c, failure.c, known.c, documents.c, shared.c, partial.c.
 *
 * While a thread holds a task, the loop may answer it, free its exchange, and let its client go.
 * So nothing here leads to what the loop frees or changes meanwhile: a thread's data are the
 * task's, and `cancelled` is all that the two share. What the loop knows of a task is in
 * own.h, which the threads' files may not include (tests/includes.py). */
#ifndef RR_SERVER_REQUEST_TASK_H
#define RR_SERVER_REQUEST_TASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/base/budget.h"
#include "core/scorer.h"
#include "proto/dialect.h"
#include "server/http/coding.h"
#include "server/http/trace_context.h"
#include "server/observe/phases.h"
#include "server/request/purpose.h"
#include "server/request/request_time.h"
#include "server/request/rerank.h"
#include "server/sched/workers.h"

/* What the threads of all tasks work with. Each task has a copy from its start, and what that
 * points to was there before the first task and outlives the last: nobody changes anything under
 * a thread. */
typedef struct rerank_tools {
  rerank_config config;
  const rr_scorer *scorer;
  struct score_cache *cache;
  struct document_cache *documents;
  const struct rerank_sharing *sharing;
  workers *workers;
  mailbox *released;
} rerank_tools;

struct rerank_task {
  workers_job job; /* first: the workers hand this back */
  uv_work_t work;

  struct rerank_own *own; /* the loop's; what is in it, threads cannot see (own.h) */
  rerank_tools tools;
  char id[TRACE_ID_BYTES]; /* the request's */
  mail released;           /* to the loop, once no worker holds it */
  const rr_endpoint *endpoint;
  const rr_dialect *dialect; /* NULL until the body is read */
  coding body_coding;
  coding reply_coding; /* wanted; once there is a reply, what it is in */
  http_body body;
  uint64_t received_at; /* ns */
  request_time headers; /* what they wish */
  int32_t key_priority;
  size_t timeout_ms;         /* for messages; 0: none */
  admission_outlook outlook; /* what was known before the body was read */
  atomic_bool cancelled;     /* nobody waits for it: prepare no further */
  bool cut_short;            /* not all of it was computed */
  rr_claim claim; /* of all that follows, and the reply; the body is counted where it came from */
  rr_arena arena;
  rr_rerank_request request;
  const task_purpose *purpose; /* once the body is read */
  rr_encoded *groups;          /* one for a query with all texts, else one a text */
  size_t n_groups;
  struct rerank_lookup *lookups; /* one a text; NULL without a cache */
  size_t n_cached;               /* texts whose score was known */
  struct rerank_shared *shared;  /* what the shared cache is asked; NULL: nothing */
  struct rerank_kept *kept;      /* one a group; NULL without a document cache */
  size_t n_sequences;            /* of all groups, to be computed: but what is at hand */
  uint64_t tokens;
  size_t n_truncated; /* texts that lost tokens, and queries that are sequences of their own */
  size_t n_unscored;  /* texts */
  bool failed;
  admission_verdict refused; /* or ADMISSION_GRANTED */
  rr_api_error error;
  char *reply; /* JSON, coded or not; NULL once it was handed on */
  size_t reply_size;
  size_t reply_held; /* bytes that the claim has for it */
  int64_t created;   /* seconds since 1970 */
  uint64_t characters;
  phase_span parse;
  phase_span look_up; /* where the shared cache is to be asked; else `tokenize` has it */
  phase_span tokenize;
  phase_span encode;
};

/* Marks the task as failed. The message is our own or the core's, and quotes nothing of the
 * request: it is logged. */
void rerank_fail(rerank_task *task, rr_api_error_kind kind, const char *message);

/* Marks the task as failed since it is not let in. */
void rerank_refuse(rerank_task *task, const admission *verdict);

/* Where the task has failed for want of memory, says so truthfully: that it asks for more than any
 * request may have, or that
 * there is no more at the moment. What is left is a failed allocation. */
void rerank_blame_memory(rerank_task *task);

/* Marks the task as failed since its deadline came first. */
void rerank_fail_late(rerank_task *task);

/* The same into an error of the caller's. */
void rerank_late(size_t timeout_ms, rr_api_error *ret_error);

/* Body to sequences: unpacks, decodes, tokenizes what the cache does not know; where that is
 * nothing, on to the reply. With a shared cache that is to be asked (rerank_shared_is_due) it
 * ends before it tokenizes. On a thread of the pool, as the next. */
void rerank_prepare(rerank_task *task);

/* Goes on with what the shared cache has answered, or without. */
void rerank_resume(rerank_task *task);

/* Outputs to reply: scores, ranks, encodes, packs. On the worker that finished the last
 * sequence; on a thread of the pool for a task that was taken back from the workers. */
void rerank_conclude(rerank_task *task);

/* On the worker that let go of the task's last sequence: concludes it, unless the loop has taken
 * it back, and posts it. */
void rerank_computed(workers_job *job);

#endif
