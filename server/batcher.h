/* The scheduling policy: which waiting sequences make the next micro-batch. Pure: no threads, no
 * clock of its own, no allocation after batcher_init; the caller brings the lock and the time.
 *
 * Order. Every job gets a fixed key when it is added: the tokens handed out so far plus the job's own
 * tokens. The smallest key goes first (start-time fair queueing with the finish tag as the rank).
 *  - Jobs of one size are served first come, first served, so that their mean latency is least.
 *  - A small job passes a large one that waits or is half done.
 *  - No job starves: once as many tokens as it has itself were handed out to others, nothing that
 *    arrives later can pass it.
 *
 * Size. A micro-batch holds up to max_tokens tokens, less near the end of the work: waiting tokens
 * are shared over twice the workers, so that all workers finish at about the same time. It never
 * waits to be filled: what is there is cut at once.
 */
#ifndef RR_SERVER_BATCHER_H
#define RR_SERVER_BATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One request's sequences, in the order in which they shall be handed out. Embedded in the caller's
 * own struct; must stay valid until its last sequence was handed out or it was removed. */
typedef struct batcher_job {
  const uint32_t *lengths; /* tokens of each sequence, n of them, each at least 1 */
  uint32_t n;

  /* The batcher's own. */
  uint32_t next;           /* the first sequence not yet handed out */
  uint64_t waiting_tokens; /* of the sequences from `next` on */
  uint64_t key;
  uint64_t arrival;        /* tie-break of equal keys */
  size_t heap_index;
  uint64_t added_at;       /* ns */
  uint64_t started_at;     /* ns when its first sequence was handed out; 0 before */
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
} batcher_config;

typedef struct batcher {
  batcher_config config;
  batcher_job **heap; /* smallest key first */
  size_t n_jobs;
  uint64_t waiting_tokens;
  uint64_t waiting_sequences;
  uint64_t handed_out; /* tokens since the start: the virtual clock */
  uint64_t arrivals;
} batcher;

/* Returns false when memory is out. */
bool batcher_init(batcher *self, const batcher_config *config);
void batcher_finish(batcher *self);

/* Queues a job whose lengths and n are set; now in ns. False when max_jobs are waiting. */
bool batcher_add(batcher *self, batcher_job *job, uint64_t now);

/* Moves up to `capacity` sequences into items; returns how many (0: nothing waits) and their tokens. A
 * job whose last sequence is handed out leaves the batcher. */
size_t batcher_cut(batcher *self, uint64_t now, batcher_item *items, size_t capacity, size_t *ret_tokens);

/* Takes back what of a job still waits; returns how many sequences will now never be handed out. */
uint32_t batcher_remove(batcher *self, batcher_job *job);

#endif
