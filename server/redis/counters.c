#include "server/redis/counters.h"

static const double wait_bounds[] = {.0001, .0002, .0005, .001, .0015, .002, .0025,
                                     .003,  .004,  .005,  .01,  .025,  .1,   1};

void redis_metrics_init(redis_metrics *self) {
  *self = (redis_metrics){.wait = HISTOGRAM(wait_bounds)};
}
