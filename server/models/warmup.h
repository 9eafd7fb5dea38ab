/* A first ranking through the real workers, so that a server that says it is healthy has
 * computed. */
#ifndef RR_SERVER_MODELS_WARMUP_H
#define RR_SERVER_MODELS_WARMUP_H

#include "core/base/status.h"
#include "core/scorer.h"
#include "server/sched/workers.h"

/* Scores a few built-in texts and waits for the result: any thread but the workers and the loop.
 * RR_ERR_NUMERIC when the model gives no finite scores; otherwise what the scorer's calls say. */
rr_status warmup_run(const rr_scorer *scorer, workers *crew, rr_error *err);

#endif
