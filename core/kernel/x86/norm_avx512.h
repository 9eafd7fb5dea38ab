/* LayerNorm by AVX-512. Included by rowops.c where that is built for AVX-512. Sums are kept in four
 * vectors: one alone would wait for itself. */
#ifndef RR_CORE_KERNEL_X86_NORM_AVX512_H
#define RR_CORE_KERNEL_X86_NORM_AVX512_H

#include <immintrin.h>
#include <math.h>

#include "core/kernel/blocked.h"

enum { RR_NORM_LANES = 16, RR_NORM_STRANDS = 4, RR_NORM_STEP = RR_NORM_LANES * RR_NORM_STRANDS };

static inline __mmask16 rr_norm_live(size_t cols, size_t at) {
  size_t left = cols - at;
  return (__mmask16)(left >= RR_NORM_LANES ? 0xffffu : (1u << left) - 1u);
}

static inline float rr_norm_sum(const __m512 sums[RR_NORM_STRANDS]) {
  return _mm512_reduce_add_ps(
      _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}

/* What is normalised: a + b + c of a column's vector; c may be NULL. */
typedef struct rr_norm_terms {
  const float *a;
  const float *b;
  const float *c;
} rr_norm_terms;

static inline __attribute__((always_inline)) __m512 rr_norm_add(const rr_norm_terms *of, size_t at,
                                                                __mmask16 live) {
  __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(live, of->a + at),
                             _mm512_maskz_loadu_ps(live, of->b + at));
  return of->c == NULL ? sum : _mm512_add_ps(sum, _mm512_maskz_loadu_ps(live, of->c + at));
}

/* out = a + b + c; returns the sum of that. out may be any of them. */
static inline __attribute__((always_inline)) float
rr_norm_add_row(size_t cols, const rr_norm_terms *of, float *out) {
  __m512 sums[RR_NORM_STRANDS] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                                  _mm512_setzero_ps()};
  size_t at = 0;
  for (; at + RR_NORM_STEP <= cols; at += RR_NORM_STEP) {
    RR_UNROLL
    for (size_t s = 0; s < RR_NORM_STRANDS; s++) {
      __m512 value = rr_norm_add(of, at + s * RR_NORM_LANES, 0xffff);
      _mm512_storeu_ps(out + at + s * RR_NORM_LANES, value);
      sums[s] = _mm512_add_ps(sums[s], value);
    }
  }
  for (; at < cols; at += RR_NORM_LANES) {
    __mmask16 live = rr_norm_live(cols, at);
    __m512 value = rr_norm_add(of, at, live);
    _mm512_mask_storeu_ps(out + at, live, value);
    sums[0] = _mm512_add_ps(sums[0], value);
  }
  return rr_norm_sum(sums);
}

static inline float rr_norm_squares(size_t cols, float mean, const float *row) {
  const __m512 centre = _mm512_set1_ps(mean);
  __m512 sums[RR_NORM_STRANDS] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                                  _mm512_setzero_ps()};
  size_t at = 0;
  for (; at + RR_NORM_STEP <= cols; at += RR_NORM_STEP) {
    RR_UNROLL
    for (size_t s = 0; s < RR_NORM_STRANDS; s++) {
      __m512 value = _mm512_sub_ps(_mm512_loadu_ps(row + at + s * RR_NORM_LANES), centre);
      sums[s] = _mm512_fmadd_ps(value, value, sums[s]);
    }
  }
  for (; at < cols; at += RR_NORM_LANES) {
    __mmask16 live = rr_norm_live(cols, at);
    __m512 value = _mm512_maskz_sub_ps(live, _mm512_maskz_loadu_ps(live, row + at), centre);
    sums[0] = _mm512_fmadd_ps(value, value, sums[0]);
  }
  return rr_norm_sum(sums);
}

/* Up to this many vectors a row stays in registers from its sum to its end. */
enum { RR_NORM_HELD_MAX = 24 };

