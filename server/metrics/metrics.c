#include "server/metrics/metrics.h"

static const double duration_bounds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1,
                                         .25,   .5,   1,     2.5,  5,   10,   25,  60};
static const double phase_bounds[] = {.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025,
                                      .05,    .1,    .25,    .5,    1,    2.5,   5,    10,  30};
static const double length_bounds[] = {8,   16,  32,  64,   96,   128,  192,
                                       256, 384, 512, 1024, 2048, 4096, 8192};

void metrics_init(metrics *self) {
  *self = (metrics){
      .total = HISTOGRAM(duration_bounds),
      .parse = HISTOGRAM(duration_bounds),
      .tokenization = HISTOGRAM(duration_bounds),
      .queue = HISTOGRAM(duration_bounds),
      .inference = HISTOGRAM(duration_bounds),
      .input_length = HISTOGRAM(length_bounds),
      .between = HISTOGRAM(phase_bounds),
      .turns = HISTOGRAM(phase_bounds),
  };
  redis_metrics_init(&self->shared);
  for (int i = 0; i < REQUEST_PHASES; i++) {
    self->phases[i] = HISTOGRAM(phase_bounds);
  }
}

void metrics_add_phases(metrics *self, const request_phases *phases) {
  for (int i = 0; i < REQUEST_PHASES; i++) {
    if (phases->of[i].begin != 0) {
      histogram_add(&self->phases[i], (double)phase_ns(phases->of[i]) / 1e9);
    }
  }
  histogram_add(&self->between, (double)phases_between(phases) / 1e9);
}
