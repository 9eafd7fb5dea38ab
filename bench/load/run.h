/* One run: starts requests when they are due, ends when bounds are reached, counts into stats.
 *
 * 1. Open loop: a request's start is planned before the run knows how the server does; latency
 * counts from there. Where max_in_flight or max_buffer_mb is reached a request is dropped, and
 * counted as dropped.
 * 2. Closed loop: a request starts when its connection has its answer; that is its intended start.
 * 3. After the last start the run waits for the answers, each for the timeout at most.
 */
#ifndef RR_BENCH_LOAD_RUN_H
#define RR_BENCH_LOAD_RUN_H

#include <stdio.h>

#include "bench/load/arrivals.h"
#include "bench/load/mix.h"
#include "bench/load/options.h"
#include "bench/load/stats.h"
#include "bench/load/target.h"
#include "core/base/status.h"

typedef struct run_input {
  const options *settings;
  const char *model; /* as JSON, with its quotes; NULL: none */
  const target *where;
  const corpus *texts;
  mix *requests;
  arrivals *starts; /* open loop; NULL: closed */
  FILE *journal;    /* NULL: none */
} run_input;

typedef struct run_result {
  uint64_t repeats, documents; /* candidates sent that were sent before; all (with a repeat rate) */
  size_t most_in_flight;
  bool interrupted; /* by SIGINT or SIGTERM */
} run_result;

/* Blocks until the run is over. figures was made by stats_init. RR_ERR_MEMORY, RR_ERR_IO. */
rr_status run_load(const run_input *input, stats *figures, run_result *ret_result, rr_error *err);

#endif
