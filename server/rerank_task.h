/* A rerank request under way: shared by rerank.c and rerank_reply.c (the loop's side) and rerank_work.c (the threads'). */
#ifndef RR_SERVER_RERANK_TASK_H
#define RR_SERVER_RERANK_TASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/base/budget.h"
#include "core/scorer.h"
#include "proto/dialect.h"
#include "server/coding.h"
#include "server/deadline.h"
#include "server/engine.h"
#include "server/intake.h"
#include "server/phases.h"
#include "server/rerank.h"
#include "server/schedule.h"

/* Where a task is, as the loop knows it. */
typedef enum rerank_stage {
  RERANK_WAITING,    /* for a thread of the pool, in the intake */
  RERANK_PREPARING,  /* on such a thread */
  RERANK_ASKING,     /* the shared cache; then it waits for such a thread again */
  RERANK_COMPUTING,  /* in the engine, or with the worker that ends it */
  RERANK_CONCLUDING, /* on a thread of the pool, cut short */
  RERANK_ANSWERED,
} rerank_stage;

struct rerank_task {
  engine_job job; /* first: the engine hands this back */
  uv_work_t work;

  /* The loop's own. */
  intake_job intake;
  deadline cut;
  rerank_stage stage;
  unsigned holders; /* threads that may still touch the task; it may be answered before that ends */
  bool over;        /* the exchange is */
  bool gone;        /* the client is */
  bool late;        /* answered while a thread was at it, since its deadline had come */
  bool parsed;      /* the body was read, and its texts were looked up: what is left is to tokenize */
  size_t told_ms;   /* as timeout_ms below, as far as the loop knows */
  phase_span pool;     /* its first wait for a thread, where it waits for one again; the next too is of this alone */
  uint64_t shared_end; /* ns when the shared cache had answered, or the wait for it was over */
  uint64_t stopped_at; /* ns when it was answered, or taken back to be */

  rerank_service *service;
  http_exchange *exchange;
  rerank_task *next; /* in the finished list */
  const rr_endpoint *endpoint;
  const rr_dialect *dialect; /* NULL until the body is read */
  coding body_coding;
  coding reply_coding; /* wanted; once there is a reply, what it is in */
  http_body body;
  uint64_t received_at; /* ns */
  schedule headers;   /* what they wish */
  int32_t key_priority;
  size_t timeout_ms;  /* for messages; 0: none */
  admission_outlook outlook; /* what was known before the body was read */
  atomic_bool cancelled;  /* nobody waits for it: prepare no further */
  bool cut_short;         /* not all of it was computed */
  rr_claim claim;   /* of all that follows, on the way, and the reply; the body is counted where it came from */
  rr_arena arena;
  size_t arena_counted; /* bytes of it, by the loop */
  rr_rerank_request request;
  rr_encoded *groups; /* one for a query with all texts, else one a text */
  size_t n_groups;
  struct rerank_lookup *lookups; /* one a text; NULL without a cache */
  size_t n_cached;               /* texts whose score was known */
  struct rerank_shared *shared;  /* what the shared cache is asked; NULL: nothing */
  struct rerank_halves *halves;  /* one a group; NULL without a document cache */
  size_t n_sequences; /* of all groups, to be computed: no longer those whose half is at hand */
  uint64_t tokens;
  size_t n_truncated; /* texts that lost tokens, and queries that are sequences of their own */
  size_t n_unscored;  /* texts */
  bool failed;
  admission_verdict refused; /* or ADMISSION_GRANTED */
  rr_api_error error;
  char *reply; /* JSON, coded or not; NULL once it was handed on */
  size_t reply_size;
  size_t reply_held; /* bytes that the claim has for it */
  int64_t created; /* seconds since 1970 */
  uint64_t characters;
  phase_span parse;
  phase_span look_up; /* where the shared cache is to be asked; else `tokenize` has it */
  phase_span tokenize;
  phase_span encode;
};

/* Marks the task as failed. */
void rerank_fail(rerank_task *task, rr_api_error_kind kind, const char *message);

/* Marks the task as failed since it is not let in. */
void rerank_refuse(rerank_task *task, const admission *verdict);

/* Where the task has failed for want of memory, says so truthfully: that it asks for more than any request may have, or that
 * there is no more at the moment. What is left is a failed allocation. */
void rerank_blame_memory(rerank_task *task);

/* Marks the task as failed since its deadline came first. */
void rerank_fail_late(rerank_task *task);

/* The same into an error of the caller's. */
void rerank_late(size_t timeout_ms, rr_api_error *ret_error);

/* Body to sequences: unpacks, decodes, tokenizes what the cache does not know; where that is nothing, on to the
 * reply. With a shared cache that is to be asked (rerank_shared_is_due) it ends before it tokenizes. On a thread of the
 * pool, as the next. */
void rerank_prepare(rerank_task *task);

/* Goes on with what the shared cache has answered, or without. */
void rerank_resume(rerank_task *task);

/* Outputs to reply: scores, ranks, encodes, packs. On the worker that finished the last sequence; on a thread of the
 * pool for a task that was taken back from the engine. */
void rerank_conclude(rerank_task *task);

/* The reply, or the error where the task has failed. On the loop, which alone holds the task. Nothing but its log line
 * is left to it after this, nor after the next two. */
void rerank_reply(rerank_task *task);

/* The answer to a task whose deadline came first, which another thread may still hold: nothing of its results is read. */
void rerank_reply_late(rerank_task *task);

/* To a client that is gone. */
void rerank_reply_to_nobody(rerank_task *task);

/* The dialect of a body that nobody has read, or a thread is reading; NULL where it does not tell. */
const rr_dialect *rerank_guess(const rerank_task *task);

#endif
