/* Matrix products against double precision and against each other. */
#include "tests/kernels/support.h"
#include "tests/slow.h"

#include <float.h>
#include <stdbool.h>

typedef struct dimensions {
  size_t m;
  size_t n;
  size_t k;
} dimensions;

enum { GAP = 7 };

typedef struct operands {
  dimensions size;
  float *x; /* m x k, rows GAP apart, as are those of residual and out */
  float *w;
  float *bias;
  float *residual;
  float *gamma;
  float *beta;
  float *out;
} operands;

static operands make(dimensions size) {
  return (operands){
      .size = size,
      .x = random_floats(size.m * (size.k + GAP), 1, 1.0f),
      .w = random_floats(size.n * size.k, 2, 1.0f),
      .bias = random_floats(size.n, 3, 1.0f),
      .residual = random_floats(size.m * (size.n + GAP), 4, 1.0f),
      .gamma = random_floats(size.n, 5, 1.0f),
      .beta = random_floats(size.n, 6, 1.0f),
      .out = guarded(size.m * (size.n + GAP)),
  };
}

static void unmake(operands *o) {
  release(o->out, o->size.m * (o->size.n + GAP));
  release(o->beta, o->size.n);
  release(o->gamma, o->size.n);
  release(o->residual, o->size.m * (o->size.n + GAP));
  release(o->bias, o->size.n);
  release(o->w, o->size.n * o->size.k);
  release(o->x, o->size.m * (o->size.k + GAP));
}

static void run(const rr_gemm *gemm, const operands *o, bool with_bias, rr_activation activation,
                const rr_norm *norm) {
  size_t floats = gemm->packed_size(o->size.n, o->size.k) / sizeof(float);
  float *packed = guarded(floats);
  gemm->pack(o->size.n, o->size.k, o->w, packed);
  size_t scratch_bytes = gemm->scratch_size(o->size.m, o->size.n, o->size.k);
  float *scratch = guarded(scratch_bytes / sizeof(float) + 1);
  rr_gemm_args args = {.m = o->size.m,
                       .n = o->size.n,
                       .k = o->size.k,
                       .x = o->x,
                       .ldx = o->size.k + GAP,
                       .packed = packed,
                       .bias = with_bias ? o->bias : NULL,
                       .activation = activation,
                       .norm = norm,
                       .residual = o->residual,
                       .ld_residual = o->size.n + GAP,
                       .out = o->out,
                       .ld_out = o->size.n + GAP,
                       .rowops = rr_rowops_best(),
                       .scratch = scratch};
  gemm->run(&args);
  for (size_t i = 0; i < o->size.m; i++) {
    for (size_t j = o->size.n; j < o->size.n + GAP; j++) {
      assert_true(o->out[i * args.ld_out + j] == CANARY);
    }
  }
  release(scratch, scratch_bytes / sizeof(float) + 1);
  release(packed, floats);
}

static double exact(const operands *o, size_t i, size_t j) {
  double sum = 0.0;
  for (size_t d = 0; d < o->size.k; d++) {
    sum += (double)o->x[i * (o->size.k + GAP) + d] * (double)o->w[j * o->size.k + d];
  }
  return sum;
}

/* A float sum of k products of values up to 1, in any order, errs by at most k^2 epsilon. */
static double bound_of(size_t k) {
  double size = (double)k;
  return (size * size + 4.0) * (double)FLT_EPSILON;
}

static const rr_gemm *gemm_of(void **state) {
  const rr_gemm *gemm = rr_gemm_find(*state);
  if (gemm == NULL) { /* every build has the portable one */
    assert_string_equal(*state, "openblas");
    print_message("# openblas skipped: built without it\n");
    skip();
  }
  return gemm;
}

