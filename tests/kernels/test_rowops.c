/* Row operations of every instruction set against double precision: odd sizes, gaps between rows,
 * guards around every buffer. */
#include "tests/kernels/support.h"

#include <float.h>
#include <stdbool.h>

static const size_t widths[] = {1,  2,  3,  4,  7,  8,  15,  16,  17,
                                31, 32, 33, 63, 64, 65, 127, 384, 385};
enum { WIDTHS = sizeof widths / sizeof widths[0], ROWS = 3, GAP = 5 };

static double exact_activation(rr_activation activation, double x) {
  switch (activation) {
  case RR_ACTIVATION_NONE: return x;
  case RR_ACTIVATION_RELU: return x > 0.0 ? x : 0.0;
  case RR_ACTIVATION_TANH: return tanh(x);
  case RR_ACTIVATION_GELU_ERF: return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
  case RR_ACTIVATION_GELU_TANH:
    return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
  }
  return NAN;
}

static void check_activation(const rr_rowops *rowops, rr_activation activation, size_t cols,
                             bool with_bias) {
  size_t ld = cols + GAP;
  size_t size = ROWS * ld;
  float *x = random_floats(size, (uint32_t)cols, 9.0f);
  float *before = random_floats(size, (uint32_t)cols, 9.0f);
  float *bias = random_floats(cols, 77, 2.0f);
  rowops->activate(activation, with_bias ? bias : NULL, ROWS, cols, x, ld);
  for (size_t i = 0; i < size; i++) {
    size_t j = i % ld;
    if (j >= cols) {
      assert_true(x[i] == before[i]); /* the gap between two rows */
      continue;
    }
    double sum = with_bias ? (double)(before[i] + bias[j]) : (double)before[i];
    assert_close((double)x[i], exact_activation(activation, sum), 3e-7 * (1.0 + fabs(sum)),
                 "activation");
  }
  release(x, size);
  release(before, size);
  release(bias, cols);
}

static void activations_agree_with_double_precision(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  static const rr_activation all[] = {RR_ACTIVATION_NONE, RR_ACTIVATION_RELU, RR_ACTIVATION_TANH,
                                      RR_ACTIVATION_GELU_ERF, RR_ACTIVATION_GELU_TANH};
  for (size_t a = 0; a < sizeof all / sizeof all[0]; a++) {
    for (size_t w = 0; w < WIDTHS; w++) {
      check_activation(rowops, all[a], widths[w], true);
      check_activation(rowops, all[a], widths[w], false);
    }
  }
}

/* LayerNorm in double precision of values + a row's gamma and beta. */
static void exact_norm(size_t cols, const double *values, const rr_norm *norm, double *out) {
  double mean = 0.0;
  double variance = 0.0;
  for (size_t j = 0; j < cols; j++) {
    mean += values[j] / (double)cols;
  }
  for (size_t j = 0; j < cols; j++) {
    variance += (values[j] - mean) * (values[j] - mean) / (double)cols;
  }
  for (size_t j = 0; j < cols; j++) {
    double scaled = (values[j] - mean) / sqrt(variance + (double)norm->epsilon);
    out[j] = scaled * (double)norm->gamma[j] + (double)norm->beta[j];
  }
}

/* offset moves all values away from 0, where a variance of squares would lose its digits. */
static void check_norm(const rr_rowops *rowops, size_t cols, float offset, double bound) {
  size_t ld = cols + GAP;
  size_t size = ROWS * ld;
  float *x = random_floats(size, 1, 3.0f);
  float *residual = random_floats(size, 2, 3.0f);
  float *bias = random_floats(cols, 3, 1.0f);
  float *gamma = random_floats(cols, 4, 2.0f);
  float *beta = random_floats(cols, 5, 1.0f);
  float *out = guarded(size);
  double *values = calloc(cols, sizeof *values);
  double *want = calloc(cols, sizeof *want);
  assert_non_null(values);
  assert_non_null(want);
  for (size_t j = 0; j < cols; j++) {
    bias[j] += offset;
  }
  rr_norm_args args = {.rows = ROWS,
                       .cols = cols,
                       .x = x,
                       .ldx = ld,
                       .bias = bias,
                       .residual = residual,
                       .ld_residual = ld,
                       .norm = {.gamma = gamma, .beta = beta, .epsilon = 1e-12f},
                       .out = out,
                       .ld_out = ld};
  rowops->norm(&args);
  for (size_t i = 0; i < ROWS; i++) {
    for (size_t j = 0; j < cols; j++) {
      values[j] = (double)(x[i * ld + j] + bias[j] + residual[i * ld + j]);
    }
    exact_norm(cols, values, &args.norm, want);
    for (size_t j = 0; j < cols; j++) {
      assert_close((double)out[i * ld + j], want[j], bound, "norm");
    }
    for (size_t j = cols; j < ld; j++) {
      assert_true(out[i * ld + j] == CANARY);
    }
  }
  args.out = x; /* in place gives the same */
  rowops->norm(&args);
  for (size_t i = 0; i < ROWS; i++) {
    assert_memory_equal(x + i * ld, out + i * ld, cols * sizeof *x);
  }
  free(want);
  free(values);
  release(out, size);
  release(beta, cols);
  release(gamma, cols);
  release(bias, cols);
  release(residual, size);
  release(x, size);
}

