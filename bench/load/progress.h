/* The line that tells people how the run goes, on standard error, where that is a terminal. */
#ifndef RR_BENCH_LOAD_PROGRESS_H
#define RR_BENCH_LOAD_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/stats.h"

typedef struct progress {
  uint64_t last_at, last_right;
  bool any;
} progress;

bool progress_wanted(bool quiet);
void progress_show(progress *self, const stats *figures, uint64_t now, bool measuring,
                   size_t in_flight);
void progress_clear(progress *self);

#endif
