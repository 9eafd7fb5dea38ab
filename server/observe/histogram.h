/* A histogram as Prometheus has it: counts of values by upper bounds, and their sum. Of one thread,
 * or behind its owner's lock. */
#ifndef RR_SERVER_OBSERVE_HISTOGRAM_H
#define RR_SERVER_OBSERVE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS_MAX = 20 };

typedef struct histogram {
  const double *bounds; /* upper bounds, ascending; the last bucket, +Inf, is not among them */
  size_t n_bounds;
  uint64_t counts[HISTOGRAM_BUCKETS_MAX + 1];
  double sum;
} histogram;

/* An empty histogram over a static array of bounds. */
#define HISTOGRAM(array)                                                                           \
  ((histogram){.bounds = (array), .n_bounds = sizeof(array) / sizeof((array)[0])})

void histogram_add(histogram *self, double value);

#endif
