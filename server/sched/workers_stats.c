#include "server/sched/workers_stats.h"

static const double size_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
static const double token_bounds[] = {64,   128,  256,  512,  768,   1024,
                                      1536, 2048, 4096, 8192, 16384, 32768};
static const double fill_bounds[] = {.05, .1, .2, .3, .4, .5, .6, .7, .8, .9, .95, 1};

void workers_stats_init(workers_stats *stats) {
  *stats = (workers_stats){
      .batch_sequences = HISTOGRAM(size_bounds),
      .batch_tokens = HISTOGRAM(token_bounds),
      .batch_fill = HISTOGRAM(fill_bounds),
  };
}
