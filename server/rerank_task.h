/* A rerank request under way: shared by rerank.c (the loop's side) and rerank_work.c (the threads'). */
#ifndef RR_SERVER_RERANK_TASK_H
#define RR_SERVER_RERANK_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/scorer.h"
#include "proto/dialect.h"
#include "server/coding.h"
#include "server/engine.h"
#include "server/rerank.h"

struct rerank_task {
  engine_job job; /* first: the engine hands this back */
  uv_work_t work;
  rerank_service *service;
  http_exchange *exchange;
  rerank_task *next; /* in the finished list */
  const rr_endpoint *endpoint;
  const rr_dialect *dialect; /* NULL until the body is read */
  coding body_coding;
  coding reply_coding; /* wanted; once there is a reply, what it is in */
  rr_arena arena;
  rr_rerank_request request;
  rr_encoded *groups; /* one for a query with all texts, else one a text */
  size_t n_groups;
  struct rerank_lookup *lookups; /* one a text; NULL without a cache */
  size_t n_cached;               /* texts whose score was known */
  size_t n_sequences; /* of all groups, as the next */
  uint64_t tokens;
  size_t n_truncated; /* texts that lost tokens, and queries that are sequences of their own */
  bool failed;
  rr_api_error error;
  char *reply; /* JSON, coded or not; NULL once it was handed on */
  size_t reply_size;
  int64_t created; /* seconds since 1970 */
  uint64_t characters;
  uint64_t parse;        /* ns */
  uint64_t tokenization; /* ns */
};

/* Marks the task as failed. */
void rerank_fail(rerank_task *task, rr_api_error_kind kind, const char *message);

/* Body to sequences: unpacks, decodes, tokenizes what the cache does not know; where that is nothing, on to the
 * reply. On a thread of the pool. */
void rerank_prepare(rerank_task *task);

/* Outputs to reply: scores, ranks, encodes, packs. On the worker that finished the last sequence. */
void rerank_conclude(rerank_task *task);

#endif
