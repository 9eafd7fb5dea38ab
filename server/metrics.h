/* Counters, gauges and histograms, and their Prometheus text form.
 *
 * 1. `metrics` belongs to the event loop's thread.
 * 2. `engine_stats`, `cache_stats` and `document_stats` are filled under their owners' locks and handed over as copies.
 */
#ifndef RR_SERVER_METRICS_H
#define RR_SERVER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/dialect.h"
#include "server/admission.h"
#include "server/cache.h"
#include "server/document_cache.h"

enum { HISTOGRAM_BUCKETS_MAX = 20, METRICS_ERRORS = 14 };

typedef struct histogram {
  const double *bounds; /* upper bounds, ascending; the last bucket, +Inf, is not among them */
  size_t n_bounds;
  uint64_t counts[HISTOGRAM_BUCKETS_MAX + 1];
  double sum;
} histogram;

/* What the workers count: one entry a micro-batch. */
typedef struct engine_stats {
  histogram batch_sequences;
  histogram batch_tokens;
  histogram batch_fill; /* tokens over --max-batch-tokens */
  uint64_t queued_requests;
  uint64_t queued_sequences;
  uint64_t queued_tokens;
  uint64_t queued_ns;       /* predicted, on all workers */
  double tokens_per_second; /* estimated, of all workers */
} engine_stats;

/* How a look-up in the shared cache ended. */
typedef enum shared_outcome {
  SHARED_ANSWERED,
  SHARED_LATE,      /* not within --shared-cache-timeout-ms */
  SHARED_REFUSED,   /* with an error, or what is no answer */
  SHARED_LOST,      /* with the connection */
  SHARED_NOT_ASKED, /* the connection was gone, or had too much to do */
  SHARED_CANCELLED, /* the request's own time was over, or its client left */
  SHARED_OUTCOMES
} shared_outcome;

/* Of the shared cache: the loop's own. */
typedef struct shared_metrics {
  uint64_t lookups[SHARED_OUTCOMES];
  histogram wait;         /* seconds that requests waited for it, whatever came of that */
  uint64_t hits;          /* scores */
  uint64_t misses;
  uint64_t damaged;       /* of these, what was there and no score */
  uint64_t stores;        /* written, or refused */
  uint64_t stores_failed; /* refused */
  uint64_t stores_dropped;
  uint64_t stores_bytes;  /* that wait to be written: a gauge, as the next */
  uint64_t up;            /* it is asked */
  uint64_t connects;      /* tries */
} shared_metrics;

typedef struct metrics {
  uint64_t requests[RR_OPERATIONS];
  uint64_t successes[RR_OPERATIONS];
  uint64_t failures[METRICS_ERRORS]; /* by rr_api_error_kind */
  uint64_t active;                   /* /rerank requests between acceptance and reply */
  uint64_t gone;                     /* clients that left while their request waited */
  uint64_t too_slow;                 /* clients cut off in the middle of request or reply */
  uint64_t refusals[ADMISSION_VERDICTS]; /* by admission_verdict */
  uint64_t missed;                   /* deadlines that came before anything could be answered */
  uint64_t degraded;                 /* answers with a part of the scores */
  uint64_t dropped;                  /* requests whose client left first */
  histogram total;                   /* seconds, as the next four */
  histogram parse;
  histogram tokenization;
  histogram queue;
  histogram inference;
  histogram input_length; /* tokens a sequence */
  shared_metrics shared;
} metrics;

void engine_stats_init(engine_stats *stats);
void metrics_init(metrics *self);
void histogram_add(histogram *self, double value);

/* Prometheus text exposition format 0.0.4; heap memory for rr_free, or NULL when memory is out. cached, documents: zeros
 * where there is no such cache. */
char *metrics_text(const metrics *self, const engine_stats *stats, const cache_stats *cached,
                   const document_stats *documents, size_t *ret_size);

#endif
