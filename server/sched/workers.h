/* The worker threads: each takes a micro-batch from the batcher as soon as it is idle, runs it, and
 * reports the jobs that are complete.
 *
 * 1. The batcher and the statistics are guarded by the workers' one lock, held for microseconds.
 * 2. Workers pull: no thread stands between a waiting sequence and an idle worker.
 * 3. A job's `done` is called exactly once, on the worker that finished its last sequence, without
 *    the lock; from then on the workers do not touch the job.
 * 4. A job may be taken back (workers_detach) at any time. Of what was not begun nothing is
 *    computed then; a worker that is at some of its sequences still holds the job, and calls `done`
 *    once it does not. What was computed before may be read at once.
 * 5. A job whose deadline comes while none of its sequences is being computed is left alone:
 *    whoever set the deadline takes it back.
 */
#ifndef RR_SERVER_SCHED_WORKERS_H
#define RR_SERVER_SCHED_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/scorer.h"
#include "server/sched/admission.h"
#include "server/sched/batcher.h"
#include "server/sched/workers_stats.h"

typedef struct workers workers;

typedef struct workers_job {
  batcher_job queue;       /* first: the batcher hands this out */
  rr_sequence **sequences; /* queue.n of them, in the order of queue.lengths */
  void (*done)(struct workers_job *job);
  uint8_t *computed; /* NULL, or queue.n zeros: set to 1 for each sequence whose output is there */
  bool all_or_nothing; /* a part of the results is of no use */

  /* Results, valid in `done`, and after workers_detach. */
  rr_error error;       /* status RR_OK, or why a micro-batch of this job failed */
  uint64_t finished_at; /* ns; 0: not finished */
  bool detached;        /* `done` is only told that no worker holds the job any more */

  /* The workers' own. */
  uint32_t open_sequences;
  uint64_t predicted; /* ns from queue.added_at */
} workers_job;

typedef enum workers_detached {
  WORKERS_FREE,     /* nobody holds the job: `done` will not be called */
  WORKERS_HELD,     /* a worker does: `done` comes later, and tells nothing else */
  WORKERS_FINISHED, /* too late: `done` was or is being called, with the results */
} workers_detached;

typedef struct workers_config {
  unsigned threads;
  size_t max_batch_tokens;
  size_t max_jobs;
  admission_limits limits;
} workers_config;

/* Starts the workers. *ret_workers is freed by workers_destroy and must not outlive the scorer. */
rr_status workers_create(const rr_scorer *scorer, const workers_config *config,
                         workers **ret_workers, rr_error *err);

/* Stops the workers after the micro-batches they are in; jobs still waiting are forgotten, so
 * submit nothing any more and wait for what matters first. NULL is allowed. */
void workers_destroy(workers *self);

/* Queues a job whose fields above its results, and queue.lengths, queue.n, queue.priority and
 * queue.deadline, are set, if it is granted; else the job is as it was. Any thread. */
admission workers_submit(workers *self, workers_job *job);

/* What would be said to a request that came now. Any thread. */
admission workers_ask(workers *self, const admission_outlook *outlook);

/* Takes a submitted job back. Once; any thread but the workers. */
workers_detached workers_detach(workers *self, workers_job *job);

/* A consistent copy of the statistics. Any thread. */
void workers_read_stats(workers *self, workers_stats *ret_stats);

#endif