static void norm_agrees_with_double_precision(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  for (size_t w = 4; w < WIDTHS; w++) { /* a variance needs a few values */
    check_norm(rowops, widths[w], 0.0f, 1e-5);
    check_norm(rowops, widths[w], 100.0f, 5e-4);
  }
}

static void embedding_sums_the_right_rows_and_normalises(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  const int32_t ids[] = {4, 0, 2, 4};
  const uint8_t types[] = {0, 1, 1, 0};
  for (size_t w = 4; w < WIDTHS; w++) {
    size_t cols = widths[w];
    float *word = random_floats(5 * cols, 1, 1.0f);
    float *position = random_floats(4 * cols, 2, 1.0f);
    float *type = random_floats(2 * cols, 3, 1.0f);
    float *gamma = random_floats(cols, 4, 2.0f);
    float *beta = random_floats(cols, 5, 1.0f);
    float *out = guarded(4 * cols);
    double values[512];
    double want[512];
    rr_embed_args args = {.length = 4,
                          .cols = cols,
                          .ids = ids,
                          .type_ids = types,
                          .word = word,
                          .position = position,
                          .type = type,
                          .norm = {.gamma = gamma, .beta = beta, .epsilon = 1e-12f},
                          .out = out,
                          .ld_out = cols};
    rowops->embed(&args);
    for (size_t i = 0; i < 4; i++) {
      for (size_t j = 0; j < cols; j++) {
        values[j] = (double)(word[(size_t)ids[i] * cols + j] + position[i * cols + j] +
                             type[types[i] * cols + j]);
      }
      exact_norm(cols, values, &args.norm, want);
      for (size_t j = 0; j < cols; j++) {
        assert_close((double)out[i * cols + j], want[j], 1e-5, "embedding");
      }
    }
    release(out, 4 * cols);
    release(beta, cols);
    release(gamma, cols);
    release(type, 2 * cols);
    release(position, 4 * cols);
    release(word, 5 * cols);
  }
}

static void mean_agrees_with_double_precision(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  for (size_t w = 0; w < WIDTHS; w++) {
    for (size_t rows = 1; rows < 300; rows = rows * 3 + 1) {
      size_t cols = widths[w];
      size_t ld = cols + GAP;
      float *x = random_floats(rows * ld, 1, 5.0f);
      float *out = guarded(cols);
      rowops->mean(rows, cols, x, ld, out);
      for (size_t j = 0; j < cols; j++) {
        double want = 0.0;
        for (size_t i = 0; i < rows; i++) {
          want += (double)x[i * ld + j] / (double)rows;
        }
        assert_close((double)out[j], want, 5.0 * (double)rows * (double)FLT_EPSILON, "mean");
      }
      release(out, cols);
      release(x, rows * ld);
    }
  }
}

static void unit_vectors_have_length_one(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  for (size_t w = 0; w < WIDTHS; w++) {
    size_t cols = widths[w];
    float *x = random_floats(cols, 9, 5.0f);
    float *out = guarded(cols);
    double length = 0.0;
    rowops->unit(cols, x, out);
    for (size_t j = 0; j < cols; j++) {
      length += (double)x[j] * (double)x[j];
    }
    for (size_t j = 0; j < cols; j++) {
      assert_close((double)out[j], (double)x[j] / sqrt(length), 3e-7, "unit");
    }
    rowops->unit(cols, x, x);
    assert_memory_equal(x, out, cols * sizeof *x);
    release(out, cols);
    release(x, cols);
  }
}

static void unit_of_extreme_vectors_is_finite(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  float large[] = {1e30f, -1e30f, 1e30f, 1e30f};
  float zero[] = {0.0f, 0.0f, 0.0f, 0.0f};
  rowops->unit(4, large, large);
  rowops->unit(4, zero, zero);
  assert_close((double)large[1], -0.5, 1e-6, "unit of a large vector");
  assert_true(zero[0] == 0.0f && zero[3] == 0.0f);
}

static void nan_reaches_the_output(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  enum { SIZE = 33 };
  for (int activation = RR_ACTIVATION_NONE; activation <= RR_ACTIVATION_GELU_TANH; activation++) {
    for (size_t at = 0; at < SIZE; at += 8) {
      float x[SIZE] = {0};
      x[at] = NAN;
      rowops->activate((rr_activation)activation, NULL, 1, SIZE, x, SIZE);
      assert_true(isnan(x[at]));
    }
  }
  float x[SIZE] = {0};
  float zeros[SIZE] = {0};
  x[20] = NAN;
  rr_norm_args args = {.rows = 1,
                       .cols = SIZE,
                       .x = x,
                       .ldx = SIZE,
                       .bias = zeros,
                       .residual = zeros,
                       .ld_residual = SIZE,
                       .norm = {.gamma = zeros, .beta = zeros, .epsilon = 1e-12f},
                       .out = x,
                       .ld_out = SIZE};
  rowops->norm(&args);
  assert_true(isnan(x[0]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      FOR_EACH_ISA(activations_agree_with_double_precision),
      FOR_EACH_ISA(norm_agrees_with_double_precision),
      FOR_EACH_ISA(embedding_sums_the_right_rows_and_normalises),
      FOR_EACH_ISA(mean_agrees_with_double_precision),
      FOR_EACH_ISA(unit_vectors_have_length_one),
      FOR_EACH_ISA(unit_of_extreme_vectors_is_finite),
      FOR_EACH_ISA(nan_reaches_the_output),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
