/* The shared cache in a request's path, behind the score cache: what neither knows is computed, and
 * the reply is the same to the byte.
 *
 * 1. On a thread of the pool, while texts are looked up: rerank_shared_add makes keys of what the
 *    score cache does not know, rerank_shared_prepare the question.
 * 2. On the loop: rerank_shared_ask. The task is the loop's until the answer, the time-out, or a
 *    cancel.
 * 3. On a thread of the pool again: rerank_shared_take checks what came and gives it to the score
 *    cache too.
 * 4. Where it is concluded: rerank_shared_keep makes the commands that write what was computed.
 * 5. On the loop, once the reply is out and no thread holds the task: rerank_shared_release has
 *    them sent. */
#ifndef RR_SERVER_REQUEST_SHARED_H
#define RR_SERVER_REQUEST_SHARED_H

#include <stdbool.h>
#include <stddef.h>

#include "core/scorer.h"
#include "server/redis/client.h"
#include "server/redis/keys.h"
#include "server/request/task.h"

/* The service's. */
typedef struct rerank_sharing {
  redis_client *client;
  redis_keys keys;
  redis_commands commands;
} rerank_sharing;

/* A request's. */
typedef struct rerank_shared {
  redis_lookup lookup; /* first */
  rerank_task *task;
  void (*go_on)(rerank_task *task);
  size_t n;
  size_t capacity;
  size_t *texts; /* of the request: one a key */
  redis_digest *keys;
  bool answered;
  size_t hits; /* told the metrics at the end, as the next */
  size_t damaged;
  char *stores;
  size_t n_stores;
  size_t counted; /* bytes of the task's claim for the question, then for the stores */
} rerank_shared;

/* Takes up the unknown ones among group g's texts, looked up just now, up to REDIS_KEYS_MAX a
 * request. Nothing where there is no shared cache to be asked, or no memory. */
void rerank_shared_add(rerank_task *task, size_t g, const rr_encode_options *options);

/* Whether there is something to ask, and all is ready for it. */
bool rerank_shared_prepare(rerank_task *task);

/* Whether rerank_shared_prepare has said so. */
bool rerank_shared_is_due(const rerank_task *task);

void rerank_shared_take(rerank_task *task);
void rerank_shared_keep(rerank_task *task);

#endif
