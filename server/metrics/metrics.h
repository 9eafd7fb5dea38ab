/* Counters, gauges and histograms, and their Prometheus text form (metrics_text.c).
 *
 * 1. `metrics` belongs to the event loop's thread.
 * 2. `workers_stats`, `lfu_stats` and `document_stats` are filled under their owners' locks and
 *    handed over as copies.
 * 3. No label has more values than this source names: nothing of a request becomes one.
 */
#ifndef RR_SERVER_METRICS_METRICS_H
#define RR_SERVER_METRICS_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/dialect.h"
#include "server/cache/document_cache.h"
#include "server/cache/lfu.h"
#include "server/observe/histogram.h"
#include "server/observe/phases.h"
#include "server/observe/process_stats.h"
#include "server/otlp/otlp.h"
#include "server/redis/counters.h"
#include "server/sched/admission.h"
#include "server/sched/workers_stats.h"

enum { METRICS_ERRORS = 19 };

typedef struct metrics {
  uint64_t requests[RR_OPERATIONS];
  uint64_t successes[RR_OPERATIONS];
  uint64_t failures[METRICS_ERRORS];     /* by rr_api_error_kind */
  uint64_t active;                       /* /rerank requests between acceptance and reply */
  uint64_t gone;                         /* clients that left while their request waited */
  uint64_t too_slow;                     /* clients cut off in the middle of request or reply */
  uint64_t refusals[ADMISSION_VERDICTS]; /* by admission_verdict */
  uint64_t missed;                       /* deadlines that came before anything could be answered */
  uint64_t degraded;                     /* answers with a part of the scores */
  uint64_t dropped;                      /* requests whose client left first */
  histogram total;                       /* seconds, as the next four */
  histogram parse;
  histogram tokenization;
  histogram queue;
  histogram inference;
  histogram input_length;           /* tokens a sequence */
  otlp_stats spans;                 /* a copy, made for metrics_text */
  histogram phases[REQUEST_PHASES]; /* seconds, of all requests for scores that were let in, however
                                       they ended */
  histogram between;                /* seconds of theirs that no phase accounts for */
  histogram turns;                  /* seconds, of the event loop */
  uint64_t known_tokens;            /* of pairs whose score was known, or document at hand */
  uint64_t pool_busy;               /* ns that threads of the pool spent on requests */
  uint64_t slow;                    /* requests that took --slow-request-ms and more */
  redis_metrics shared;
} metrics;

/* What the server is, and what it holds at the moment. Strings are borrowed; NULL where it is not
 * known yet. */
typedef struct metrics_facts {
  const char *version;
  const char *model;
  const char *dtype;
  const char *scoring;
  const char *kernels;
  int64_t started; /* seconds since 1970 */
  bool ready;
  unsigned pool_threads;
  size_t max_requests;
  size_t max_queue_ms;
  size_t max_queue_tokens;
  uint64_t weight_bytes;
  uint64_t body_bytes;    /* of bodies that are here */
  uint64_t arena_bytes;   /* of requests whose texts are tokenized */
  uint64_t request_bytes; /* of all requests, bodies, replies and what is on the way included */
  uint64_t request_bytes_limit;
} metrics_facts;

/* All that the text tells: a part that is not there is zeros. */
typedef struct metrics_view {
  const metrics *counters;
  const metrics_facts *facts;
  const workers_stats *workers;
  const lfu_stats *cached;
  const document_stats *documents;
  const process_stats *process;
} metrics_view;

void metrics_init(metrics *self);

/* A request for scores is over. */
void metrics_add_phases(metrics *self, const request_phases *phases);

/* Prometheus text exposition format 0.0.4; heap memory for rr_free, or NULL when memory is out. */
char *metrics_text(const metrics_view *view, size_t *ret_size);

#endif
