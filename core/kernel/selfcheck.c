#include "core/kernel/selfcheck.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/kernel/kernel.h"

/* Sizes with tails in every kernel's rows, columns and depths; rows are PADDING longer than used. */
enum { ROWS = 45, COLS = 83, DEPTH = 131, PADDING = 3, LD = DEPTH + PADDING, OUTPUTS = ROWS * LD };

typedef struct vectors {
  float x[ROWS * LD];
  float w[COLS * DEPTH];
  float residual[ROWS * LD];
  float bias[LD];
  float gamma[LD];
  float beta[LD];
  float want[OUTPUTS];
  float got[OUTPUTS];
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

/* One head of ROWS queries and keys, and every activation, of both; outputs of both halves of the
 * comparison lie where a product's would. */
static rr_status run_rowops(const rr_rowops *rowops, const vectors *v, rr_activation activation,
                            float *out, rr_error *err) {
  enum { HEAD = 37 };
  float *scratch = rr_alloc_aligned(rr_attention_scratch(ROWS, HEAD) * sizeof *scratch);
  if (scratch == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the kernels' self-check");
  }
  rr_attention_args attention = {.queries = ROWS, .keys = ROWS, .head_size = HEAD, .q = v->x, .ldq = LD,
                                 .k = v->x + HEAD, .ldk = LD, .v = v->x + 2 * HEAD, .ldv = LD,
                                 .scale = 0.5f, .out = out, .ld_out = LD, .scratch = scratch};
  rr_norm_args norm = {.rows = ROWS, .cols = COLS - HEAD, .x = v->x, .ldx = LD, .bias = v->bias,
                       .residual = v->residual, .ld_residual = LD,
                       .norm = {.gamma = v->gamma, .beta = v->beta, .epsilon = 1e-6f},
                       .out = out + HEAD, .ld_out = LD};
  rowops->attention(&attention);
  rowops->norm(&norm);
  rowops->activate(activation, v->bias, ROWS, COLS, out, LD);
  spoil(rowops->name, out);
  rr_free(scratch);
  return RR_OK;
}

static rr_status check_rowops(const rr_rowops *rowops, vectors *v, bool *ret_good, rr_error *err) {
  static const rr_activation activations[] = {RR_ACTIVATION_NONE, RR_ACTIVATION_RELU, RR_ACTIVATION_TANH,
                                              RR_ACTIVATION_GELU_ERF, RR_ACTIVATION_GELU_TANH};
  bool good = true;
  for (size_t a = 0; good && a < sizeof activations / sizeof activations[0]; a++) {
    fill(OUTPUTS, 7, v->want);
    fill(OUTPUTS, 7, v->got);
    rr_status status = run_rowops(rr_rowops_find("generic"), v, activations[a], v->want, err);
    if (status == RR_OK) {
      status = run_rowops(rowops, v, activations[a], v->got, err);
    }
    if (status != RR_OK) {
      return status;
    }
    for (size_t i = 0; good && i < OUTPUTS; i++) {
      good = fabs((double)v->got[i] - (double)v->want[i]) <= 2e-5;
    }
  }
  *ret_good = good;
  return RR_OK;
}

/* Appends to the line; what does not fit is left out. */
static void note(char text[RR_SELFCHECK_TEXT_MAX], const char *failed, const char *instead) {
  size_t used = strlen(text);
  (void)snprintf(text + used, RR_SELFCHECK_TEXT_MAX - used,
                 "%s%s computes wrong results on this CPU, %s takes its place", used > 0 ? "; " : "",
                 failed, instead);
}

static rr_status settle_rowops(vectors *v, char text[RR_SELFCHECK_TEXT_MAX], rr_error *err) {
  const rr_rowops *rowops;
  bool good = false;
  while (!good && (rowops = rr_rowops_best()) != rr_rowops_find("generic")) {
    rr_status status = check_rowops(rowops, v, &good, err);
    if (status != RR_OK) {
      return status;
    }
    if (!good) {
      rr_rowops_reject(rowops);
      note(text, rowops->name, rr_rowops_best()->name);
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
  rr_status status = settle_rowops(v, text, err);
  for (int format = 0; status == RR_OK && format < RR_FORMATS; format++) {
    status = settle_gemm((rr_format)format, v, text, err);
  }
  rr_free(v);
  return status;
}
