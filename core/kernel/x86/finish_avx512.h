/* The end of a tile by AVX-512 (kernel.h: rr_finish_args), its columns a whole number of vectors.
 * Included by rowops.c where that is built for AVX-512, with or without its bf16 instructions. */
#ifndef RR_CORE_KERNEL_X86_FINISH_AVX512_H
#define RR_CORE_KERNEL_X86_FINISH_AVX512_H

#include <immintrin.h>

#include "core/kernel/blocked.h"

enum { RR_FINISH_LANES = 16, RR_FINISH_VECTORS_MAX = RR_FINISH_COLS_MAX / RR_FINISH_LANES };

/* What every row of a tile needs of its columns. */
typedef struct rr_finish_columns {
  __m512 bias;
  __m512 scale;     /* int8: of the weights */
  __m512 low_scale; /* int8: times the row's low */
  __mmask16 live;
} rr_finish_columns;

static inline __mmask16 rr_finish_live(size_t cols, size_t vector) {
  size_t before = vector * RR_FINISH_LANES;
  size_t here = cols > before ? cols - before : 0;
  return (__mmask16)(here >= RR_FINISH_LANES ? 0xffffu : (1u << here) - 1u);
}

static inline rr_finish_columns rr_finish_read(const rr_finish_args *args, size_t vector) {
  size_t col = vector * RR_FINISH_LANES;
  rr_finish_columns c = {.bias = _mm512_loadu_ps(args->bias + col),
                         .live = rr_finish_live(args->cols, vector)};
  if (args->x_scale != NULL) {
    __m512i sums = _mm512_loadu_si512(args->w_sum + col);
    c.scale = _mm512_loadu_ps(args->w_scale + col);
    c.low_scale = _mm512_mul_ps(c.scale, _mm512_cvtepi32_ps(sums));
  }
  return c;
}

/* Vectors that go through GELU side by side: each step waits for the one before, so several are
 * under way. */
enum { RR_FINISH_ABREAST = 4 };

/* rr_math_gelu_erf, in the same steps. */
static inline __attribute__((always_inline)) void rr_finish_gelu(__m512 x[RR_FINISH_ABREAST]) {
  static const float coefficients[] = {
      -0x1.8a7092p-10f, 0x1.016300p-8f,  -0x1.de111ap-9f, 0x1.564f4cp-8f,  -0x1.cfb8dap-7f,
      0x1.9bfe90p-6f,   -0x1.288d78p-5f, 0x1.a5afa6p-5f,  -0x1.20822ap-4f, 0x1.733314p-4f,
      -0x1.cd6570p-4f,  0x1.205644p-3f,  -0x1.8613f2p-3f, 0x1.874f10p-2f};
  const __m512 edge = _mm512_set1_ps(3.7f);
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 less = _mm512_set1_ps(-3.7f);
  __m512 y[RR_FINISH_ABREAST];
  __m512 t[RR_FINISH_ABREAST];
  __m512 p[RR_FINISH_ABREAST];
  RR_UNROLL
  for (size_t i = 0; i < RR_FINISH_ABREAST; i++) {
    y[i] = _mm512_mul_ps(x[i], _mm512_set1_ps(0x1.6a09e6p-1f));
    __m512 held =
        _mm512_max_ps(less, _mm512_min_ps(edge, y[i])); /* NaN passes: the second operand is kept */
    t[i] = _mm512_fmsub_ps(_mm512_mul_ps(held, held), _mm512_set1_ps(0x1.2b324ep-3f), one);
    p[i] = _mm512_set1_ps(coefficients[0]);
  }
  RR_UNROLL
  for (size_t step = 1; step < sizeof coefficients / sizeof coefficients[0]; step++) {
    RR_UNROLL
    for (size_t i = 0; i < RR_FINISH_ABREAST; i++) {
      p[i] = _mm512_fmadd_ps(p[i], t[i], _mm512_set1_ps(coefficients[step]));
    }
  }
  RR_UNROLL
  for (size_t i = 0; i < RR_FINISH_ABREAST; i++) {
    __m512 half = _mm512_mul_ps(x[i], _mm512_set1_ps(0.5f));
    __m512 erf = _mm512_mul_ps(_mm512_max_ps(less, _mm512_min_ps(edge, y[i])), p[i]);
    erf = _mm512_mask_mov_ps(erf, _mm512_cmp_ps_mask(y[i], edge, _CMP_GE_OQ), one);
    erf =
        _mm512_mask_mov_ps(erf, _mm512_cmp_ps_mask(y[i], less, _CMP_LE_OQ), _mm512_set1_ps(-1.0f));
    x[i] = _mm512_fmadd_ps(half, erf, half);
  }
}

