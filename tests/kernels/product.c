#include "tests/kernels/product.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/kernel/blocked.h"

enum { GAP = 5 };

/* Half a unit in the last place of 1: the relative error of one rounding. */
static const double UNIT = (double)FLT_EPSILON / 2.0;
static const float EPSILON = 1e-6f; /* of the norm */

static uint32_t step(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

static float uniform(uint32_t *seed) { return (float)step(seed) / (float)(1u << 23) - 1.0f; }

static float x_value(rr_fill fill, uint32_t *seed) {
  static const float powers[] = {1e-6f, 1e-3f, 1.0f, 30.0f, 1e3f};
  float value = uniform(seed);
  switch (fill) {
  case RR_FILL_UNIFORM: return value;
  case RR_FILL_LARGE: return value * 1e17f;
  case RR_FILL_TINY: return value * 1e-21f;
  case RR_FILL_DENORMAL: return value * 1e-40f;
  case RR_FILL_ZERO: return 0.0f;
  case RR_FILL_MIXED: return step(seed) % 7 == 0 ? 0.0f : value * powers[step(seed) % 5];
  }
  return value;
}

static float w_value(rr_fill fill, uint32_t *seed) {
  float value = uniform(seed);
  return fill == RR_FILL_LARGE ? value * 1e17f : fill == RR_FILL_TINY ? value * 1e-21f : value;
}

static size_t matrix(size_t rows, size_t cols, size_t ld) { return (rows - 1) * ld + cols; }

static float *vector(size_t size, uint32_t seed) {
  float *data = rr_guarded(size * sizeof *data, false);
  for (size_t i = 0; i < size; i++) {
    data[i] = uniform(&seed);
  }
  return data;
}

rr_product rr_product_make(size_t m, size_t n, size_t k, rr_fill fill, uint32_t seed) {
  rr_product p = {.m = m, .n = n, .k = k, .ldx = k + GAP, .ld_out = n + GAP};
  p.x = rr_guarded(matrix(m, k, p.ldx) * sizeof *p.x, false);
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < k; j++) {
      p.x[i * p.ldx + j] = x_value(fill, &seed);
    }
  }
  p.w = rr_guarded(n * k * sizeof *p.w, false);
  for (size_t i = 0; i < n * k; i++) {
    p.w[i] = w_value(fill, &seed);
  }
  p.bias = vector(n, seed + 1);
  p.residual = vector(matrix(m, n, p.ld_out), seed + 2);
  p.gamma = vector(n, seed + 3);
  p.beta = vector(n, seed + 4);
  p.out = rr_guarded(matrix(m, n, p.ld_out) * sizeof *p.out, false);
  return p;
}

void rr_product_free(rr_product *p) {
  rr_guarded_free(p->out, matrix(p->m, p->n, p->ld_out) * sizeof *p->out, false);
  rr_guarded_free(p->beta, p->n * sizeof *p->beta, false);
  rr_guarded_free(p->gamma, p->n * sizeof *p->gamma, false);
  rr_guarded_free(p->residual, matrix(p->m, p->n, p->ld_out) * sizeof *p->residual, false);
  rr_guarded_free(p->bias, p->n * sizeof *p->bias, false);
  rr_guarded_free(p->w, p->n * p->k * sizeof *p->w, false);
  rr_guarded_free(p->x, matrix(p->m, p->k, p->ldx) * sizeof *p->x, false);
}

static rr_activation activation_of(rr_epilogue epilogue) {
  switch (epilogue) {
  case RR_EPILOGUE_RELU: return RR_ACTIVATION_RELU;
  case RR_EPILOGUE_TANH: return RR_ACTIVATION_TANH;
  case RR_EPILOGUE_GELU_ERF: return RR_ACTIVATION_GELU_ERF;
  case RR_EPILOGUE_GELU_TANH: return RR_ACTIVATION_GELU_TANH;
  case RR_EPILOGUE_NONE:
  case RR_EPILOGUE_BIAS:
  case RR_EPILOGUE_NORM:
  case RR_EPILOGUE_NORM_WITHOUT_BIAS: break;
  }
  return RR_ACTIVATION_NONE;
}

