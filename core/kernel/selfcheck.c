#include "core/kernel/selfcheck.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/kernel/bf16.h"
#include "core/kernel/kernel.h"

/* Sizes with tails in every kernel's rows, columns and depths; rows are PADDING longer than used. */
enum { ROWS = 45, COLS = 83, DEPTH = 131, PADDING = 3, LD = DEPTH + PADDING, OUTPUTS = ROWS * LD };
/* Of attention: its queries, keys and values fit a row of x side by side. */
enum { HEAD = 32 };

typedef struct vectors {
  float x[ROWS * LD];
  float w[COLS * DEPTH];
  float residual[ROWS * LD];
  float bias[LD];
  float gamma[LD];
  float beta[LD];
  float want[OUTPUTS];
  float got[OUTPUTS];
  uint16_t half_x[ROWS * LD];
  uint16_t half_out[ROWS * LD];
  double x_size[ROWS]; /* Euclidean lengths of the rows of x and w */
  double w_size[COLS];
} vectors;

static const char *faulty;

void rr_selfcheck_fault(const char *name) { faulty = name; }

static void spoil(const char *name, float *outputs) {
  if (faulty != NULL && strcmp(faulty, name) == 0) {
    outputs[ROWS / 2 * LD + COLS - 1] += 0.01f;
  }
}

static void fill(size_t size, uint32_t seed, float *values) {
  for (size_t i = 0; i < size; i++) {
    seed = seed * 1664525u + 1013904223u;
    values[i] = (float)(seed >> 8) / (float)(1u << 23) - 1.0f;
  }
}

static double length(size_t size, const float *values) {
  double squares = 0.0;
  for (size_t i = 0; i < size; i++) {
    squares += (double)values[i] * (double)values[i];
  }
  return sqrt(squares);
}

static void fill_all(vectors *v) {
  fill(ROWS * LD, 1, v->x);
  fill(COLS * DEPTH, 2, v->w);
  fill(ROWS * LD, 3, v->residual);
  fill(LD, 4, v->bias);
  fill(LD, 5, v->gamma);
  fill(LD, 6, v->beta);
  memset(v->x + 3 * LD, 0, LD * sizeof *v->x); /* a row without a scale */
  for (size_t i = 0; i < ROWS; i++) {
    v->x_size[i] = length(DEPTH, v->x + i * LD);
  }
  for (size_t j = 0; j < COLS; j++) {
    v->w_size[j] = length(DEPTH, v->w + j * DEPTH);
  }
}

static rr_status run(const rr_gemm *gemm, const rr_rowops *rowops, const vectors *v, size_t rows,
                     rr_activation activation, const rr_norm *norm, float *out, rr_error *err) {
  size_t scratch = gemm->scratch_size(rows, COLS, DEPTH);
  void *packed = rr_alloc_aligned(gemm->packed_size(COLS, DEPTH));
  void *workspace = rr_alloc_aligned(scratch);
  rr_status status = RR_OK;
  if (packed == NULL || workspace == NULL) {
    status = rr_fail(err, RR_ERR_MEMORY, "out of memory for the kernels' self-check");
  } else {
    gemm->pack(COLS, DEPTH, v->w, packed);
    rr_gemm_args args = {.m = rows, .n = COLS, .k = DEPTH, .x = v->x, .ldx = LD, .packed = packed,
                         .bias = v->bias, .activation = activation, .norm = norm,
                         .residual = v->residual, .ld_residual = LD, .out = out, .ld_out = LD,
                         .rowops = rowops, .scratch = workspace};
    gemm->run(&args);
    spoil(gemm->name, out);
  }
  rr_free(workspace);
  rr_free(packed);
  return status;
}

/* What two sums of the same products may differ by. Each errs by at most (k + 2) epsilon times the sum
 * of the products' magnitudes, which the lengths of both operands bound; int8 sums are exact, and its
 * epilogue rounds three times. */
static double tolerance(const rr_gemm *gemm, const vectors *v, size_t row, size_t col) {
  double roundings = gemm->format == RR_FORMAT_INT8 ? 4.0 : 2.0 * (DEPTH + 2);
  return roundings * (double)FLT_EPSILON * (v->x_size[row] * v->w_size[col] + 1.0);
}

/* Allows for `scale` tolerances, and for the activation's own error. Where there is nothing to compare,
 * what was there before must still be. */
