/* A line for each measured request, written as it ends: what percentiles of the whole run hide.
 *
 * 1. CSV: seconds from the window's begin to the intended start, milliseconds of latency from
 *    there, how it ended: `right`, `dropped`, `cancelled`, or as reports name failures. In the
 *    order of ending.
 * 2. Buffered; the disk's stalls are the run's (they show as start lag). Nothing is kept in memory.
 * 3. A journal that is NULL takes everything and keeps nothing.
 */
#ifndef RR_BENCH_LOAD_JOURNAL_H
#define RR_BENCH_LOAD_JOURNAL_H

#include <stdio.h>

#include "bench/load/stats.h"
#include "core/base/status.h"

/* Begins the file with its line of names; "-": standard output; NULL: none. RR_ERR_IO. */
rr_status journal_open(const char *path, FILE **ret_journal, rr_error *err);

/* begin: of the window, in ns of the clock of the event's times. */
void journal_end(FILE *journal, uint64_t begin, const stats_event *event);
void journal_drop(FILE *journal, uint64_t begin, uint64_t intended);

/* RR_ERR_IO: not all of it was written. */
rr_status journal_close(FILE *journal, const char *path, rr_error *err);

#endif
