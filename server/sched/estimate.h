/* How long work takes on this machine: a running estimate, fed by micro-batches that have ended.
 * Pure: no clock, no threads, no allocation; the caller brings the lock.
 *
 * A micro-batch of sequences of lengths L costs a * sum(L) + b * sum(L * L) nanoseconds on its
 * worker: the linear layers, and attention. a and b are fitted to what was seen, the last few dozen
 * most; where all lengths are alike the two cannot be told apart, and b/a stays what the model's
 * shape says. One observation moves little: what is more than OUTLIER times off counts as that much
 * off, so that a stall is forgotten and a lasting change is not.
 */
#ifndef RR_SERVER_SCHED_ESTIMATE_H
#define RR_SERVER_SCHED_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct workload {
  uint64_t tokens;  /* sum of lengths */
  uint64_t squares; /* sum of squared lengths */
} workload;

typedef struct estimate {
  double token;  /* ns; 0 before the first observation */
  double square; /* ns */
  double margin; /* what a predicted end is multiplied by, to be kept in nine of ten cases */

  /* The estimate's own: decayed sums for the fit, by x = tokens + shape * squares and q =
   * squares. */
  double shape;
  double xx, xq, qq, xy, qy;
  uint64_t observed;
} estimate;

/* shape: what a square costs beside a token before anything is known of it. */
void estimate_init(estimate *self, double shape);

/* One worker has done this much in so many ns. */
void estimate_observe(estimate *self, workload done, uint64_t ns);

/* What was predicted to end after `predicted` ns has ended after `actual` ns. */
void estimate_check(estimate *self, uint64_t predicted, uint64_t actual);

/* ns for one worker; 0 before the first observation. */
uint64_t estimate_ns(const estimate *self, workload work);

/* Of so many workers, at the lengths seen of late; 0 before the first observation. */
double estimate_tokens_per_second(const estimate *self, unsigned workers);

static inline void workload_add(workload *sum, uint64_t length) {
  sum->tokens += length;
  sum->squares += length * length;
}

#endif
