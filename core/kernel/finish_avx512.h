/* The end of a tile by AVX-512 (kernel.h: rr_finish_args), its columns a whole number of vectors. Included by
 * rowops.c where that is built for AVX-512, with or without its bf16 instructions. */
#ifndef RR_CORE_KERNEL_FINISH_AVX512_H
#define RR_CORE_KERNEL_FINISH_AVX512_H

#include <immintrin.h>

#include "core/kernel/blocked.h"

enum { RR_FINISH_LANES = 16, RR_FINISH_VECTORS_MAX = RR_FINISH_COLS_MAX / RR_FINISH_LANES };

/* What every row of a tile needs of its columns. */
typedef struct rr_finish_columns {
  __m512 bias;
  __m512 scale;     /* int8: of the weights */
  __m512 low_scale; /* int8: times the row's low */
  __m512i shift;    /* int8: added to each sum */
  __mmask16 live;
} rr_finish_columns;

static inline __mmask16 rr_finish_live(size_t cols, size_t vector) {
  size_t before = vector * RR_FINISH_LANES;
  size_t here = cols > before ? cols - before : 0;
  return (__mmask16)(here >= RR_FINISH_LANES ? 0xffffu : (1u << here) - 1u);
}

static inline rr_finish_columns rr_finish_read(const rr_finish_args *args, size_t vector) {
  size_t col = vector * RR_FINISH_LANES;
  rr_finish_columns c = {.bias = _mm512_loadu_ps(args->bias + col), .live = rr_finish_live(args->cols, vector)};
  if (args->x_scale != NULL) {
    __m512i sums = _mm512_loadu_si512(args->w_sum + col);
    c.scale = _mm512_loadu_ps(args->w_scale + col);
    c.low_scale = _mm512_mul_ps(c.scale, _mm512_cvtepi32_ps(sums));
    c.shift = _mm512_mullo_epi32(sums, _mm512_set1_epi32(args->zero_point));
  }
  return c;
}

/* rr_math_gelu_erf, in the same steps. */
static inline __m512 rr_finish_gelu(__m512 x) {
  static const float coefficients[] = {
      -0x1.8a7092p-10f, 0x1.016300p-8f,  -0x1.de111ap-9f, 0x1.564f4cp-8f,  -0x1.cfb8dap-7f,
      0x1.9bfe90p-6f,   -0x1.288d78p-5f, 0x1.a5afa6p-5f,  -0x1.20822ap-4f, 0x1.733314p-4f,
      -0x1.cd6570p-4f,  0x1.205644p-3f,  -0x1.8613f2p-3f, 0x1.874f10p-2f};
  const __m512 edge = _mm512_set1_ps(3.7f);
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
  __m512 scaled = _mm512_mul_ps(x, _mm512_set1_ps(0x1.6a09e6p-1f));
  __m512 y = _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), edge), _mm512_min_ps(edge, scaled));
  __m512 t = _mm512_fmsub_ps(_mm512_mul_ps(y, y), _mm512_set1_ps(0x1.2b324ep-3f), one);
  __m512 p = _mm512_set1_ps(coefficients[0]);
  RR_UNROLL
  for (size_t i = 1; i < sizeof coefficients / sizeof coefficients[0]; i++) {
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(coefficients[i]));
  }
  __m512 erf = _mm512_mul_ps(y, p);
  erf = _mm512_mask_mov_ps(erf, _mm512_cmp_ps_mask(scaled, edge, _CMP_GE_OQ), one);
  __m512 minus = _mm512_sub_ps(_mm512_setzero_ps(), one);
  __mmask16 below = _mm512_cmp_ps_mask(scaled, _mm512_sub_ps(_mm512_setzero_ps(), edge), _CMP_LE_OQ);
  erf = _mm512_mask_mov_ps(erf, below, minus);
  return _mm512_fmadd_ps(half, erf, half);
}

/* GELU for outputs that are rounded to bfloat16: x / 2 (1 + y P(t)), y being x held within +-4.2 and
 * t = 2 (y / 4.2)^2 - 1. Absolute error below 1e-4, which rounding a value above 0.05 exceeds; of a
 * least-maximum-error fit with y P(1) = 1 at the edge. Half the steps of the exact one. */