static bool agrees(const rr_gemm *gemm, const vectors *v, size_t rows, double scale) {
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < LD; j++) {
      double got = (double)v->got[i * LD + j];
      double want = (double)v->want[i * LD + j];
      double bound = j < COLS ? scale * tolerance(gemm, v, i, j) + 1e-6 * (1.0 + fabs(want)) : 0.0;
      if (!(fabs(got - want) <= bound)) {
        return false;
      }
    }
  }
  return true;
}

static const rr_gemm *portable(rr_format format) {
  static const char *const names[RR_FORMATS] = {"fp32-portable", "bf16-portable", "int8-portable"};
  return rr_gemm_find(names[format]);
}

/* LayerNorm divides by the deviation, here above 1/4 in every row, and multiplies by gamma, below 1; a
 * value up to 3 deviations away makes that 16 tolerances at most. */
static rr_status check_gemm(const rr_gemm *gemm, vectors *v, bool *ret_good, rr_error *err) {
  const rr_norm norm = {.gamma = v->gamma, .beta = v->beta, .epsilon = 1e-6f};
  const struct {
    size_t rows;
    rr_activation activation;
    const rr_norm *norm;
    double scale;
  } cases[] = {
      {ROWS, RR_ACTIVATION_NONE, NULL, 1.0},
      {1, RR_ACTIVATION_NONE, NULL, 1.0},
      {ROWS, RR_ACTIVATION_GELU_ERF, NULL, 1.2},
      {ROWS - 1, RR_ACTIVATION_NONE, &norm, 16.0},
  };
  bool good = true;
  for (size_t i = 0; good && i < sizeof cases / sizeof cases[0]; i++) {
    fill(OUTPUTS, 7, v->want);
    fill(OUTPUTS, 7, v->got);
    rr_status status = run(portable(gemm->format), rr_rowops_find("generic"), v, cases[i].rows,
                           cases[i].activation, cases[i].norm, v->want, err);
    if (status == RR_OK) {
      status = run(gemm, rr_rowops_best(), v, cases[i].rows, cases[i].activation, cases[i].norm, v->got,
                   err);
    }
    if (status != RR_OK) {
      return status;
    }
    good = agrees(gemm, v, cases[i].rows, cases[i].scale);
  }
  *ret_good = good;
  return RR_OK;
}

/* A norm, and every activation of it; outputs lie where a product's would. */
static void run_rowops(const rr_rowops *rowops, const vectors *v, rr_activation activation, float *out) {
  rr_norm_args norm = {.rows = ROWS, .cols = COLS, .x = v->x, .ldx = LD, .bias = v->bias,
                       .residual = v->residual, .ld_residual = LD,
                       .norm = {.gamma = v->gamma, .beta = v->beta, .epsilon = 1e-6f},
                       .out = out, .ld_out = LD};
  rowops->norm(&norm);
  rowops->activate(activation, v->bias, ROWS, COLS, out, LD);
  spoil(rowops->name, out);
}

static bool check_rowops(const rr_rowops *rowops, vectors *v) {
  static const rr_activation activations[] = {RR_ACTIVATION_NONE, RR_ACTIVATION_RELU, RR_ACTIVATION_TANH,
                                              RR_ACTIVATION_GELU_ERF, RR_ACTIVATION_GELU_TANH};
  bool good = true;
  for (size_t a = 0; good && a < sizeof activations / sizeof activations[0]; a++) {
    fill(OUTPUTS, 7, v->want);
    fill(OUTPUTS, 7, v->got);
    run_rowops(rr_rowops_find("generic"), v, activations[a], v->want);
    run_rowops(rowops, v, activations[a], v->got);
    for (size_t i = 0; good && i < OUTPUTS; i++) {
      good = fabs((double)v->got[i] - (double)v->want[i]) <= 2e-5;
    }
  }
  return good;
}