static bool is_norm(rr_epilogue epilogue) { return epilogue >= RR_EPILOGUE_NORM; }

static bool has_bias(rr_epilogue epilogue) {
  return epilogue != RR_EPILOGUE_NONE && epilogue != RR_EPILOGUE_NORM_WITHOUT_BIAS;
}

void rr_product_run(const rr_product *p, const rr_gemm *gemm, const rr_rowops *rowops,
                    rr_epilogue epilogue, size_t first, size_t rows, float *out) {
  size_t packed_size = gemm->packed_size(p->n, p->k);
  size_t scratch_size = gemm->scratch_size(rows, p->n, p->k);
  void *packed = rr_guarded(packed_size, true);
  void *scratch = rr_guarded(scratch_size, true);
  gemm->pack(p->n, p->k, p->w, packed);
  rr_norm norm = {.gamma = p->gamma, .beta = p->beta, .epsilon = EPSILON};
  rr_gemm_args args = {.m = rows,
                       .n = p->n,
                       .k = p->k,
                       .x = p->x + first * p->ldx,
                       .ldx = p->ldx,
                       .packed = packed,
                       .bias = has_bias(epilogue) ? p->bias : NULL,
                       .activation = activation_of(epilogue),
                       .norm = is_norm(epilogue) ? &norm : NULL,
                       .residual = p->residual + first * p->ld_out,
                       .ld_residual = p->ld_out,
                       .out = out,
                       .ld_out = p->ld_out,
                       .rowops = rowops,
                       .scratch = scratch};
  gemm->run(&args);
  static const uint32_t canary = 0x5a5a5a5a;
  for (size_t i = 0; i + 1 < rows; i++) {
    for (size_t j = p->n; j < p->ld_out; j++) {
      assert_memory_equal(&out[i * p->ld_out + j], &canary, sizeof canary);
    }
  }
  rr_guarded_free(scratch, scratch_size, true);
  rr_guarded_free(packed, packed_size, true);
}

/* The format's view of an operand, worked out apart from the kernels' own code. */
static double bf16(float value) {
  int exponent;
  double fraction = frexp((double)value, &exponent);
  int digits = exponent < -125 ? 8 + 125 + exponent : 8; /* denormals have fewer */
  return ldexp(nearbyint(ldexp(fraction, digits)), exponent - digits);
}

/* int8: scale and q of a column of weights, by quantize.h's rule. */
static float quantise_weights(size_t k, const float *values, double *ret_q) {
  float most = 0.0f;
  for (size_t i = 0; i < k; i++) {
    most = fmaxf(most, fabsf(values[i]));
  }
  bool counts = most >= 0x1p-100f;
  float inverse = counts ? 127.0f / most : 0.0f;
  for (size_t i = 0; i < k; i++) {
    ret_q[i] = (double)nearbyintf(values[i] * inverse);
  }
  return counts ? most / 127.0f : 0.0f;
}

/* int8: scale, least value and q of a row, by quantize.h's rule. */
static rr_row_scale quantise_row(size_t k, const float *values, double *ret_q) {
  float low = 0.0f;
  float high = 0.0f;
  for (size_t i = 0; i < k; i++) {
    low = fminf(low, values[i]);
    high = fmaxf(high, values[i]);
  }
  float range = high - low;
  bool counts = range >= 0x1p-100f;
  float inverse = counts ? 255.0f / range : 0.0f;
  for (size_t i = 0; i < k; i++) {
    ret_q[i] = (double)nearbyintf(fmaf(values[i], inverse, -low * inverse));
  }
  return counts ? (rr_row_scale){.scale = range / 255.0f, .low = low} : (rr_row_scale){0.0f, 0.0f};
}

/* What the product is without its epilogue, and how far from it a sum of its format may be. */
typedef struct truth {
  double *exact;
  double *bound;
} truth;