static inline __m512 rr_finish_gelu_rough(__m512 x) {
  static const float coefficients[] = {-0x1.ed5c2ap-8f, 0x1.6f048ep-6f,  -0x1.0d905cp-5f, 0x1.853312p-5f,
                                       -0x1.36b298p-4f, 0x1.ca5f04p-4f,  -0x1.4e1e3ap-3f, 0x1.57c410p-2f};
  const __m512 edge = _mm512_set1_ps(0x1.0ccccc0p+2f);
  __m512 half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
  __m512 y = _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), edge), _mm512_min_ps(edge, x));
  __m512 t = _mm512_fmsub_ps(_mm512_mul_ps(y, y), _mm512_set1_ps(0x1.d0662ap-4f), _mm512_set1_ps(1.0f));
  __m512 p = _mm512_set1_ps(coefficients[0]);
  RR_UNROLL
  for (size_t i = 1; i < sizeof coefficients / sizeof coefficients[0]; i++) {
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(coefficients[i]));
  }
  return _mm512_fmadd_ps(half, _mm512_mul_ps(y, p), half);
}

/* To nearest even; see bf16.h. */
static inline __m256i rr_finish_bf16(__m512 value) {
#ifdef __AVX512BF16__
  return (__m256i)_mm512_cvtneps_pbh(value);
#else
  __m512i bits = _mm512_castps_si512(value);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x00400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
#endif
}

/* The choices are constants where this is inlined. */
static inline __attribute__((always_inline)) __m512 rr_finish_value(const rr_finish_args *args,
                                                                    const rr_finish_columns *c, bool int8,
                                                                    size_t row, const void *sums) {
  if (!int8) {
    return _mm512_add_ps(_mm512_load_ps(sums), c->bias);
  }
  __m512 offset = _mm512_fmadd_ps(_mm512_set1_ps(args->x_scale[row].low), c->low_scale, c->bias);
  __m512 scale = _mm512_mul_ps(_mm512_set1_ps(args->x_scale[row].scale), c->scale);
  __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums), c->shift);
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, offset);
}

static inline __attribute__((always_inline)) void rr_finish_store(const rr_finish_args *args, __mmask16 live,
                                                                  rr_type type, size_t at, __m512 value) {
  if (type == RR_TYPE_FP32) {
    _mm512_mask_storeu_ps((float *)args->out + at, live, value);
  } else {
    _mm256_mask_storeu_epi16((uint16_t *)args->out + at, live, rr_finish_bf16(value));
  }
}

static inline __attribute__((always_inline)) void rr_finish_tile(const rr_finish_args *args, size_t vectors,
                                                                 bool int8, bool gelu, rr_type type) {
  rr_finish_columns columns[RR_FINISH_VECTORS_MAX];
  RR_UNROLL
  for (size_t v = 0; v < vectors; v++) {
    columns[v] = rr_finish_read(args, v);
  }
  const char *sums = args->sums;
  for (size_t row = 0; row < args->rows; row++) {
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      __m512 value = rr_finish_value(args, &columns[v], int8, row, sums);
      if (gelu) {
        value = type == RR_TYPE_FP32 ? rr_finish_gelu(value) : rr_finish_gelu_rough(value);
      }
      rr_finish_store(args, columns[v].live, type, row * args->ld_out + v * RR_FINISH_LANES, value);
      sums += RR_FINISH_LANES * sizeof(float);
    }
  }
}

static inline __attribute__((always_inline)) void rr_finish_type(const rr_finish_args *args, size_t vectors,
                                                                 rr_type type) {
  bool gelu = args->activation == RR_ACTIVATION_GELU_ERF;
  if (args->x_scale == NULL && !gelu) {
    rr_finish_tile(args, vectors, false, false, type);
  } else if (args->x_scale == NULL) {
    rr_finish_tile(args, vectors, false, true, type);
  } else if (!gelu) {
    rr_finish_tile(args, vectors, true, false, type);
  } else {
    rr_finish_tile(args, vectors, true, true, type);
  }
}

static inline __attribute__((always_inline)) void rr_finish_vectors(const rr_finish_args *args,
                                                                    size_t vectors) {
  if (args->out_type == RR_TYPE_FP32) {
    rr_finish_type(args, vectors, RR_TYPE_FP32);
  } else {
    rr_finish_type(args, vectors, RR_TYPE_BF16);
  }
}

/* False where it is not for this: a width or an activation that only the general code has. */
static bool rr_finish_avx512(const rr_finish_args *args) {
  if (args->activation != RR_ACTIVATION_NONE && args->activation != RR_ACTIVATION_GELU_ERF) {
    return false;
  }
  if (args->width == 2 * RR_FINISH_LANES) {
    rr_finish_vectors(args, 2);
  } else if (args->width == 4 * RR_FINISH_LANES) {
    rr_finish_vectors(args, 4);
  } else {
    return false;
  }
  return true;
}

#endif