/* GELU for outputs that are rounded to bfloat16: max(x, 0) - y P(y), y being |x| held to the edge,
 * where what is taken away has all but vanished. Absolute error below 1.3e-4, which rounding a
 * value above 0.07 exceeds; of a least-maximum-error fit with y P(y) up to that error at the edge.
 * Well under half the steps of the exact one.
 */
static inline __attribute__((always_inline)) void
rr_finish_gelu_rough(__m512 x[RR_FINISH_ABREAST]) {
  enum { LEAST_MAGNITUDE = 2 | 2 << 2 }; /* the smaller of two magnitudes, its sign cleared */
  static const float coefficients[] = {-0x1.780fd0p-11f, 0x1.64a2b6p-7f,  -0x1.ff835ep-5f,
                                       0x1.37aa88p-3f,   -0x1.dea8aep-5f, -0x1.869950p-2f,
                                       0x1.fe8112p-2f};
  const __m512 edge = _mm512_set1_ps(0x1.ea3d70p+1f);
  __m512 y[RR_FINISH_ABREAST];
  __m512 p[RR_FINISH_ABREAST];
  RR_UNROLL
  for (size_t i = 0; i < RR_FINISH_ABREAST; i++) {
    y[i] = _mm512_range_ps(x[i], edge, LEAST_MAGNITUDE);
    p[i] = _mm512_set1_ps(coefficients[0]);
  }
  RR_UNROLL
  for (size_t step = 1; step < sizeof coefficients / sizeof coefficients[0]; step++) {
    RR_UNROLL
    for (size_t i = 0; i < RR_FINISH_ABREAST; i++) {
      p[i] = _mm512_fmadd_ps(p[i], y[i], _mm512_set1_ps(coefficients[step]));
    }
  }
  RR_UNROLL
  for (size_t i = 0; i < RR_FINISH_ABREAST; i++) {
    __m512 positive =
        _mm512_max_ps(_mm512_setzero_ps(), x[i]); /* NaN passes: the second operand is kept */
    x[i] = _mm512_fnmadd_ps(y[i], p[i], positive);
  }
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
                                                                    const rr_finish_columns *c,
                                                                    bool int8, size_t row,
                                                                    const void *sums) {
  if (!int8) {
    return _mm512_add_ps(_mm512_load_ps(sums), c->bias);
  }
  __m512 offset = _mm512_fmadd_ps(_mm512_set1_ps(args->x_scale[row].low), c->low_scale, c->bias);
  __m512 scale = _mm512_mul_ps(_mm512_set1_ps(args->x_scale[row].scale), c->scale);
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), scale, offset);
}

/* What the code below is made for, each a constant where it is inlined. */
typedef struct rr_finish_case {
  size_t vectors; /* of a row: 2 or 4 */
  bool int8;
  bool gelu;
  bool whole; /* all columns are live: stores without a mask are faster */
  rr_type type;
} rr_finish_case;

static inline __attribute__((always_inline)) void rr_finish_store(const rr_finish_args *args,
                                                                  rr_finish_case is, __mmask16 live,
                                                                  size_t at, __m512 value) {
  if (is.type == RR_TYPE_FP32) {
    float *out = (float *)args->out + at;
    if (is.whole) {
      _mm512_storeu_ps(out, value);
    } else {
      _mm512_mask_storeu_ps(out, live, value);
    }
  } else {
    uint16_t *out = (uint16_t *)args->out + at;
    if (is.whole) {
      _mm256_storeu_si256((__m256i *)(void *)out, rr_finish_bf16(value));
    } else {
      _mm256_mask_storeu_epi16(out, live, rr_finish_bf16(value));
    }
  }
}

