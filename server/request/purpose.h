/* What a request is for. Its body says so, and what differs from there on is here: the steps
 * between decoding and tokenizing, and those between the last sequence and the reply. */
#ifndef RR_SERVER_REQUEST_PURPOSE_H
#define RR_SERVER_REQUEST_PURPOSE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/scorer.h"
#include "proto/rerank.h"

struct rerank_task;

/* What concluding finds out, one entry a text. */
typedef struct task_outcome {
  float *scores;
  bool *kept;      /* documents that are in the cache with their names */
  size_t computed; /* documents that were not known before */
  bool *unscored;
  rr_ranked *ranked;
  rr_text_tokens *tokens;
} task_outcome;

typedef struct task_purpose {
  /* Gives each text its words, and looks up what is known of it. False: the task has failed. On a
   * thread of the pool. */
  bool (*look_up)(struct rerank_task *task);
  /* Fills the outcome from what was computed, and keeps what is to be kept. False: the task has
   * failed. On the thread that concludes. */
  bool (*collect)(struct rerank_task *task, task_outcome *out);
  bool documents_alone; /* computed without a query, and kept before what is not asked to be */
} task_purpose;

/* Scores of texts, for a query. */
extern const task_purpose purpose_scores;
bool rerank_look_up_scores(struct rerank_task *task);                    /* prepare.c */
bool rerank_collect_scores(struct rerank_task *task, task_outcome *out); /* conclude.c */

/* POST /documents: documents computed ahead (documents_ahead.c). */
extern const task_purpose purpose_documents;

#endif
