/* When the requests of an open loop are to start: a pure sequence of offsets from the beginning.
 *
 * 1. The sequence depends on the arguments alone, never on how the server does.
 * 2. Offsets are nanoseconds and never descend.
 */
#ifndef RR_BENCH_LOAD_ARRIVALS_H
#define RR_BENCH_LOAD_ARRIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/load/rng.h"
#include "core/base/status.h"

enum { ARRIVALS_MAX = 10000000 }; /* recorded ones in a file */

typedef enum arrivals_kind { ARRIVALS_POISSON, ARRIVALS_EVEN, ARRIVALS_RECORDED } arrivals_kind;

typedef struct arrivals {
  arrivals_kind kind;
  double gap_ns; /* mean */
  double at_ns;
  rng random;
  uint64_t *offsets; /* recorded; owned */
  size_t n, next;
} arrivals;

/* rate: requests a second, above 0; kind is not ARRIVALS_RECORDED. */
arrivals arrivals_at_rate(arrivals_kind kind, double rate, uint64_t seed);

/* Reads seconds, one a line, not descending; empty lines and those that begin with # are passed
 * over. name is for messages. RR_ERR_FORMAT, RR_ERR_INPUT (none, too many), RR_ERR_IO,
 * RR_ERR_MEMORY.
 */
rr_status arrivals_read(FILE *file, const char *name, arrivals *ret_arrivals, rr_error *err);

/* The next start; false at the end of a recording. */
bool arrivals_next(arrivals *self, uint64_t *ret_offset_ns);

void arrivals_finish(arrivals *self);

#endif