/* k products and k sums, each with an error of one unit (of two where an instruction may round to
 * odd) of what has been summed so far. Denormals: each step may lose a denormal's last place, or,
 * by instructions that take bf16's denormals as zero, the whole operand. */
static void sum_floats(const rr_product *p, rr_format format, size_t i, size_t j, truth *t) {
  bool rounds = format == RR_FORMAT_BF16;
  double exact = 0.0;
  double size = 0.0;
  double lost = 0.0;
  for (size_t l = 0; l < p->k; l++) {
    float x = p->x[i * p->ldx + l];
    float w = p->w[j * p->k + l];
    double product = rounds ? bf16(x) * bf16(w) : (double)x * (double)w;
    exact += product;
    size += fabs(product);
    lost += rounds ? (1.0 + fabs((double)x) + fabs((double)w)) * (double)FLT_MIN : 2.0 * 0x1p-149;
  }
  t->exact[i * p->n + j] = exact;
  t->bound[i * p->n + j] = (rounds ? 2.0 : 1.0) * UNIT * (double)(p->k + 2) * size + lost;
}

/* Both sums are exact; turning them into floats, the scales' product and theirs round. */
static void sum_int8(const rr_product *p, size_t i, size_t j, const double *x, rr_row_scale x_scale,
                     const double *w, float w_scale, truth *t) {
  double sum = 0.0;
  double w_sum = 0.0;
  for (size_t l = 0; l < p->k; l++) {
    sum += x[l] * w[l];
    w_sum += w[l];
  }
  double above = sum * (double)x_scale.scale * (double)w_scale;
  double below = w_sum * (double)x_scale.low * (double)w_scale;
  t->exact[i * p->n + j] = above + below;
  t->bound[i * p->n + j] =
      4.0 * UNIT * (fabs(above) + 2.0 * fabs(below)) +
      (fabs(sum) + fabs(w_sum) * (fabs((double)x_scale.low) + 1.0)) * 0x1p-149 + 0x1p-149;
}

static truth truth_of(const rr_product *p, rr_format format) {
  truth t = {.exact = malloc(p->m * p->n * sizeof(double)),
             .bound = malloc(p->m * p->n * sizeof(double))};
  double *x = malloc(p->k * sizeof *x);
  double *w = malloc(p->n * p->k * sizeof *w);
  float *w_scales = malloc(p->n * sizeof *w_scales);
  assert_true(t.exact != NULL && t.bound != NULL && x != NULL && w != NULL && w_scales != NULL);
  for (size_t j = 0; j < p->n; j++) {
    w_scales[j] = quantise_weights(p->k, p->w + j * p->k, w + j * p->k);
  }
  for (size_t i = 0; i < p->m; i++) {
    rr_row_scale x_scale = quantise_row(p->k, p->x + i * p->ldx, x);
    for (size_t j = 0; j < p->n; j++) {
      if (format == RR_FORMAT_INT8) {
        sum_int8(p, i, j, x, x_scale, w + j * p->k, w_scales[j], &t);
      } else {
        sum_floats(p, format, i, j, &t);
      }
    }
  }
  free(w_scales);
  free(w);
  free(x);
  return t;
}

static double activated(rr_epilogue epilogue, double x) {
  switch (epilogue) {
  case RR_EPILOGUE_RELU: return x > 0.0 ? x : 0.0;
  case RR_EPILOGUE_TANH: return tanh(x);
  case RR_EPILOGUE_GELU_ERF: return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
  case RR_EPILOGUE_GELU_TANH:
    return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
  case RR_EPILOGUE_NONE:
  case RR_EPILOGUE_BIAS:
  case RR_EPILOGUE_NORM:
  case RR_EPILOGUE_NORM_WITHOUT_BIAS: break;
  }
  return x;
}

static void assert_within(const rr_gemm *gemm, const rr_product *p, rr_epilogue epilogue, size_t i,
                          size_t j, double want, double bound) {
  double got = (double)p->out[i * p->ld_out + j];
  if (!(fabs(got - want) <= bound)) {
    fail_msg(
        "%s, %zu x %zu x %zu, epilogue %d: output %zu, %zu is %.9g instead of %.9g (bound %.3g)",
        gemm->name, p->m, p->n, p->k, (int)epilogue, i, j, got, want, bound);
  }
}

