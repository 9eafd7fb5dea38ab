/* What happened, counted: pure, in fixed memory whatever the length of the run.
 *
 * 1. Times are nanoseconds of one monotonic clock.
 * 2. Latency runs from the intended start, service time from when the request was handed to a
 *    connection; what lies between is lag. Both are of right answers alone.
 * 3. Only requests after the warm-up get here.
 */
#ifndef RR_BENCH_LOAD_STATS_H
#define RR_BENCH_LOAD_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/check.h"
#include "bench/load/histogram.h"
#include "bench/load/outcome.h"

enum { STATS_STATUSES = 600, STATS_BUCKETS = 480 };

typedef struct stats_bucket {
  uint32_t offered; /* requests that were to start then, also those dropped */
  uint32_t right;   /* right answers that came then */
  uint32_t failed;  /* requests that failed then, also those dropped */
} stats_bucket;

/* A request that has ended. */
typedef struct stats_event {
  outcome_kind kind;
  unsigned status;       /* OUTCOME_ANSWER: HTTP's, 100 to 599 */
  check_verdict verdict; /* of an answer with status 200 */
  uint64_t intended, begun, ended;
  size_t documents; /* candidates sent */
} stats_event;

typedef struct stats {
  uint64_t deadline; /* 0: none */
  uint64_t begin;    /* of the window */
  uint64_t end;      /* no request is intended later */
  uint64_t last_end; /* of a request */
  uint64_t offered, ended, dropped, right, good, cancelled;
  uint64_t failed[OUTCOME_KINDS];
  uint64_t status[STATS_STATUSES]; /* answers that are not 200 */
  uint64_t wrong[CHECK_VERDICTS];
  uint64_t documents; /* of right answers */
  histogram *latency, *service, *lag;
  uint64_t bucket_ns; /* width: doubles when the buckets are full */
  stats_bucket buckets[STATS_BUCKETS];
  size_t n_buckets;
} stats;

/* deadline in ns, 0: none. False: out of memory. */
bool stats_init(stats *self, uint64_t deadline);
void stats_finish(stats *self);

/* The window's begin; before everything else. */
void stats_begin(stats *self, uint64_t now);

/* A request was to start: begun, or dropped since too many were in flight. */
void stats_offer(stats *self, uint64_t intended, bool dropped);

void stats_end(stats *self, const stats_event *event);

/* In words, as reports tell it: "reset"; NULL: no failure by itself. */
const char *stats_failure_words(outcome_kind kind);

/* Failures of all kinds, dropped and cancelled requests not among them. */
uint64_t stats_failures(const stats *self);

/* The figures that every report shows, made in one place. Rates are a second, times
 * milliseconds. */
typedef struct stats_summary {
  double seconds;        /* of the window */
  double offered_rate;   /* requests that were to start */
  double right_rate;     /* right answers, over the time until the last request ended */
  double documents_rate; /* their candidates, the same */
  double goodput;        /* requests answered right within the deadline, over the window */
  double good_share;     /* of those offered */
  double error_share;    /* failures and drops, of those offered */
} stats_summary;

stats_summary stats_summarize(const stats *self);

#endif