static inline __attribute__((always_inline)) float
rr_norm_sum_held(size_t vectors, const __m512 *values, bool squares) {
  __m512 sums[RR_NORM_STRANDS] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                                  _mm512_setzero_ps()};
  RR_UNROLL_ALL
  for (size_t v = 0; v < vectors; v++) {
    size_t s = v % RR_NORM_STRANDS;
    sums[s] = squares ? _mm512_fmadd_ps(values[v], values[v], sums[s])
                      : _mm512_add_ps(sums[s], values[v]);
  }
  return rr_norm_sum(sums);
}

/* A row of so many whole vectors; the same steps as below. */
static inline __attribute__((always_inline)) void
rr_norm_held(size_t vectors, const rr_norm *norm, const rr_norm_terms *of, float *row) {
  __m512 values[RR_NORM_HELD_MAX];
  RR_UNROLL_ALL
  for (size_t v = 0; v < vectors; v++) {
    values[v] = rr_norm_add(of, v * RR_NORM_LANES, 0xffff);
  }
  float cols = (float)(vectors * RR_NORM_LANES);
  const __m512 centre = _mm512_set1_ps(rr_norm_sum_held(vectors, values, false) / cols);
  RR_UNROLL_ALL
  for (size_t v = 0; v < vectors; v++) {
    values[v] = _mm512_sub_ps(values[v], centre);
  }
  float variance = rr_norm_sum_held(vectors, values, true) / cols;
  const __m512 scale = _mm512_set1_ps(1.0f / sqrtf(variance + norm->epsilon));
  RR_UNROLL_ALL
  for (size_t v = 0; v < vectors; v++) {
    __m512 value = _mm512_fmadd_ps(_mm512_mul_ps(values[v], scale),
                                   _mm512_loadu_ps(norm->gamma + v * RR_NORM_LANES),
                                   _mm512_loadu_ps(norm->beta + v * RR_NORM_LANES));
    _mm512_storeu_ps(row + v * RR_NORM_LANES, value);
  }
}

/* The common width of 384, of two terms (a layer's end) or three (the embedding). */
static __attribute__((noinline)) void rr_norm_held_384(const rr_norm *norm, const float *a,
                                                       const float *b, const float *c, float *row) {
  const rr_norm_terms two = {a, b, NULL};
  const rr_norm_terms three = {a, b, c};
  if (c == NULL) {
    rr_norm_held(RR_NORM_HELD_MAX, norm, &two, row);
  } else {
    rr_norm_held(RR_NORM_HELD_MAX, norm, &three, row);
  }
}

/* Two passes: the variance around the mean loses nothing where the mean is large. */
static inline void rr_norm_row_avx512(size_t cols, const rr_norm *norm, const rr_norm_terms *of,
                                      float *row) {
  if (cols == RR_NORM_HELD_MAX * RR_NORM_LANES) {
    rr_norm_held_384(norm, of->a, of->b, of->c, row);
    return;
  }
  float mean = rr_norm_add_row(cols, of, row) / (float)cols;
  float inverse = 1.0f / sqrtf(rr_norm_squares(cols, mean, row) / (float)cols + norm->epsilon);
  const __m512 centre = _mm512_set1_ps(mean);
  const __m512 scale = _mm512_set1_ps(inverse);
  size_t at = 0;
  for (; at + RR_NORM_LANES <= cols; at += RR_NORM_LANES) {
    __m512 value = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + at), centre), scale);
    value =
        _mm512_fmadd_ps(value, _mm512_loadu_ps(norm->gamma + at), _mm512_loadu_ps(norm->beta + at));
    _mm512_storeu_ps(row + at, value);
  }
  if (at < cols) {
    __mmask16 live = rr_norm_live(cols, at);
    __m512 value =
        _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(live, row + at), centre), scale);
    value = _mm512_fmadd_ps(value, _mm512_maskz_loadu_ps(live, norm->gamma + at),
                            _mm512_maskz_loadu_ps(live, norm->beta + at));
    _mm512_mask_storeu_ps(row + at, live, value);
  }
}

#endif