/* RR_FINISH_ABREAST vectors: of as many rows as they make. The last row may be computed twice. */
static inline __attribute__((always_inline)) void rr_finish_rows(const rr_finish_args *args,
                                                                 rr_finish_case is,
                                                                 const rr_finish_columns *columns,
                                                                 size_t row) {
  __m512 values[RR_FINISH_ABREAST];
  size_t rows[RR_FINISH_ABREAST];
  RR_UNROLL
  for (size_t i = 0; i < RR_FINISH_ABREAST; i++) {
    size_t v = i % is.vectors;
    rows[i] = row + i / is.vectors < args->rows ? row + i / is.vectors : args->rows - 1;
    const char *sums =
        (const char *)args->sums + (rows[i] * is.vectors + v) * RR_FINISH_LANES * sizeof(float);
    values[i] = rr_finish_value(args, &columns[v], is.int8, rows[i], sums);
  }
  if (is.gelu && is.type == RR_TYPE_FP32) {
    rr_finish_gelu(values);
  } else if (is.gelu) {
    rr_finish_gelu_rough(values);
  }
  RR_UNROLL
  for (size_t i = 0; i < RR_FINISH_ABREAST; i++) {
    size_t v = i % is.vectors;
    rr_finish_store(args, is, columns[v].live, rows[i] * args->ld_out + v * RR_FINISH_LANES,
                    values[i]);
  }
}

static inline __attribute__((always_inline)) void rr_finish_tile(const rr_finish_args *args,
                                                                 rr_finish_case is) {
  rr_finish_columns columns[RR_FINISH_VECTORS_MAX];
  RR_UNROLL
  for (size_t v = 0; v < is.vectors; v++) {
    columns[v] = rr_finish_read(args, v);
  }
  for (size_t row = 0; row < args->rows; row += RR_FINISH_ABREAST / is.vectors) {
    rr_finish_rows(args, is, columns, row);
  }
}

#define RR_FINISH_CASE(name, ...)                                                                  \
  static void rr_finish_##name(const rr_finish_args *args) {                                       \
    rr_finish_tile(args, (rr_finish_case){__VA_ARGS__});                                           \
  }

/* Columns that are not whole vectors are rare, and so are their cases. */
#define RR_FINISH_CASES(name, ...)                                                                 \
  RR_FINISH_CASE(name##_fp32, __VA_ARGS__, true, RR_TYPE_FP32)                                     \
  RR_FINISH_CASE(name##_bf16, __VA_ARGS__, true, RR_TYPE_BF16)                                     \
  RR_FINISH_CASE(name##_fp32_part, __VA_ARGS__, false, RR_TYPE_FP32)                               \
  RR_FINISH_CASE(name##_bf16_part, __VA_ARGS__, false, RR_TYPE_BF16)                               \
  static void rr_finish_##name(const rr_finish_args *args) {                                       \
    bool whole = args->cols == args->width;                                                        \
    if (args->out_type == RR_TYPE_FP32) {                                                          \
      (whole ? rr_finish_##name##_fp32 : rr_finish_##name##_fp32_part)(args);                      \
    } else {                                                                                       \
      (whole ? rr_finish_##name##_bf16 : rr_finish_##name##_bf16_part)(args);                      \
    }                                                                                              \
  }

/* Vectors, int8, GELU. */
RR_FINISH_CASES(2_float, 2, false, false)
RR_FINISH_CASES(2_float_gelu, 2, false, true)
RR_FINISH_CASES(2_int8, 2, true, false)
RR_FINISH_CASES(2_int8_gelu, 2, true, true)
RR_FINISH_CASES(4_float, 4, false, false)
RR_FINISH_CASES(4_float_gelu, 4, false, true)
RR_FINISH_CASES(4_int8, 4, true, false)
RR_FINISH_CASES(4_int8_gelu, 4, true, true)

/* False where it is not for this: a width, an activation or a zero point that only the general code
 * has. */
static bool rr_finish_avx512(const rr_finish_args *args) {
  if (args->activation != RR_ACTIVATION_NONE && args->activation != RR_ACTIVATION_GELU_ERF) {
    return false;
  }
  static void (*const cases[2][2][2])(const rr_finish_args *) = {
      {{rr_finish_2_float, rr_finish_2_float_gelu}, {rr_finish_2_int8, rr_finish_2_int8_gelu}},
      {{rr_finish_4_float, rr_finish_4_float_gelu}, {rr_finish_4_int8, rr_finish_4_int8_gelu}}};
  if (args->width != 2 * RR_FINISH_LANES && args->width != 4 * RR_FINISH_LANES) {
    return false;
  }
  if (args->x_scale != NULL && args->zero_point != 0) {
    return false; /* no product for AVX-512 has one */
  }
  cases[args->width == 4 * RR_FINISH_LANES][args->x_scale != NULL]
       [args->activation == RR_ACTIVATION_GELU_ERF](args);
  return true;
}

#endif
