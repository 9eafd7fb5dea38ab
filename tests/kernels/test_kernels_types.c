/* Products of bfloat16 operands and results, and of operands taken in two parts, of every entry of
 * the table. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/kernel/bf16.h"
#include "core/kernel/cpu_features.h"
#include "tests/kernels/product.h"

enum { ENTRIES_MAX = 32, TESTS_PER_ENTRY = 3, NAME_MAX_BYTES = 80 };

typedef struct size {
  size_t m;
  size_t n;
  size_t k;
} size;

static const size sizes[] = {{1, 1, 1},    {3, 17, 31},   {7, 64, 32},   {13, 33, 64},
                             {29, 65, 96}, {130, 40, 65}, {125, 96, 384}};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static const rr_gemm *gemm_or_skip(void **state) {
  uint32_t missing;
  const rr_gemm *gemm = rr_gemm_entry((size_t)(uintptr_t)*state, &missing);
  if (missing != 0) {
    char text[RR_FEATURES_TEXT_MAX];
    rr_features_text(missing, text);
    print_message("# %s skipped: this CPU has no %s\n", gemm->name, text);
    skip();
  }
  if (gemm->format == RR_FORMAT_FP32) {
    print_message("# %s skipped: float32 has one type and one part\n", gemm->name);
    skip();
  }
  return gemm;
}

static const rr_rowops *rowops; /* those that the products are finished by */

/* Runs a test with every set of row operations that this CPU has. */
static void with_each_rowops(void **state, void (*test)(const rr_gemm *gemm)) {
  static const char *const names[] = {"generic", "avx2", "avx512", "avx512bf16"};
  const rr_gemm *gemm = gemm_or_skip(state);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    rowops = rr_rowops_find(names[i]);
    if (rowops != NULL) {
      test(gemm);
    }
  }
}

/* Packs, runs and returns; `out` has rows ld_out apart of the type in args. */
static void run(const rr_product *p, const rr_gemm *gemm, rr_gemm_args args, void *out) {
  size_t packed_size = gemm->packed_size(p->n, p->k);
  size_t scratch_size = gemm->scratch_size(p->m, p->n, p->k);
  void *packed = rr_guarded(packed_size, true);
  void *scratch = rr_guarded(scratch_size, true);
  gemm->pack(p->n, p->k, p->w, packed);
  args.m = p->m;
  args.n = p->n;
  args.k = p->k;
  args.x = args.x == NULL ? p->x : args.x;
  args.ldx = p->ldx;
  args.packed = packed;
  args.bias = p->bias;
  args.out = out;
  args.ld_out = p->ld_out;
  args.rowops = rowops;
  args.scratch = scratch;
  gemm->run(&args);
  rr_guarded_free(scratch, scratch_size, true);
  rr_guarded_free(packed, packed_size, true);
}

static size_t count_of(const rr_product *p) { return (p->m - 1) * p->ld_out + p->n; }

/* Without an activation the results are those of float32, rounded; GELU may be off by 1.5e-4 before
 * that.
 */
static void check_results_in_bf16_are_rounded(const rr_gemm *gemm) {
  for (size_t s = 0; s < SIZES; s++) {
    rr_product p =
        rr_product_make(sizes[s].m, sizes[s].n, sizes[s].k, RR_FILL_UNIFORM, (uint32_t)s);
    size_t half_size = count_of(&p) * sizeof(uint16_t);
    size_t whole_size = count_of(&p) * sizeof(float);
    for (int gelu = 0; gelu < 2; gelu++) {
      rr_gemm_args args = {.activation = gelu ? RR_ACTIVATION_GELU_ERF : RR_ACTIVATION_NONE};
      uint16_t *half = rr_guarded(half_size, false);
      float *whole = rr_guarded(whole_size, false);
      run(&p, gemm, args, whole);
      args.out_type = RR_TYPE_BF16;
      run(&p, gemm, args, half);
      for (size_t i = 0; i < p.m * p.n; i++) {
        size_t at = i / p.n * p.ld_out + i % p.n;
        double want = (double)whole[at];
        double bound = gelu ? 1.5e-4 + fabs(want) / 256.0 : 0.0;
        double rounded = gelu ? want : (double)rr_bf16_round(whole[at]);
        if (!(fabs((double)rr_bf16_to_float(half[at]) - rounded) <= bound)) {
          fail_msg("%s, gelu %d: %.9g instead of %.9g", gemm->name, gelu,
                   (double)rr_bf16_to_float(half[at]), rounded);
        }
      }
      rr_guarded_free(whole, whole_size, false);
      rr_guarded_free(half, half_size, false);
    }
    rr_product_free(&p);
  }
}

