/* The document cache in a request's path: documents whose kept state is known are
 * neither tokenized nor (but for a split model's joint layers) computed, those that were computed
 * are kept, and names stand for texts. The reply is the same
 * to the byte.
 *
 * What is found stays held until the task goes (rerank_documents_release). Without a cache all of
 * these do nothing. */
#ifndef RR_SERVER_REQUEST_DOCUMENTS_H
#define RR_SERVER_REQUEST_DOCUMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/scorer.h"
#include "server/cache/document_cache.h"
#include "server/request/task.h"

/* Of one group's texts that are encoded. */
typedef struct rerank_kept {
  lfu_key *keys;
  document **found; /* NULL: not at hand */
  rr_kept *states;  /* what encoding takes: the same as bytes */
  document **made;  /* of a split model: where what is not at hand leaves its own; NULL: nowhere */
  size_t n;
} rerank_kept;

/* Puts the texts in the place of their names. False where the task has failed: a name is unknown.
 * On a thread of the pool, as the next. */
bool rerank_documents_name(rerank_task *task);

/* Looks the kept states of group g's n texts up and sets options->kept, unless texts are alone.
 * RR_ERR_MEMORY. */
rr_status rerank_documents_find(rerank_task *task, size_t g, const rr_text *texts, size_t n,
                                rr_encode_options *options, rr_error *err);

/* Once group g is encoded: gives a split model's pairs memory of the cache to leave their kept
 * state in, as far as there is room; texts of a request to keep documents that get none are not
 * computed. */
void rerank_documents_place(rerank_task *task, size_t g);

/* Keeps what group g has computed. done: NULL for all, else a flag for each of its sequences. On
 * the worker that concludes, once the scores are known to be numbers. */
void rerank_documents_keep(rerank_task *task, size_t g, const uint8_t *done);

/* Lets go of what the group found and made, which nobody reads any more: there is room for
 * others. */
void rerank_documents_let_go(rerank_kept *kept);

/* Fails the task since nothing is kept here, and says why. Returns false. */
bool rerank_documents_fail_without(rerank_task *task);

/* Lets go of all that was found. */
void rerank_documents_release(rerank_task *task);

#endif
