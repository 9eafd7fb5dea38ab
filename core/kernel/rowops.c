/* The row operations, built once an ISA (see isa.h). Reductions are marked for the vectoriser,
 * which may then add in any order; nothing else is allowed to change results. */
#include <math.h>

#include "core/kernel/bf16.h"
#include "core/kernel/isa.h"
#include "core/kernel/quantize.h"
#include "core/kernel/rowops_math.h"
#if defined(RR_ISA_AVX512) || defined(RR_ISA_AVX512BF16)
#include "core/kernel/x86/rowops_avx512.h"
#define RR_HAVE_AVX512
#endif

/* One loop an activation: the vectoriser needs the choice outside of the loop. */
#define ACTIVATE_ROW(function)                                                                     \
  do {                                                                                             \
    for (size_t j = 0; j < cols; j++) {                                                            \
      row[j] = function(row[j]);                                                                   \
    }                                                                                              \
  } while (0)

static inline float relu(float x) { return x < 0.0f ? 0.0f : x; } /* keeps NaN */

static inline void activate_row(rr_activation activation, size_t cols, float *row) {
  switch (activation) {
  case RR_ACTIVATION_NONE: break;
  case RR_ACTIVATION_RELU: ACTIVATE_ROW(relu); break;
  case RR_ACTIVATION_TANH: ACTIVATE_ROW(rr_math_tanh); break;
  case RR_ACTIVATION_GELU_ERF: ACTIVATE_ROW(rr_math_gelu_erf); break;
  case RR_ACTIVATION_GELU_TANH: ACTIVATE_ROW(rr_math_gelu_tanh); break;
  }
}

static void activate(rr_activation activation, const float *restrict bias, size_t rows, size_t cols,
                     float *restrict x, size_t ldx) {
  for (size_t i = 0; i < rows; i++) {
    float *row = x + i * ldx;
    if (bias != NULL) {
      for (size_t j = 0; j < cols; j++) {
        row[j] += bias[j];
      }
    }
    activate_row(activation, cols, row);
  }
}

#ifdef RR_HAVE_AVX512

/* row = norm(a + b + c); c may be NULL, row any of them. */
static inline void norm_sum(size_t cols, const rr_norm *norm, const float *a, const float *b,
                            const float *c, float *row) {
  const rr_norm_terms terms = {a, b, c};
  rr_norm_row_avx512(cols, norm, &terms, row);
}

#else

/* Two passes: the variance around the mean loses nothing where the mean is large. */
static void norm_row(size_t cols, const rr_norm *norm, float sum, float *restrict row) {
  const float *restrict gamma = norm->gamma;
  const float *restrict beta = norm->beta;
  float mean = sum / (float)cols;
  float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
  for (size_t j = 0; j < cols; j++) {
    float centred = row[j] - mean;
    squares += centred * centred;
  }
  float inverse = 1.0f / sqrtf(squares / (float)cols + norm->epsilon);
  for (size_t j = 0; j < cols; j++) {
    row[j] = (row[j] - mean) * inverse * gamma[j] + beta[j];
  }
}

/* row = norm(a + b + c); c may be NULL, row any of them. */
static inline void norm_sum(size_t cols, const rr_norm *norm, const float *a, const float *b,
                            const float *c, float *row) {
  float sum = 0.0f;
  if (c == NULL) {
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < cols; j++) {
      float value = a[j] + b[j];
      row[j] = value;
      sum += value;
    }
  } else {
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < cols; j++) {
      float value = a[j] + b[j] + c[j];
      row[j] = value;
      sum += value;
    }
  }
  norm_row(cols, norm, sum, row);
}

#endif

static void norm(const rr_norm_args *args) {
  for (size_t i = 0; i < args->rows; i++) {
    norm_sum(args->cols, &args->norm, args->x + i * args->ldx,
             args->residual + i * args->ld_residual, args->bias, args->out + i * args->ld_out);
  }
}

/* The table is larger than any cache, and its rows are met in no order: fetched some tokens
 * ahead. */
static inline void fetch_row(size_t cols, const float *row) {
  enum { LINE_FLOATS = 16 };
  for (size_t j = 0; j < cols; j += LINE_FLOATS) {
    __builtin_prefetch(row + j);
  }
}

static void embed(const rr_embed_args *args) {
  enum { AHEAD = 3 };
  size_t cols = args->cols;
  for (size_t i = 0; i < args->length; i++) {
    if (i + AHEAD < args->length) {
      fetch_row(cols, args->word + (size_t)args->ids[i + AHEAD] * cols);
    }
    norm_sum(cols, &args->norm, args->word + (size_t)args->ids[i] * cols, args->position + i * cols,
             args->type + (size_t)args->type_ids[i] * cols, args->out + i * args->ld_out);
  }
}

/* NaN and infinities are left to the first part. */
static void residue(bool int8, size_t k, float *restrict x) {
  if (!int8) {
    for (size_t j = 0; j < k; j++) {
      float lost = x[j] - rr_bf16_round(x[j]);
      x[j] = lost - lost == 0.0f ? lost : 0.0f;
    }
    return;
  }
  int32_t signed_max = INT32_MIN;
  uint32_t unsigned_max = 0;
  for (size_t j = 0; j < k; j++) {
    uint32_t bits;
    memcpy(&bits, &x[j], sizeof bits);
    signed_max = (int32_t)bits > signed_max ? (int32_t)bits : signed_max;
    unsigned_max = bits > unsigned_max ? bits : unsigned_max;
  }
  rr_row_scale scale;
  rr_quantize_factors f = rr_quantize_row_factors((uint32_t)signed_max, unsigned_max, &scale);
  for (size_t j = 0; j < k; j++) {
    float q = rintf(fmaf(x[j], f.inverse, f.zero));
    x[j] = f.inverse == 0.0f ? 0.0f : x[j] - fmaf(q, scale.scale, scale.low);
  }
}

