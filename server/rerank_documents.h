/* The document cache in a request's path: documents whose halves are known are neither tokenized nor computed, those
 * that were computed are kept, and names stand for texts. The reply is the same to the byte.
 *
 * What is found stays held until the task goes (rerank_documents_release). Without a cache all of these do nothing. */
#ifndef RR_SERVER_RERANK_DOCUMENTS_H
#define RR_SERVER_RERANK_DOCUMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/scorer.h"
#include "server/document_cache.h"
#include "server/rerank_task.h"

/* Of one group's texts that are encoded. */
typedef struct rerank_halves {
  cache_key *keys;
  document **found; /* NULL: not at hand */
  rr_half *halves;  /* what encoding takes: the same as bytes */
  size_t n;
} rerank_halves;

/* Puts the texts in the place of their names. False where the task has failed: a name is unknown. On a thread of the
 * pool, as the next. */
bool rerank_documents_name(rerank_task *task);

/* Looks the halves of group g's n texts up and sets options->halves. RR_ERR_MEMORY. */
rr_status rerank_documents_find(rerank_task *task, size_t g, const rr_text *texts, size_t n,
                                rr_encode_options *options, rr_error *err);

/* Keeps what group g has computed. done: NULL for all, else a flag for each of its sequences. On the worker that
 * concludes, once the scores are known to be numbers. */
void rerank_documents_keep(rerank_task *task, size_t g, const uint8_t *done);

/* Of a request to keep documents: keeps halves and names, and tells of each whether both are there. Fails the task
 * where something is missing. */
bool rerank_documents_keep_all(rerank_task *task, bool *ret_kept, size_t *ret_computed);

/* Lets go of all that was found. */
void rerank_documents_release(rerank_task *task);

#endif