/* The slope of an activation is at most 1.13; its own error is in rowops_math.h. */
static void check_row(const rr_product *p, const rr_gemm *gemm, rr_epilogue epilogue,
                      const truth *t, size_t i) {
  for (size_t j = 0; j < p->n; j++) {
    double bias = has_bias(epilogue) ? (double)p->bias[j] : 0.0;
    double sum = t->exact[i * p->n + j] + bias;
    double bound = t->bound[i * p->n + j];
    bound += has_bias(epilogue) ? 2.0 * UNIT * (fabs(sum) + fabs(bias)) : 0.0;
    if (activation_of(epilogue) != RR_ACTIVATION_NONE) {
      bound = 1.13 * bound + 3e-7 * (1.0 + fabs(sum));
    }
    assert_within(gemm, p, epilogue, i, j, activated(epilogue, sum), bound);
  }
}

/* With v = sum + bias + residual known to within `error`, z = (v - mean) / deviation is known to
 * within 2 error / deviation in each of its parts, and as much again times |z| through the
 * deviation; float sums over n values add n + 8 roundings. */
static void check_normed_row(const rr_product *p, const rr_gemm *gemm, rr_epilogue epilogue,
                             const truth *t, double *v, size_t i) {
  double mean = 0.0;
  double variance = 0.0;
  double error = 0.0;
  double most = 0.0;
  for (size_t j = 0; j < p->n; j++) {
    double bias = has_bias(epilogue) ? (double)p->bias[j] : 0.0;
    double residual = (double)p->residual[i * p->ld_out + j];
    double sum = t->exact[i * p->n + j];
    v[j] = sum + bias + residual;
    mean += v[j] / (double)p->n;
    most = fmax(most, fabs(v[j]));
    error = fmax(error,
                 t->bound[i * p->n + j] + 3.0 * UNIT * (fabs(sum) + fabs(bias) + fabs(residual)));
  }
  for (size_t j = 0; j < p->n; j++) {
    variance += (v[j] - mean) * (v[j] - mean) / (double)p->n;
  }
  double deviation = sqrt(variance + (double)EPSILON);
  double n = (double)p->n;
  error += UNIT * (n + 2.0) * most;
  for (size_t j = 0; j < p->n; j++) {
    double z = (v[j] - mean) / deviation;
    double z_error = 2.0 * error / deviation * (1.0 + fabs(z)) + UNIT * (n + 8.0) * fabs(z);
    double want = z * (double)p->gamma[j] + (double)p->beta[j];
    double bound =
        fabs((double)p->gamma[j]) * z_error + 2.0 * UNIT * (fabs(want) + fabs((double)p->beta[j]));
    assert_within(gemm, p, epilogue, i, j, want, bound);
  }
}

/* A norm of large values overflows, of tiny ones it is the residual's. */
static bool suits(rr_epilogue epilogue, rr_fill fill) {
  return fill != RR_FILL_LARGE || epilogue <= RR_EPILOGUE_RELU;
}

void rr_product_check(const rr_product *p, const rr_gemm *gemm, const rr_rowops *rowops,
                      rr_fill fill) {
  truth t = truth_of(p, gemm->format);
  double *v = malloc(p->n * sizeof *v);
  assert_non_null(v);
  for (int e = 0; e < RR_EPILOGUES; e++) {
    rr_epilogue epilogue = (rr_epilogue)e;
    if (!suits(epilogue, fill)) {
      continue;
    }
    rr_product_run(p, gemm, rowops, epilogue, 0, p->m, p->out);
    for (size_t i = 0; i < p->m; i++) {
      if (is_norm(epilogue)) {
        check_normed_row(p, gemm, epilogue, &t, v, i);
      } else {
        check_row(p, gemm, epilogue, &t, i);
      }
    }
  }
  free(v);
  free(t.bound);
  free(t.exact);
}
