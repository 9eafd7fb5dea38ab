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

/* Sizes with tails in every kernel's rows, columns and depths; rows are PADDING longer than
 * used. */
enum { ROWS = 45, COLS = 83, DEPTH = 131, PADDING = 3, LD = DEPTH + PADDING, OUTPUTS = ROWS * LD };
/* Of attention: its queries, keys and values fit a row of x side by side. */
enum { HEAD = 32 };
enum { FINISH_ROWS = 7 };
/* Of late interaction: its queries are rows of w. */
enum { QUERIES = 37, STORED_MAX = ROWS * (DEPTH + 8) * 4 };
/* No kernel has to pad it: bfloat16 is read where it lies. */
enum { WHOLE_DEPTH = 128 };

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
  _Alignas(float) char tokens[STORED_MAX];
  _Alignas(float) char queries[STORED_MAX];
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
  for (size_t i = 0; i < ROWS * LD; i++) {
    v->half_x[i] = rr_bf16_from_float(v->x[i]);
  }
  for (size_t i = 0; i < ROWS; i++) {
    v->x_size[i] = length(DEPTH, v->x + i * LD);
  }
  for (size_t j = 0; j < COLS; j++) {
    v->w_size[j] = length(DEPTH, v->w + j * DEPTH);
  }
}

/* One product to compare. */
typedef struct product {
  size_t rows;
  size_t depth;
  rr_activation activation;
  const rr_norm *norm;
  bool half;    /* x in bfloat16 */
  bool precise; /* x in two parts */
  double scale; /* tolerances that the outputs may differ by */
} product;

static rr_status run(const rr_gemm *gemm, const rr_rowops *rowops, const vectors *v,
                     const product *of, float *out, rr_error *err) {
  size_t scratch = gemm->scratch_size(of->rows, COLS, of->depth);
  void *packed = rr_alloc_aligned(gemm->packed_size(COLS, of->depth));
  void *workspace = rr_alloc_aligned(scratch);
  rr_status status = RR_OK;
  if (packed == NULL || workspace == NULL) {
    status = rr_fail(err, RR_ERR_MEMORY, "out of memory for the kernels' self-check");
  } else {
    gemm->pack(COLS, of->depth, v->w, packed);
    rr_gemm_args args = {.m = of->rows,
                         .n = COLS,
                         .k = of->depth,
                         .x_type = of->half ? RR_TYPE_BF16 : RR_TYPE_FP32,
                         .x = of->half ? (const void *)v->half_x : v->x,
                         .ldx = LD,
                         .precise = of->precise,
                         .packed = packed,
                         .bias = v->bias,
                         .activation = of->activation,
                         .norm = of->norm,
                         .residual = v->residual,
                         .ld_residual = LD,
                         .out = out,
                         .ld_out = LD,
                         .rowops = rowops,
                         .scratch = workspace};
    gemm->run(&args);
    spoil(gemm->name, out);
  }
  rr_free(workspace);
  rr_free(packed);
  return status;
}

/* What two sums of the same products may differ by. Each errs by at most (k + 2) epsilon times the
 * sum of the products' magnitudes, which the lengths of both operands bound; int8 sums are exact,
 * and its epilogue rounds three times. */
static double tolerance(const rr_gemm *gemm, const vectors *v, size_t row, size_t col) {
  double roundings = gemm->format == RR_FORMAT_INT8 ? 4.0 : 2.0 * (DEPTH + 2);
  return roundings * (double)FLT_EPSILON * (v->x_size[row] * v->w_size[col] + 1.0);
}

/* Allows for `scale` tolerances, and for the activation's own error. Where there is nothing to
 * compare, what was there before must still be. */
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

/* LayerNorm divides by the deviation, here above 1/4 in every row, and multiplies by gamma, below
 * 1; a value up to 3 deviations away makes that 16 tolerances at most. */