static void check_operands_in_bf16_are_what_they_hold(const rr_gemm *gemm) {
  for (size_t s = 0; s < SIZES; s++) {
    rr_product p =
        rr_product_make(sizes[s].m, sizes[s].n, sizes[s].k, RR_FILL_UNIFORM, (uint32_t)s + 40);
    size_t half_size = ((p.m - 1) * p.ldx + p.k) * sizeof(uint16_t);
    size_t out_size = count_of(&p) * sizeof(float);
    uint16_t *half = rr_guarded(half_size, false);
    for (size_t i = 0; i < p.m * p.k; i++) {
      size_t at = i / p.k * p.ldx + i % p.k;
      half[at] = rr_bf16_from_float(p.x[at]);
      p.x[at] = rr_bf16_to_float(half[at]);
    }
    for (int precise = 0; precise < 2; precise++) {
      float *got = rr_guarded(out_size, false);
      float *want = rr_guarded(out_size, false);
      run(&p, gemm, (rr_gemm_args){.precise = precise == 1}, want);
      run(&p, gemm, (rr_gemm_args){.x_type = RR_TYPE_BF16, .x = half, .precise = precise == 1},
          got);
      for (size_t i = 0; i < p.m; i++) {
        assert_memory_equal(got + i * p.ld_out, want + i * p.ld_out, p.n * sizeof(float));
      }
      rr_guarded_free(want, out_size, false);
      rr_guarded_free(got, out_size, false);
    }
    rr_guarded_free(half, half_size, false);
    rr_product_free(&p);
  }
}

/* The weights of a column as the format holds them. */
static void held(const rr_gemm *gemm, const rr_product *p, size_t column, double *ret_w) {
  const float *w = p->w + column * p->k;
  float most = 0.0f;
  for (size_t l = 0; l < p->k; l++) {
    most = fmaxf(most, fabsf(w[l]));
  }
  for (size_t l = 0; l < p->k; l++) {
    ret_w[l] = gemm->format == RR_FORMAT_BF16
                   ? (double)rr_bf16_round(w[l])
                   : (double)nearbyintf(w[l] * (127.0f / most)) * (double)most / 127.0;
  }
}

/* Two parts of x hold it to 2^-16 of itself in bfloat16, and in eight bits each to half a step of a
 * step: rows reach from -1 to 1 at most. The rest are float sums. */
static void check_two_parts_hold_x_more_exactly(const rr_gemm *gemm) {
  for (size_t s = 1; s < SIZES; s++) {
    rr_product p =
        rr_product_make(sizes[s].m, sizes[s].n, sizes[s].k, RR_FILL_UNIFORM, (uint32_t)s + 80);
    double *w = malloc(p.k * sizeof *w);
    assert_non_null(w);
    size_t out_size = count_of(&p) * sizeof(float);
    float *out = rr_guarded(out_size, false);
    run(&p, gemm, (rr_gemm_args){.precise = true}, out);
    for (size_t j = 0; j < p.n; j++) {
      held(gemm, &p, j, w);
      for (size_t i = 0; i < p.m; i++) {
        double sum = (double)p.bias[j];
        double bound = 0.0;
        for (size_t l = 0; l < p.k; l++) {
          double x = (double)p.x[i * p.ldx + l];
          sum += x * w[l];
          bound += gemm->format == RR_FORMAT_BF16 ? fabs(x * w[l]) / 65536.0
                                                  : fabs(w[l]) * 0.5 * 2.0 / (255.0 * 255.0);
          bound += 2.0 * (double)FLT_EPSILON * (double)(p.k + 4) * fabs(w[l]);
        }
        double got = (double)out[i * p.ld_out + j];
        if (!(fabs(got - sum) <= bound + (double)FLT_EPSILON * 4.0)) {
          fail_msg("%s: %.9g instead of %.9g (bound %.3g)", gemm->name, got, sum, bound);
        }
      }
    }
    rr_guarded_free(out, out_size, false);
    free(w);
    rr_product_free(&p);
  }
}

static void results_in_bf16_are_rounded(void **state) {
  with_each_rowops(state, check_results_in_bf16_are_rounded);
}

static void operands_in_bf16_are_what_they_hold(void **state) {
  with_each_rowops(state, check_operands_in_bf16_are_what_they_hold);
}

static void two_parts_hold_x_more_exactly(void **state) {
  with_each_rowops(state, check_two_parts_hold_x_more_exactly);
}

int main(void) {
  static const struct {
    const char *name;
    CMUnitTestFunction function;
  } kinds[TESTS_PER_ENTRY] = {
      {"results in bf16 are rounded", results_in_bf16_are_rounded},
      {"operands in bf16 are what they hold", operands_in_bf16_are_what_they_hold},
      {"two parts hold x more exactly", two_parts_hold_x_more_exactly}};
  static struct CMUnitTest tests[ENTRIES_MAX * TESTS_PER_ENTRY];
  static char names[ENTRIES_MAX * TESTS_PER_ENTRY][NAME_MAX_BYTES];
  size_t count = 0;
  uint32_t missing;
  const rr_gemm *gemm;
  for (size_t i = 0; i < ENTRIES_MAX && (gemm = rr_gemm_entry(i, &missing)) != NULL; i++) {
    for (size_t kind = 0; kind < TESTS_PER_ENTRY; kind++) {
      (void)snprintf(names[count], NAME_MAX_BYTES, "%s (%s)", kinds[kind].name, gemm->name);
      tests[count] = (struct CMUnitTest){.name = names[count],
                                         .test_func = kinds[kind].function,
                                         .initial_state = (void *)(uintptr_t)i};
      count++;
    }
  }
  return _cmocka_run_group_tests("kernels-types", tests, count, NULL, NULL);
}
