#include "server/observe/metrics.h"

static const double duration_bounds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25,
                                         .5,    1,    2.5,   5,    10,  25,   60};
static const double phase_bounds[] = {.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05,
                                      .1,     .25,   .5,     1,     2.5,  5,     10,   30};
static const double wait_bounds[] = {.0001, .0002, .0005, .001, .0015, .002, .0025, .003, .004, .005, .01, .025, .1, 1};
static const double length_bounds[] = {8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096, 8192};
static const double size_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
static const double token_bounds[] = {64, 128, 256, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768};
static const double fill_bounds[] = {.05, .1, .2, .3, .4, .5, .6, .7, .8, .9, .95, 1};

#define HISTOGRAM(array) \
  ((histogram){.bounds = (array), .n_bounds = sizeof(array) / sizeof((array)[0])})

void engine_stats_init(engine_stats *stats) {
  *stats = (engine_stats){
      .batch_sequences = HISTOGRAM(size_bounds),
      .batch_tokens = HISTOGRAM(token_bounds),
      .batch_fill = HISTOGRAM(fill_bounds),
  };
}

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
      .shared = {.wait = HISTOGRAM(wait_bounds)},
  };
  for (int i = 0; i < REQUEST_PHASES; i++) {
    self->phases[i] = HISTOGRAM(phase_bounds);
  }
}

void histogram_add(histogram *self, double value) {
  size_t bucket = 0;
  while (bucket < self->n_bounds && value > self->bounds[bucket]) {
    bucket++;
  }
  self->counts[bucket]++;
  self->sum += value;
}

void metrics_add_phases(metrics *self, const request_phases *phases) {
  for (int i = 0; i < REQUEST_PHASES; i++) {
    if (phases->of[i].begin != 0) {
      histogram_add(&self->phases[i], (double)phase_ns(phases->of[i]) / 1e9);
    }
  }
  histogram_add(&self->between, (double)phases_between(phases) / 1e9);
}
