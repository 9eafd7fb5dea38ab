/* The scheduling policy: which waiting sequences make the next micro-batch. Pure: no threads, no
 * clock of its own, no allocation after batcher_init; the caller brings the lock and the time.
 *
 * Order. Every job gets a fixed key when it is added: the tokens handed out so far, plus the job's
 * own tokens, plus its priority's steps. The smallest key goes first (start-time fair queueing with
 * the finish tag as the rank).
 *  - Jobs of one size are served first come, first served, so that their mean latency is least.
 *  - A small job passes a large one that waits or is half done.
 *  - A step of priority is priority_step tokens: a job goes after that much more (or less) of
 *    others' work. It is an offset, not a class, so no job starves: once t + (p + P) *
 *    priority_step tokens were handed out since a job of t tokens and p steps came, where P is the
 *    most steps there are, nothing that arrives later can pass it.
 *
 * Size. A micro-batch holds up to max_tokens tokens, less near the end of the work: waiting tokens
 * are shared over twice the workers, so that all workers finish at about the same time. It never
 * waits to be filled: what is there is cut at once.
 *
 * Deadlines. What is handed out is predicted to be done by the deadlines of all the jobs in the
 * micro-batch: it is made shorter for that. A job whose next sequence cannot be is dropped, unless
 * it is all that waits.
 */
#ifndef RR_SERVER_SCHED_BATCHER_H
#define RR_SERVER_SCHED_BATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/sched/estimate.h"

enum { BATCHER_PRIORITY_MAX = 1000 }; /* steps, either way */

/* One request's sequences, in the order in which they shall be handed out. Embedded in the caller's
 * own struct; must stay valid until its last sequence was handed out or it was removed. */
typedef struct batcher_job {
  const uint32_t *lengths; /* tokens of each sequence, n of them, each at least 1 */
  uint32_t n;
  int32_t priority;  /* lower goes earlier; beyond BATCHER_PRIORITY_MAX counts as that */
  uint64_t deadline; /* ns: nothing that ends later is handed out; 0: none */

  /* The batcher's own. */
  uint32_t next;    /* the first sequence not yet handed out */
  uint32_t dropped; /* how many will not be, since the deadline came first */
  workload waiting; /* the sequences from `next` on */
  int64_t key;
  uint64_t arrival; /* tie-break of equal keys */
  size_t heap_index;
  uint64_t added_at;   /* ns */
  uint64_t started_at; /* ns when its first sequence was handed out; 0 before */
} batcher_job;

typedef struct batcher_item {
  batcher_job *job;
  uint32_t position; /* index into the job's lengths */
} batcher_item;

typedef struct batcher_config {
  size_t max_jobs;
  size_t max_tokens; /* of a micro-batch; a single longer sequence still goes, alone */
  size_t min_tokens; /* below this a micro-batch is not made smaller for balance */
  unsigned workers;
  uint64_t priority_step; /* tokens */
  const estimate *speed;  /* borrowed; NULL: micro-batches take no time */
} batcher_config;

typedef struct batcher {
  batcher_config config;
  batcher_job **heap; /* smallest key first */
  size_t n_jobs;
  workload waiting;
  uint64_t waiting_sequences;
  uint64_t handed_out; /* tokens since the start: the virtual clock */
  uint64_t arrivals;
} batcher;

/* Returns false when memory is out. */
bool batcher_init(batcher *self, const batcher_config *config);
void batcher_finish(batcher *self);

/* Queues a job whose lengths and n are set; now in ns. False when max_jobs are waiting. */
bool batcher_add(batcher *self, batcher_job *job, uint64_t now);

/* Moves up to `capacity` sequences into items; returns how many (0: nothing waits) and their
 * tokens. A job whose last sequence is handed out leaves the batcher. */
size_t batcher_cut(batcher *self, uint64_t now, batcher_item *items, size_t capacity,
                   size_t *ret_tokens);

/* What waits and would be handed out before a job of so many tokens that came now. O(jobs
 * waiting). */
workload batcher_ahead(const batcher *self, uint64_t tokens, int32_t priority);

/* Takes back what of a job still waits; returns how many sequences will now never be handed out. */
uint32_t batcher_remove(batcher *self, batcher_job *job);

#endif
