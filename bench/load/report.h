/* What a run measured, for people and programs. All of it reads the same figures: a report computes
 * none of its own.
 *
 * Files are written beside their name first and then renamed, so that none is ever half there.
 */
#ifndef RR_BENCH_LOAD_REPORT_H
#define RR_BENCH_LOAD_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "bench/load/options.h"
#include "bench/load/run.h"
#include "bench/load/stats.h"
#include "core/base/status.h"

enum { REPORT_PERCENTILES = 7, REPORT_FAILURES_MAX = 64, REPORT_NAME_MAX = 40 };

extern const double report_percentiles[REPORT_PERCENTILES];

typedef struct report_failure {
  char name[REPORT_NAME_MAX]; /* "connect", "status 503", "wrong: not descending" */
  uint64_t count;
} report_failure;

typedef struct report {
  const options *settings;
  const stats *figures;
  const run_result *result;
  stats_summary summary;
  char load[96], mix[256];                      /* the run in words */
  report_failure failures[REPORT_FAILURES_MAX]; /* those that happened; the last sums up where there
                                                   are more */
  size_t n_failures;
} report;

/* Everything is borrowed. */
report report_make(const options *settings, const stats *figures, const run_result *result);

void report_table(const report *self, FILE *out);
/* A new reference; NULL: out of memory. */
json_t *report_json(const report *self);
void report_csv(const report *self, FILE *out);
void report_html(const report *self, FILE *out);

/* Writes the files that the options name. RR_ERR_IO, RR_ERR_MEMORY. */
rr_status report_files(const report *self, rr_error *err);

#endif
