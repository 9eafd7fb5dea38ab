/* The score cache in a request's path: what is known is neither tokenized nor computed, and the
 * reply is the same to the byte.
 *
 * 1. rerank_look_up_group looks every different text of a group up.
 * 2. rerank_encode_group encodes the others; the task's group then holds these others only.
 * 3. rerank_group_scores puts both together and adds to the cache what was computed.
 * 4. Without a cache the first does nothing, and the others do what the scorer does, and no more.
 */
#ifndef RR_SERVER_REQUEST_KNOWN_H
#define RR_SERVER_REQUEST_KNOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "core/scorer.h"
#include "proto/rerank.h"
#include "server/cache/lfu.h"
#include "server/request/task.h"

/* What the cache says of one text of a request. */
typedef struct rerank_lookup {
  lfu_key key;
  lfu_value value;
  size_t first; /* the first text of its group with this key: itself, if it is the first */
  bool hit;
} rerank_lookup;

/* How many texts a group of this request has: all, or one. */
size_t rerank_group_size(const rerank_task *task);

/* Looks the texts of group g up. RR_ERR_MEMORY. On a thread of the pool, as the next. */
rr_status rerank_look_up_group(rerank_task *task, size_t g, const rr_encode_options *options,
                               rr_error *err);

/* Encodes group g as rr_scorer_encode does, and adds it to the task's counts of sequences, tokens
 * and truncated texts. Status and errors as rr_scorer_encode. */
rr_status rerank_encode_group(rerank_task *task, size_t g, const rr_encode_options *options,
                              rr_error *err);

/* The scores of group g as the request wants them, and what tokenizing did, one entry a text of the
 * group. done: NULL where all of its sequences are computed, else a flag each; texts that lack
 * theirs get NaN. Errors as rr_scorer_scores. */
rr_status rerank_group_scores(rerank_task *task, size_t g, const uint8_t *done, float *scores,
                              rr_text_tokens *tokens, rr_error *err);

/* What tokenizing did to each text of a group that was encoded whole. */
void rerank_group_tokens(const rr_encoded *group, rr_text_tokens *ret_tokens);

#endif
