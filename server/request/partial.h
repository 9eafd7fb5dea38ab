/* What becomes of a task whose deadline came first: the scores that are there, the rest in the
 * caller's order. */
#ifndef RR_SERVER_REQUEST_PARTIAL_H
#define RR_SERVER_REQUEST_PARTIAL_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/rerank.h"
#include "server/request/task.h"

/* Scores what is known of a task that was cut short, computed or cached, and takes the tokens of
 * the rest from its count. ret_scores: one a text, NaN for those without one, which rr_rank puts
 * last, as they came; ret_unscored: the same as flags; ret_tokens: as without a cut. False with the
 * task failed where no text has a score, or the caller wants all. */
bool partial_scores(rerank_task *task, float *ret_scores, bool *ret_unscored,
                    rr_text_tokens *ret_tokens, size_t *ret_n_unscored);

/* The scores of the candidates of a group, raw or not, NaN for those that are not computed; `done`
 * has a flag a sequence of the group. Errors as rr_scorer_scores. */
rr_status partial_group(const rerank_task *task, const rr_encoded *group, const uint8_t *done,
                        bool raw, float *ret_scores, rr_error *err);

/* Replaces NaN by 0, or by the lowest score there is where that is below 0, so that scores go on
 * descending. */
void partial_fill(rr_ranked *ranked, size_t n);

#endif
