/* Seeded random numbers (splitmix64): the same seed gives the same load on every machine. One
 * thread.
 */
#ifndef RR_BENCH_LOAD_RNG_H
#define RR_BENCH_LOAD_RNG_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rng {
  uint64_t state;
} rng;

/* stream tells apart the random numbers that must not depend on each other under one seed. */
static inline rng rng_seeded(uint64_t seed, uint64_t stream) {
  return (rng){seed * 0x9e3779b97f4a7c15u ^ (stream + 1) * 0xd1b54a32d192ed03u};
}

static inline uint64_t rng_next(rng *self) {
  uint64_t z = self->state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* In [0, 1). */
static inline double rng_unit(rng *self) { return (double)(rng_next(self) >> 11) * 0x1p-53; }

/* In [0, n); n is at least 1. */
static inline size_t rng_below(rng *self, size_t n) {
  size_t value = (size_t)(rng_unit(self) * (double)n);
  return value < n ? value : n - 1;
}

/* Exponentially distributed: the gaps of a Poisson process. */
static inline double rng_exponential(rng *self, double mean) {
  return -mean * log1p(-rng_unit(self));
}

#endif
