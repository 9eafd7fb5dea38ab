#include "bench/load/histogram.h"

#include <stdlib.h>

static const int64_t lowest_us = 1, highest_us = 3600000000;

static int64_t in_range(uint64_t ns) {
  uint64_t us = (ns + 500) / 1000;
  return us < (uint64_t)lowest_us    ? lowest_us
         : us > (uint64_t)highest_us ? highest_us
                                     : (int64_t)us;
}

static double ms(double us) { return us / 1000; }

#ifdef RR_HAVE_HDR_HISTOGRAM

#include <hdr/hdr_histogram.h>

struct histogram {
  struct hdr_histogram *hdr;
};

histogram *histogram_create(void) {
  histogram *self = calloc(1, sizeof *self);
  if (self != NULL && hdr_init(lowest_us, highest_us, 3, &self->hdr) != 0) {
    free(self);
    return NULL;
  }
  return self;
}

void histogram_destroy(histogram *self) {
  if (self != NULL) {
    hdr_close(self->hdr);
    free(self);
  }
}

void histogram_record(histogram *self, uint64_t ns) {
  (void)hdr_record_value(self->hdr, in_range(ns));
}
uint64_t histogram_count(const histogram *self) { return (uint64_t)self->hdr->total_count; }

double histogram_percentile(const histogram *self, double percentile) {
  return histogram_count(self) == 0 ? 0
                                    : ms((double)hdr_value_at_percentile(self->hdr, percentile));
}

double histogram_mean(const histogram *self) {
  return histogram_count(self) == 0 ? 0 : ms(hdr_mean(self->hdr));
}
double histogram_min(const histogram *self) {
  return histogram_count(self) == 0 ? 0 : ms((double)hdr_min(self->hdr));
}
double histogram_max(const histogram *self) {
  return histogram_count(self) == 0 ? 0 : ms((double)hdr_max(self->hdr));
}
const char *histogram_kind(void) { return "HdrHistogram"; }

#else

/* Values below 2 * HALF have a bucket each; every further doubling of the range has HALF
 * buckets. */
enum { HALF_BITS = 10, HALF = 1 << HALF_BITS, DOUBLINGS = 21, BUCKETS = (DOUBLINGS + 2) * HALF };

struct histogram {
  uint64_t counts[BUCKETS];
  uint64_t total;
  uint64_t min_us, max_us;
  double sum_us;
};

histogram *histogram_create(void) { return calloc(1, sizeof(histogram)); }
void histogram_destroy(histogram *self) { free(self); }

/* Bits that a value of this size loses. */
static unsigned shift_of(uint64_t us) {
  unsigned bits = 64 - (unsigned)__builtin_clzll(us);
  return bits > HALF_BITS + 1 ? bits - (HALF_BITS + 1) : 0;
}

static size_t bucket_of(uint64_t us) {
  unsigned shift = shift_of(us);
  return (size_t)(us >> shift) + (size_t)shift * HALF;
}

/* The highest value that falls into the bucket. */
static uint64_t highest_of(size_t bucket) {
  size_t shift = bucket < 2 * HALF ? 0 : bucket / HALF - 1;
  return (((uint64_t)bucket - shift * HALF + 1) << shift) - 1;
}

void histogram_record(histogram *self, uint64_t ns) {
  uint64_t us = (uint64_t)in_range(ns);
  self->counts[bucket_of(us)]++;
  self->min_us = self->total == 0 || us < self->min_us ? us : self->min_us;
  self->max_us = us > self->max_us ? us : self->max_us;
  self->sum_us += (double)us;
  self->total++;
}

uint64_t histogram_count(const histogram *self) { return self->total; }

double histogram_percentile(const histogram *self, double percentile) {
  uint64_t wanted = (uint64_t)(percentile / 100 * (double)self->total + 0.5), below = 0;
  wanted = wanted < 1 ? 1 : wanted > self->total ? self->total : wanted;
  for (size_t i = 0; self->total > 0 && i < BUCKETS; i++) {
    below += self->counts[i];
    if (below >= wanted) {
      return ms((double)(highest_of(i) < self->max_us ? highest_of(i) : self->max_us));
    }
  }
  return 0;
}

double histogram_mean(const histogram *self) {
  return self->total == 0 ? 0 : ms(self->sum_us / (double)self->total);
}
double histogram_min(const histogram *self) { return ms((double)self->min_us); }
double histogram_max(const histogram *self) { return ms((double)self->max_us); }
const char *histogram_kind(void) { return "built-in"; }

#endif
