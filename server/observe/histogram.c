#include "server/observe/histogram.h"

void histogram_add(histogram *self, double value) {
  size_t bucket = 0;
  while (bucket < self->n_bounds && value > self->bounds[bucket]) {
    bucket++;
  }
  self->counts[bucket]++;
  self->sum += value;
}
