#include "bench/load/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

bool progress_wanted(bool quiet) { return !quiet && isatty(STDERR_FILENO); }

void progress_show(progress *self, const stats *figures, uint64_t now, bool measuring,
                   size_t in_flight) {
  double seconds = now > figures->begin && measuring ? (double)(now - figures->begin) / 1e9 : 0;
  double since = self->last_at > 0 ? (double)(now - self->last_at) / 1e9 : seconds;
  double rate = since > 0 ? (double)(figures->right - self->last_right) / since : 0;
  if (seconds == 0) {
    fprintf(stderr, "\r\033[Kwarming up, %zu in flight", in_flight);
  } else {
    fprintf(stderr,
            "\r\033[K%.0f s  %.1f/s right  p50 %.1f  p99 %.1f ms  %zu in flight  %" PRIu64
            " failed  %" PRIu64 " dropped",
            seconds, rate, histogram_percentile(figures->latency, 50),
            histogram_percentile(figures->latency, 99), in_flight, stats_failures(figures),
            figures->dropped);
  }
  (void)fflush(stderr);
  self->last_at = now;
  self->last_right = figures->right;
  self->any = true;
}

void progress_clear(progress *self) {
  if (self->any) {
    fprintf(stderr, "\r\033[K");
    (void)fflush(stderr);
    self->any = false;
  }
}
