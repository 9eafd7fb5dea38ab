/* What the workers count. */
#ifndef RR_SERVER_SCHED_WORKERS_STATS_H
#define RR_SERVER_SCHED_WORKERS_STATS_H

#include <stdint.h>

#include "server/observe/histogram.h"

/* What the workers count: one entry a micro-batch. */
typedef struct workers_stats {
  histogram batch_sequences;
  histogram batch_tokens;
  histogram batch_fill; /* tokens over --max-batch-tokens */
  uint64_t queued_requests;
  uint64_t queued_sequences;
  uint64_t queued_tokens;
  uint64_t queued_ns;       /* predicted, on all workers */
  double tokens_per_second; /* estimated, of all workers */
  unsigned workers;
  uint64_t busy_ns; /* of all workers together: computing, and making replies of what is complete */
  uint64_t workspace_bytes; /* of all workers */
} workers_stats;

void workers_stats_init(workers_stats *stats);

#endif
