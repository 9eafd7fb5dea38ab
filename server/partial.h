/* What becomes of a task whose deadline came first: the scores that are there, the rest in the caller's order. */
#ifndef RR_SERVER_PARTIAL_H
#define RR_SERVER_PARTIAL_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/rerank.h"
#include "server/rerank_task.h"

/* Scores what was computed of a task that was cut short, and counts its tokens anew. ret_scores: one a text, NaN for
 * those without one, which rr_rank puts last, as they came; ret_unscored: the same as flags. False with the task
 * failed where nothing was computed, or the caller wants all. */
bool partial_scores(rerank_task *task, float *ret_scores, bool *ret_unscored, size_t *ret_n_unscored);

/* Replaces NaN by 0, or by the lowest score there is where that is below 0, so that scores go on descending. */
void partial_fill(rr_ranked *ranked, size_t n);

#endif
