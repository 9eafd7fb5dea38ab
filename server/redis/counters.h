/* What is counted of the shared cache. */
#ifndef RR_SERVER_REDIS_COUNTERS_H
#define RR_SERVER_REDIS_COUNTERS_H

#include <stdint.h>

#include "server/observe/histogram.h"

/* How a look-up in the shared cache ended. */
typedef enum redis_outcome {
  REDIS_ANSWERED,
  REDIS_LATE,      /* not within --shared-cache-timeout-ms */
  REDIS_REFUSED,   /* with an error, or what is no answer */
  REDIS_LOST,      /* with the connection */
  REDIS_NOT_ASKED, /* the connection was gone, or had too much to do */
  REDIS_CANCELLED, /* the request's own time was over, or its client left */
  REDIS_OUTCOMES
} redis_outcome;

/* Of the shared cache: the loop's own. */
typedef struct redis_metrics {
  uint64_t lookups[REDIS_OUTCOMES];
  histogram wait; /* seconds that requests waited for it, whatever came of that */
  uint64_t hits;  /* scores */
  uint64_t misses;
  uint64_t damaged;       /* of these, what was there and no score */
  uint64_t stores;        /* written, or refused */
  uint64_t stores_failed; /* refused */
  uint64_t stores_dropped;
  uint64_t stores_bytes; /* that wait to be written: a gauge, as the next */
  uint64_t up;           /* it is asked */
  uint64_t connects;     /* tries */
} redis_metrics;

void redis_metrics_init(redis_metrics *self);

#endif