static void round_rows(size_t rows, size_t cols, const float *x, size_t ldx, uint16_t *out,
                       size_t ld_out) {
  for (size_t i = 0; i < rows; i++) {
    const float *restrict from = x + i * ldx;
    uint16_t *restrict to = out + i * ld_out;
    for (size_t j = 0; j < cols; j++) {
      to[j] = rr_bf16_from_float(from[j]);
    }
  }
}

static void mean(size_t rows, size_t cols, const float *restrict x, size_t ldx,
                 float *restrict out) {
  memcpy(out, x, cols * sizeof *out);
  for (size_t i = 1; i < rows; i++) {
    const float *restrict row = x + i * ldx;
    for (size_t j = 0; j < cols; j++) {
      out[j] += row[j];
    }
  }
  float inverse = 1.0f / (float)rows;
  for (size_t j = 0; j < cols; j++) {
    out[j] *= inverse;
  }
}

static void unit(size_t cols, const float *x, float *out) {
  double squares = 0.0; /* in double: the square of a large float would overflow */
#pragma omp simd reduction(+ : squares)
  for (size_t j = 0; j < cols; j++) {
    squares += (double)x[j] * (double)x[j];
  }
  double length = sqrt(squares);
  float inverse = (float)(1.0 / (length < 1e-12 ? 1e-12 : length));
  for (size_t j = 0; j < cols; j++) {
    out[j] = x[j] * inverse;
  }
}

/* What the sums of an int8 tile's columns stand for, beyond their row's scale. */
typedef struct columns {
  float low_scale[RR_FINISH_COLS_MAX]; /* times x_scale.low */
  int32_t shift[RR_FINISH_COLS_MAX];   /* added to each sum */
} columns;

static inline void read_columns(const rr_finish_args *args, size_t width, columns *c) {
  for (size_t j = 0; j < width; j++) {
    c->low_scale[j] = args->w_scale[j] * (float)args->w_sum[j];
    c->shift[j] = args->zero_point * args->w_sum[j];
  }
}

static inline void scale_row(const rr_finish_args *args, size_t width, const columns *c, size_t row,
                             float *restrict values) {
  const int32_t *restrict sums = (const int32_t *)args->sums + row * width;
  const float *restrict w_scale = args->w_scale;
  const float *restrict bias = args->bias;
  rr_row_scale x = args->x_scale[row];
  for (size_t j = 0; j < width; j++) {
    values[j] = fmaf((float)(sums[j] + c->shift[j]), x.scale * w_scale[j],
                     fmaf(x.low, c->low_scale[j], bias[j]));
  }
}

static inline void bias_row(const rr_finish_args *args, size_t width, size_t row,
                            float *restrict values) {
  const float *restrict sums = (const float *)args->sums + row * width;
  const float *restrict bias = args->bias;
  for (size_t j = 0; j < width; j++) {
    values[j] = sums[j] + bias[j];
  }
}

static inline void store_row(const rr_finish_args *args, size_t width, size_t row,
                             const float *restrict values) {
  if (args->out_type == RR_TYPE_FP32) {
    float *out = (float *)args->out + row * args->ld_out;
    memcpy(out, values, (args->cols == width ? width : args->cols) * sizeof *out);
    return;
  }
  uint16_t rounded[RR_FINISH_COLS_MAX];
  uint16_t *out = (uint16_t *)args->out + row * args->ld_out;
  for (size_t j = 0; j < width; j++) {
    rounded[j] = rr_bf16_from_float(values[j]);
  }
  memcpy(out, rounded, (args->cols == width ? width : args->cols) * sizeof *out);
}

/* Inlined with a constant width, so that a row is a few vectors in registers. */
static inline __attribute__((always_inline)) void finish_width(const rr_finish_args *args,
                                                               size_t width) {
  _Alignas(64) float values[RR_FINISH_COLS_MAX];
  columns c;
  if (args->x_scale != NULL) {
    read_columns(args, width, &c);
  }
  for (size_t row = 0; row < args->rows; row++) {
    if (args->x_scale != NULL) {
      scale_row(args, width, &c, row, values);
    } else {
      bias_row(args, width, row, values);
    }
    activate_row(args->activation, width, values);
    store_row(args, width, row, values);
  }
}

static void finish(const rr_finish_args *args) {
#ifdef RR_HAVE_AVX512
  if (rr_finish_avx512(args)) {
    return;
  }
#endif
  switch (args->width) {
  case 64: finish_width(args, 64); break;
  case 32: finish_width(args, 32); break;
  case 16: finish_width(args, 16); break;
  default: finish_width(args, args->width); break;
  }
}

const rr_rowops RR_ISA_NAME(rr_rowops) = {
    .name = RR_ISA_STRING,
    .activate = activate,
    .norm = norm,
    .embed = embed,
    .finish = finish,
    .residue = residue,
    .round = round_rows,
    .mean = mean,
    .unit = unit,
};
