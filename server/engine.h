/* The worker threads: each takes a micro-batch from the batcher as soon as it is idle, runs it, and
 * reports the jobs that are complete.
 *
 * 1. The batcher and the statistics are guarded by the engine's one lock, held for microseconds.
 * 2. Workers pull: no thread stands between a waiting sequence and an idle worker.
 * 3. A job's `done` is called exactly once, on the worker that finished its last sequence, without
 *    the lock; from then on the engine does not touch the job.
 */
#ifndef RR_SERVER_ENGINE_H
#define RR_SERVER_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/scorer.h"
#include "server/batcher.h"
#include "server/metrics.h"

typedef struct engine engine;

typedef struct engine_job {
  batcher_job queue;        /* first: the batcher hands this out */
  rr_sequence **sequences;  /* queue.n of them, in the order of queue.lengths */
  void (*done)(struct engine_job *job);

  /* Results, valid in `done`. */
  rr_error error;           /* status RR_OK, or why a micro-batch of this job failed */
  uint64_t finished_at;     /* ns */

  uint32_t open_sequences;  /* the engine's own */
} engine_job;

typedef struct engine_config {
  unsigned threads;
  size_t max_batch_tokens;
  size_t max_jobs;
} engine_config;

/* Starts the workers. *ret_engine is freed by engine_destroy and must not outlive the scorer. */
rr_status engine_create(const rr_scorer *scorer, const engine_config *config, engine **ret_engine,
                        rr_error *err);

/* Stops the workers after the micro-batches they are in; jobs still waiting are forgotten, so submit
 * nothing any more and wait for what matters first. NULL is allowed. */
void engine_destroy(engine *self);

/* Queues a job whose queue.lengths, queue.n, sequences and done are set. False when max_jobs wait. Any
 * thread. */
bool engine_submit(engine *self, engine_job *job);

/* A consistent copy of the statistics. Any thread. */
void engine_read_stats(engine *self, engine_stats *ret_stats);

#endif