static const dimensions shapes[] = {{1, 1, 1},   {1, 384, 384},   {2, 1, 384},    {3, 17, 5},
                                    {5, 16, 16}, {7, 33, 31},     {64, 96, 32},   {31, 64, 65},
                                    {8, 15, 1},  {90, 1536, 384}, {13, 384, 1536}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void products_agree_with_double_precision(void **state) {
  const rr_gemm *gemm = gemm_of(state);
  for (size_t s = 0; s < SHAPES; s++) {
    operands o = make(shapes[s]);
    run(gemm, &o, false, RR_ACTIVATION_NONE, NULL);
    for (size_t i = 0; i < o.size.m; i += slow_step(1, 7)) {
      for (size_t j = 0; j < o.size.n; j++) {
        assert_close((double)o.out[i * (o.size.n + GAP) + j], exact(&o, i, j), bound_of(o.size.k),
                     "product");
      }
    }
    unmake(&o);
  }
}

static void bias_and_activation_follow_the_product(void **state) {
  const rr_gemm *gemm = gemm_of(state);
  for (size_t s = 0; s < SHAPES; s++) {
    operands o = make(shapes[s]);
    run(gemm, &o, true, RR_ACTIVATION_RELU, NULL);
    for (size_t i = 0; i < o.size.m; i += slow_step(1, 7)) {
      for (size_t j = 0; j < o.size.n; j++) {
        double want = exact(&o, i, j) + (double)o.bias[j];
        assert_close((double)o.out[i * (o.size.n + GAP) + j], want > 0.0 ? want : 0.0,
                     bound_of(o.size.k), "bias and relu");
      }
    }
    unmake(&o);
  }
}

/* What norm does is tested with the row operations: here, that it gets the right sum. */
static void residual_and_norm_follow_the_product(void **state) {
  const rr_gemm *gemm = gemm_of(state);
  for (size_t s = 0; s < SHAPES; s++) {
    operands o = make(shapes[s]);
    size_t ld = o.size.n + GAP;
    float *want = guarded(o.size.m * ld);
    rr_norm norm = {.gamma = o.gamma, .beta = o.beta, .epsilon = 1e-3f};
    run(gemm, &o, false, RR_ACTIVATION_NONE, NULL);
    rr_norm_args args = {.rows = o.size.m,
                         .cols = o.size.n,
                         .x = o.out,
                         .ldx = ld,
                         .bias = o.bias,
                         .residual = o.residual,
                         .ld_residual = ld,
                         .norm = norm,
                         .out = want,
                         .ld_out = ld};
    rr_rowops_best()->norm(&args);
    run(gemm, &o, true, RR_ACTIVATION_NONE, &norm);
    for (size_t i = 0; i < o.size.m; i += slow_step(1, 7)) {
      for (size_t j = 0; j < o.size.n; j++) {
        assert_close((double)o.out[i * ld + j], (double)want[i * ld + j], 1e-5, "norm");
      }
    }
    release(want, o.size.m * ld);
    unmake(&o);
  }
}

static void portable_and_openblas_agree(void **state) {
  (void)state;
  if (rr_gemm_find("openblas") == NULL) {
    print_message("# skipped: built without OpenBLAS\n");
    skip();
  }
  for (size_t s = 0; s < SHAPES; s++) {
    operands a = make(shapes[s]);
    operands b = make(shapes[s]);
    run(rr_gemm_find("fp32-portable"), &a, true, RR_ACTIVATION_GELU_ERF, NULL);
    run(rr_gemm_find("openblas"), &b, true, RR_ACTIVATION_GELU_ERF, NULL);
    for (size_t i = 0; i < a.size.m * (a.size.n + GAP); i++) {
      assert_close((double)a.out[i], (double)b.out[i], 1e-4, "portable against openblas");
    }
    unmake(&a);
    unmake(&b);
  }
}

static void unknown_names_are_not_found(void **state) {
  (void)state;
  assert_null(rr_gemm_find("abacus"));
  assert_null(rr_rowops_find("avx1024"));
  assert_non_null(rr_rowops_find("generic"));
}

static void the_best_is_one_of_the_named(void **state) {
  (void)state;
  assert_ptr_equal(rr_gemm_best(RR_FORMAT_FP32), rr_gemm_find(rr_gemm_best(RR_FORMAT_FP32)->name));
  assert_ptr_equal(rr_rowops_best(), rr_rowops_find(rr_rowops_best()->name));
  assert_true(rr_gemm_core(rr_gemm_best(RR_FORMAT_FP32))[0] != '\0');
}

#define FOR_EACH_GEMM(test)                                                                        \
  {#test " (openblas)", test, NULL, NULL, "openblas"}, {                                           \
#test " (portable)", test, NULL, NULL, "fp32-portable"                                         \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      FOR_EACH_GEMM(products_agree_with_double_precision),
      FOR_EACH_GEMM(bias_and_activation_follow_the_product),
      FOR_EACH_GEMM(residual_and_norm_follow_the_product),
      cmocka_unit_test(portable_and_openblas_agree),
      cmocka_unit_test(unknown_names_are_not_found),
      cmocka_unit_test(the_best_is_one_of_the_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
