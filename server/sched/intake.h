/* The queue before the thread pool: which body is parsed and tokenized next, and what that will
 * cost before anybody has looked into it. Pure: no threads, no clock; of the loop's thread.
 *
 * 1. Bodies go in the batcher's order, by their bytes: a small one passes a large one, by priority.
 * 2. No more are given out than there are threads, so what waits can be taken back without a trace.
 * 3. Tokens a byte, and ns a byte, are running averages of what came of late; nothing is known at
 *    first, and then everything is expected to cost nothing. What a body costs however small it is
 *    counts as so many bytes more: else small ones would make large ones look far slower than they
 *    are.
 */
#ifndef RR_SERVER_SCHED_INTAKE_H
#define RR_SERVER_SCHED_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/sched/batcher.h"
#include "server/sched/estimate.h"

/* Embedded in the caller's own; valid until it was given out or removed, and, given out, until it
 * is done. */
typedef struct intake_job {
  batcher_job queue; /* first; its priority and deadline are the caller's to set */
  uint32_t bytes;
  workload expected; /* by intake_expect */
  struct intake_job *next_running;
} intake_job;

typedef struct intake {
  batcher queue;
  estimate speed; /* of bytes */
  unsigned threads;
  unsigned running;
  uint64_t running_bytes;
  intake_job *running_jobs;      /* in no order */
  double bytes, tokens, squares; /* decayed sums of what was seen */
} intake;

/* False when memory is out. */
bool intake_init(intake *self, unsigned threads, size_t max_jobs);
void intake_finish(intake *self);

/* The computing that a body of so many bytes will ask for. */
workload intake_expect(const intake *self, size_t bytes);

/* Of that, what is here now and would go before so many tokens that came now. A larger body would
 * not, though it is being read: its tokens come behind. O(bodies here). */
workload intake_ahead(const intake *self, uint64_t tokens);

/* ns until a body of so many bytes would be tokenized. */
uint64_t intake_delay(const intake *self, size_t bytes, int32_t priority);

/* Queues a body. False when max_jobs wait. */
bool intake_add(intake *self, intake_job *job, size_t bytes, uint64_t now);

/* One to parse and tokenize now; NULL: nothing waits, or all threads have one. */
intake_job *intake_next(intake *self, uint64_t now);

/* One that was given out is done. took: ns; found: NULL where it failed. */
void intake_done(intake *self, intake_job *job, uint64_t took, const workload *found);

/* Takes back one that waits. */
void intake_remove(intake *self, intake_job *job);

/* Whether anything is here. */
bool intake_is_empty(const intake *self);

#endif
