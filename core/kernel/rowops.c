/* The row operations, built once an ISA (see isa.h). Reductions are marked for the vectoriser, which
 * may then add in any order; nothing else is allowed to change results. */
#include <math.h>

#include "core/kernel/isa.h"
#include "core/kernel/rowops_math.h"

/* One loop an activation: the vectoriser needs the choice outside of the loop. */
#define ACTIVATE_ROW(function)                                                                         \
  do {                                                                                                 \
    for (size_t j = 0; j < cols; j++) {                                                                \
      row[j] = function(row[j]);                                                                       \
    }                                                                                                  \
  } while (0)

static inline float relu(float x) { return x < 0.0f ? 0.0f : x; } /* keeps NaN */

static void activate_row(rr_activation activation, size_t cols, float *row) {
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

/* out = x + bias + residual; returns the sum of that. */
static inline float add_row(size_t cols, const float *x, const float *bias, const float *residual,
                            float *out) {
  float sum = 0.0f;
  if (bias == NULL) {
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < cols; j++) {
      float value = x[j] + residual[j];
      out[j] = value;
      sum += value;
    }
    return sum;
  }
#pragma omp simd reduction(+ : sum)
  for (size_t j = 0; j < cols; j++) {
    float value = x[j] + bias[j] + residual[j];
    out[j] = value;
    sum += value;
  }
  return sum;
}

static void norm(const rr_norm_args *args) {
  for (size_t i = 0; i < args->rows; i++) {
    float *out = args->out + i * args->ld_out;
    float sum = add_row(args->cols, args->x + i * args->ldx, args->bias,
                        args->residual + i * args->ld_residual, out);
    norm_row(args->cols, &args->norm, sum, out);
  }
}

static void embed(const rr_embed_args *args) {
  size_t cols = args->cols;
  for (size_t i = 0; i < args->length; i++) {
    const float *restrict word = args->word + (size_t)args->ids[i] * cols;
    const float *restrict position = args->position + i * cols;
    const float *restrict type = args->type + (size_t)args->type_ids[i] * cols;
    float *restrict out = args->out + i * args->ld_out;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < cols; j++) {
      float value = word[j] + position[j] + type[j];
      out[j] = value;
      sum += value;
    }
    norm_row(cols, &args->norm, sum, out);
  }
}

static void mean(size_t rows, size_t cols, const float *restrict x, size_t ldx, float *restrict out) {
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

const rr_rowops RR_ISA_NAME(rr_rowops) = {
    .name = RR_ISA_STRING,
    .activate = activate,
    .norm = norm,
    .embed = embed,
    .attention = RR_ISA_NAME(rr_attention),
    .mean = mean,
    .unit = unit,
};