static rr_status check_gemm(const rr_gemm *gemm, vectors *v, bool *ret_good, rr_error *err) {
  const rr_norm norm = {.gamma = v->gamma, .beta = v->beta, .epsilon = 1e-6f};
  const product cases[] = {
      {ROWS, DEPTH, RR_ACTIVATION_NONE, NULL, false, false, 1.0},
      {1, DEPTH, RR_ACTIVATION_NONE, NULL, false, false, 1.0},
      {ROWS, DEPTH, RR_ACTIVATION_GELU_ERF, NULL, false, false, 1.2},
      {ROWS - 1, DEPTH, RR_ACTIVATION_NONE, &norm, false, false, 16.0},
      {ROWS, WHOLE_DEPTH, RR_ACTIVATION_NONE, NULL, true, false, 1.0},
      {ROWS - 2, DEPTH, RR_ACTIVATION_NONE, NULL, false, true, 8.0},
  };
  bool good = true;
  for (size_t i = 0; good && i < sizeof cases / sizeof cases[0]; i++) {
    if (cases[i].half && gemm->format == RR_FORMAT_FP32) {
      continue; /* takes float32 only */
    }
    fill(OUTPUTS, 7, v->want);
    fill(OUTPUTS, 7, v->got);
    rr_status status =
        run(portable(gemm->format), rr_rowops_find("generic"), v, &cases[i], v->want, err);
    if (status == RR_OK) {
      status = run(gemm, rr_rowops_best(), v, &cases[i], v->got, err);
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
static void run_rowops(const rr_rowops *rowops, const vectors *v, rr_activation activation,
                       float *out) {
  rr_norm_args norm = {.rows = ROWS,
                       .cols = COLS,
                       .x = v->x,
                       .ldx = LD,
                       .bias = v->bias,
                       .residual = v->residual,
                       .ld_residual = LD,
                       .norm = {.gamma = v->gamma, .beta = v->beta, .epsilon = 1e-6f},
                       .out = out,
                       .ld_out = LD};
  rowops->norm(&norm);
  rowops->activate(activation, v->bias, ROWS, COLS, out, LD);
  spoil(rowops->name, out);
}

/* The end of a tile of FINISH_ROWS x width, its last column but three not live: int8 or not, with
 * or without GELU or a zero point, into either type. Where that rounds, an activation may be off by
 * 1.5e-4 before (kernel.h) and by a step after. */
static void run_finish(const rr_rowops *rowops, const vectors *v, size_t width, unsigned which,
                       rr_type type, void *out) {
  _Alignas(64) float sums[FINISH_ROWS * RR_FINISH_COLS_MAX];
  rr_row_scale scales[FINISH_ROWS];
  int32_t w_sum[RR_FINISH_COLS_MAX];
  bool int8 = (which & 1u) != 0;
  for (size_t i = 0; i < FINISH_ROWS * width; i++) {
    int32_t integer = (int32_t)(v->x[i] * 1000.0f);
    memcpy(&sums[i], int8 ? (const void *)&integer : (const void *)&v->w[i], sizeof sums[i]);
  }
  for (size_t i = 0; i < FINISH_ROWS; i++) {
    scales[i] = (rr_row_scale){.scale = 0.004f + 0.001f * (float)i, .low = -0.1f * (float)i};
  }
  for (size_t j = 0; j < width; j++) {
    w_sum[j] = (int32_t)(v->gamma[j] * 10.0f);
  }
  rr_finish_args args = {.rows = FINISH_ROWS,
                         .cols = width - 3,
                         .width = width,
                         .sums = sums,
                         .bias = v->bias,
                         .x_scale = int8 ? scales : NULL,
                         .w_scale = v->beta,
                         .w_sum = w_sum,
                         .zero_point = (which & 4u) != 0 ? 2 : 0,
                         .activation =
                             (which & 2u) != 0 ? RR_ACTIVATION_GELU_ERF : RR_ACTIVATION_NONE,
                         .out_type = type,
                         .out = out,
                         .ld_out = LD};
  rowops->finish(&args);
}

static bool check_finish(const rr_rowops *rowops, vectors *v) {
  static const size_t widths[] = {16, 32, 64};
  bool good = true;
  for (unsigned which = 0; good && which < 8 * sizeof widths / sizeof widths[0]; which++) {
    size_t width = widths[which / 8];
    memset(v->half_out, 0, sizeof v->half_out);
    fill(OUTPUTS, 7, v->want);
    fill(OUTPUTS, 7, v->got);
    run_finish(rr_rowops_find("generic"), v, width, which, RR_TYPE_FP32, v->want);
    run_finish(rowops, v, width, which, RR_TYPE_FP32, v->got);
    run_finish(rowops, v, width, which, RR_TYPE_BF16, v->half_out);
    for (size_t i = 0; good && i < FINISH_ROWS * LD; i++) {
      double want = (double)v->want[i];
      double rounded = i % LD < width - 3 ? want : 0.0; /* nothing else is written */
      good = fabs((double)v->got[i] - want) <= 2e-5 &&
             fabs((double)rr_bf16_to_float(v->half_out[i]) - rounded) <=
                 (rounded == 0.0 ? 1.5e-4 : 1.5e-4 + fabs(want) / 128.0);
    }
  }
  return good;
}

/* Rounding to bfloat16, and what that and eight bits lose. */
static bool check_rounding(const rr_rowops *rowops, vectors *v) {
  const rr_rowops *plain = rr_rowops_find("generic");
  rowops->round(ROWS, LD, v->x, LD, v->half_x, LD);
  plain->round(ROWS, LD, v->x, LD, v->half_out, LD);
  bool good = memcmp(v->half_x, v->half_out, sizeof v->half_x) == 0;
  for (int int8 = 0; good && int8 < 2; int8++) {
    memcpy(v->want, v->x, sizeof v->want);
    memcpy(v->got, v->x, sizeof v->got);
    plain->residue(int8 == 1, OUTPUTS, v->want);
    rowops->residue(int8 == 1, OUTPUTS, v->got);
    for (size_t i = 0; good && i < OUTPUTS; i++) {
      good = fabs((double)v->got[i] - (double)v->want[i]) <= 1e-6;
    }
  }
  return good;
}

static bool check_rowops(const rr_rowops *rowops, vectors *v) {
  static const rr_activation activations[] = {RR_ACTIVATION_NONE, RR_ACTIVATION_RELU,
                                              RR_ACTIVATION_TANH, RR_ACTIVATION_GELU_ERF,
                                              RR_ACTIVATION_GELU_TANH};
  bool good = check_finish(rowops, v) && check_rounding(rowops, v);
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

/* One head of ROWS queries and keys, of values that bfloat16 can hold, in float32 or through
 * `halves`. */
static rr_status run_attention(const rr_attention *attention, vectors *v, float *out,
                               rr_error *err) {
  bool reduced = attention->type == RR_TYPE_BF16;
  const void *x = reduced ? (const void *)v->half_x : v->x;
  size_t element = rr_type_size(attention->type);
  void *scratch = rr_alloc_aligned(attention->scratch_size(ROWS, HEAD));
  if (scratch == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the kernels' self-check");
  }
  rr_attention_args args = {.queries = ROWS,
                            .keys = ROWS,
                            .head_size = HEAD,
                            .q = x,
                            .ldq = LD,
                            .k = (const char *)x + HEAD * element,
                            .ldk = LD,
                            .v = (const char *)x + 2 * HEAD * element,
                            .ldv = LD,
                            .scale = 0.5f,
                            .out = reduced ? (void *)v->half_out : out,
                            .ld_out = LD,
                            .scratch = scratch};
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
static rr_status check_attention(const rr_attention *attention, vectors *v, bool *ret_good,
                                 rr_error *err) {
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

/* The maxima of QUERIES rows of w over all rows of x. */
static rr_status run_maxsim(const rr_maxsim *maxsim, vectors *v, float *best, rr_error *err) {
  void *packed = rr_alloc_aligned(maxsim->packed_size(QUERIES, DEPTH));
  if (packed == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the kernels' self-check");
  }
  size_t size = maxsim->row_size(DEPTH);
  for (size_t i = 0; i < ROWS; i++) {
    maxsim->store(DEPTH, v->x + i * LD, v->tokens + i * size);
  }
  for (size_t j = 0; j < QUERIES; j++) {
    maxsim->store(DEPTH, v->w + j * DEPTH, v->queries + j * size);
  }
  maxsim->pack(QUERIES, DEPTH, v->queries, packed);
  rr_maxsim_args args = {.queries = QUERIES,
                         .rows = ROWS,
                         .dim = DEPTH,
                         .packed = packed,
                         .tokens = v->tokens,
                         .best = best};
  maxsim->run(&args);
  if (faulty != NULL && strcmp(faulty, maxsim->name) == 0) {
    best[QUERIES - 1] += 0.1f;
  }
  rr_free(packed);
  return RR_OK;
}

/* Vectors are up to sqrt(DEPTH) long, so that sums differ by up to (DEPTH + 2) epsilon times DEPTH;
 * where a value lies between two steps of 1 / 127, one may be stored as the other. */
static rr_status check_maxsim(const rr_maxsim *maxsim, vectors *v, bool *ret_good, rr_error *err) {
  static const char *const generic[RR_FORMATS] = {"maxsim-fp32-generic", "maxsim-bf16-generic",
                                                  "maxsim-int8-generic"};
  double bound = maxsim->format == RR_FORMAT_INT8 ? 1.01 / 127.0
                                                  : 2.0 * (DEPTH + 2) * DEPTH * (double)FLT_EPSILON;
  fill(OUTPUTS, 7, v->want);
  fill(OUTPUTS, 7, v->got);
  rr_status status = run_maxsim(rr_maxsim_find(generic[maxsim->format]), v, v->want, err);
  if (status == RR_OK) {
    status = run_maxsim(maxsim, v, v->got, err);
  }
  bool good = true;
  for (size_t i = 0; good && i < OUTPUTS; i++) {
    good = fabs((double)v->got[i] - (double)v->want[i]) <= (i < QUERIES ? bound : 0.0);
  }
  *ret_good = good;
  return status;
}

/* Appends to the line; what does not fit is left out. */
static void note(char text[RR_SELFCHECK_TEXT_MAX], const char *failed, const char *instead) {
  size_t used = strlen(text);
  (void)snprintf(text + used, RR_SELFCHECK_TEXT_MAX - used,
                 "%s%s computes wrong results on this CPU, %s takes its place",
                 used > 0 ? "; " : "", failed, instead);
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
  while (!good &&
         (attention = rr_attention_best(reduced, HEAD)) != rr_attention_find("fp32-generic")) {
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

static rr_status settle_maxsim(rr_format format, vectors *v, char text[RR_SELFCHECK_TEXT_MAX],
                               rr_error *err) {
  const rr_maxsim *maxsim;
  bool good = false;
  while (!good && strstr((maxsim = rr_maxsim_best(format))->name, "-generic") == NULL) {
    rr_status status = check_maxsim(maxsim, v, &good, err);
    if (status != RR_OK) {
      return status;
    }
    if (!good) {
      rr_maxsim_reject(maxsim);
      note(text, maxsim->name, rr_maxsim_best(format)->name);
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
    if (status == RR_OK) {
      status = settle_maxsim((rr_format)format, v, text, err);
    }
  }
  rr_free(v);
  return status;
}
