/* A histogram of times: 1 microsecond to one hour, three significant digits, a fixed 200 kB.
 *
 * 1. HdrHistogram's C library where the build found it; else the same buckets, kept here.
 * 2. What is out of range counts as the nearest value in range.
 * 3. One thread.
 */
#ifndef RR_BENCH_LOAD_HISTOGRAM_H
#define RR_BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

typedef struct histogram histogram;

/* NULL: out of memory. */
histogram *histogram_create(void);
void histogram_destroy(histogram *self);

void histogram_record(histogram *self, uint64_t ns);
uint64_t histogram_count(const histogram *self);

/* Milliseconds; all 0 where nothing was recorded. The value at a percentile is one that at least
 * this share does not exceed, within three digits. */
double histogram_percentile(const histogram *self, double percentile);
double histogram_mean(const histogram *self);
double histogram_min(const histogram *self);
double histogram_max(const histogram *self);

/* "HdrHistogram" or "built-in". */
const char *histogram_kind(void);

#endif