/* One head of ROWS queries and keys, of values that bfloat16 can hold, in float32 or through `halves`. */
static rr_status run_attention(const rr_attention *attention, vectors *v, float *out, rr_error *err) {
  bool reduced = attention->type == RR_TYPE_BF16;
  const void *x = reduced ? (const void *)v->half_x : v->x;
  size_t element = rr_type_size(attention->type);
  void *scratch = rr_alloc_aligned(attention->scratch_size(ROWS, HEAD));
  if (scratch == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the kernels' self-check");
  }
  rr_attention_args args = {.queries = ROWS, .keys = ROWS, .head_size = HEAD, .q = x, .ldq = LD,
                            .k = (const char *)x + HEAD * element, .ldk = LD,
                            .v = (const char *)x + 2 * HEAD * element, .ldv = LD, .scale = 0.5f,
                            .out = reduced ? (void *)v->half_out : out, .ld_out = LD, .scratch = scratch};
  attention->run(&args);
  for (size_t i = 0; reduced && i < ROWS; i++) {
    rr_bf16_expand(HEAD, v->half_out + i * LD, out + i * LD);
  }
  if (faulty != NULL && strcmp(faulty, attention->name) == 0) {
    out[ROWS / 2 * LD + HEAD - 1] += 0.1f;
  }
  rr_free(scratch);
  return RR_OK;
}

/* Values are below 1. Weights and the output rounded to bfloat16 err by 2^-9 each; twice that. */
static rr_status check_attention(const rr_attention *attention, vectors *v, bool *ret_good, rr_error *err) {
  double bound = attention->type == RR_TYPE_BF16 ? 4.0 / 512.0 : 1e-5;
  for (size_t i = 0; i < ROWS * LD; i++) {
    v->half_x[i] = rr_bf16_from_float(v->x[i]);
    v->x[i] = rr_bf16_to_float(v->half_x[i]);
  }
  fill(OUTPUTS, 7, v->want);
  fill(OUTPUTS, 7, v->got);
  rr_status status = run_attention(rr_attention_find("fp32-generic"), v, v->want, err);
  if (status == RR_OK) {
    status = run_attention(attention, v, v->got, err);
  }
  bool good = true;
  for (size_t i = 0; good && i < OUTPUTS; i++) {
    good = fabs((double)v->got[i] - (double)v->want[i]) <= bound;
  }
  *ret_good = good;
  return status;
}

/* Appends to the line; what does not fit is left out. */
static void note(char text[RR_SELFCHECK_TEXT_MAX], const char *failed, const char *instead) {
  size_t used = strlen(text);
  (void)snprintf(text + used, RR_SELFCHECK_TEXT_MAX - used,
                 "%s%s computes wrong results on this CPU, %s takes its place", used > 0 ? "; " : "",
                 failed, instead);
}

static void settle_rowops(vectors *v, char text[RR_SELFCHECK_TEXT_MAX]) {
  const rr_rowops *rowops;
  while ((rowops = rr_rowops_best()) != rr_rowops_find("generic") && !check_rowops(rowops, v)) {
    rr_rowops_reject(rowops);
    note(text, rowops->name, rr_rowops_best()->name);
  }
}

static rr_status settle_attention(bool reduced, vectors *v, char text[RR_SELFCHECK_TEXT_MAX],
                                  rr_error *err) {
  const rr_attention *attention;
  bool good = false;
  while (!good && (attention = rr_attention_best(reduced, HEAD)) != rr_attention_find("fp32-generic")) {
    rr_status status = check_attention(attention, v, &good, err);
    if (status != RR_OK) {
      return status;
    }
    if (!good) {
      rr_attention_reject(attention);
      note(text, attention->name, rr_attention_best(reduced, HEAD)->name);
    }
  }
  return RR_OK;
}

static rr_status settle_gemm(rr_format format, vectors *v, char text[RR_SELFCHECK_TEXT_MAX],
                             rr_error *err) {
  const rr_gemm *gemm;
  bool good = false;
  while (!good && (gemm = rr_gemm_best(format)) != portable(format)) {
    rr_status status = check_gemm(gemm, v, &good, err);
    if (status != RR_OK) {
      return status;
    }
    if (!good) {
      rr_gemm_reject(gemm);
      note(text, gemm->name, rr_gemm_best(format)->name);
    }
  }
  return RR_OK;
}

rr_status rr_selfcheck(char text[RR_SELFCHECK_TEXT_MAX], rr_error *err) {
  vectors *v = rr_calloc(1, sizeof *v);
  if (v == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the kernels' self-check");
  }
  fill_all(v);
  text[0] = '\0';
  settle_rowops(v, text);
  rr_status status = settle_attention(true, v, text, err);
  if (status == RR_OK) {
    status = settle_attention(false, v, text, err);
  }
  fill_all(v);
  for (int format = 0; status == RR_OK && format < RR_FORMATS; format++) {
    status = settle_gemm((rr_format)format, v, text, err);
  }
  rr_free(v);
  return status;
}
