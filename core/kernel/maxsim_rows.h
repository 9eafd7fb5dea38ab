/* How late interaction's vectors are stored, by format (kernel.h); for the sources that compute
 * it. */
#ifndef RR_CORE_KERNEL_MAXSIM_ROWS_H
#define RR_CORE_KERNEL_MAXSIM_ROWS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/kernel/bf16.h"
#include "core/kernel/kernel.h"

enum { RR_MAXSIM_PAIR = 2, RR_MAXSIM_FOUR = 4, RR_MAXSIM_ZERO = 128 };

/* Below that 127 / max would overflow: the row counts as zero. */
static const float rr_maxsim_least = 0x1p-100f;

static inline size_t rr_maxsim_rounded_up(size_t size, size_t to) {
  return (size + to - 1) / to * to;
}

static inline size_t rr_maxsim_fp32_row_size(size_t dim) { return dim * sizeof(float); }

static inline size_t rr_maxsim_bf16_row_size(size_t dim) {
  return rr_maxsim_rounded_up(dim, RR_MAXSIM_PAIR) * sizeof(uint16_t);
}

/* Where an int8 row's scale lies. */
static inline size_t rr_maxsim_int8_values(size_t dim) {
  return rr_maxsim_rounded_up(dim, RR_MAXSIM_FOUR);
}

static inline size_t rr_maxsim_int8_row_size(size_t dim) {
  return rr_maxsim_int8_values(dim) + sizeof(float);
}

static inline float rr_maxsim_int8_scale(size_t dim, const void *row) {
  float scale;
  memcpy(&scale, (const char *)row + rr_maxsim_int8_values(dim), sizeof scale);
  return scale;
}

static inline void rr_maxsim_fp32_store(size_t dim, const float *x, void *row) {
  memcpy(row, x, dim * sizeof *x);
}

static inline void rr_maxsim_bf16_store(size_t dim, const float *x, void *row) {
  uint16_t *to = row;
  for (size_t i = 0; i < dim; i++) {
    to[i] = rr_bf16_from_float(x[i]);
  }
  if (dim % RR_MAXSIM_PAIR != 0) {
    to[dim] = 0;
  }
}

/* NaN and infinity make the scale NaN. Their bits are larger than any number's, as integers. */
static inline void rr_maxsim_int8_store(size_t dim, const float *x, void *row) {
  uint8_t *restrict to = row;
  uint32_t most_bits = 0;
  for (size_t i = 0; i < dim; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    bits &= 0x7fffffffu;
    most_bits = bits > most_bits ? bits : most_bits;
  }
  float most;
  memcpy(&most, &most_bits, sizeof most);
  bool finite = most_bits < 0x7f800000u;
  float inverse = finite && most >= rr_maxsim_least ? 127.0f / most : 0.0f;
  float scale = !finite ? NAN : inverse == 0.0f ? 0.0f : most / 127.0f;
  for (size_t i = 0; i < dim; i++) {
    /* Above 0 in any case, so that the conversion's cut is a floor. */
    float value =
        finite ? fmaf(x[i], inverse, (float)RR_MAXSIM_ZERO + 0.5f) : (float)RR_MAXSIM_ZERO;
    to[i] = (uint8_t)(int32_t)value;
  }
  for (size_t i = dim; i < rr_maxsim_int8_values(dim); i++) {
    to[i] = RR_MAXSIM_ZERO;
  }
  memcpy(to + rr_maxsim_int8_values(dim), &scale, sizeof scale);
}

#endif
