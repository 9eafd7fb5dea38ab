/* Every matrix product of the table, under every mask that this CPU allows, against double
 * precision; and how products are chosen. `test_kernels --bench [NAME [ROWS [ROUNDS]]]` times them
 * instead. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/kernel/cpu_features.h"
#include "core/kernel/selfcheck.h"
#include "tests/kernels/bench.h"
#include "tests/kernels/product.h"

enum { ENTRIES_MAX = 32, TESTS_MAX = 256, NAME_MAX_BYTES = 80, SIZES = 70 };

static uint32_t random_below(uint32_t *seed, uint32_t bound) {
  *seed = *seed * 1664525u + 1013904223u;
  return (*seed >> 8) % bound;
}

/* The product that a test's state names; skips where this CPU lacks its instructions. */
static const rr_gemm *gemm_or_skip(void **state) {
  uint32_t missing;
  const rr_gemm *gemm = rr_gemm_entry((size_t)(uintptr_t)*state, &missing);
  if (missing != 0) {
    char text[RR_FEATURES_TEXT_MAX];
    rr_features_text(missing, text);
    print_message("# %s skipped: this CPU has no %s\n", gemm->name, text);
    skip();
  }
  return gemm;
}

static void check(const rr_gemm *gemm, size_t m, size_t n, size_t k, rr_fill fill, uint32_t seed) {
  rr_product product = rr_product_make(m, n, k, fill, seed);
  rr_product_check(&product, gemm, rr_rowops_best(), fill);
  rr_product_free(&product);
}

/* Each of m, n and k takes all sizes, the others at random. */
static void all_small_sizes_agree(void **state) {
  const rr_gemm *gemm = gemm_or_skip(state);
  uint32_t seed = 1;
  for (uint32_t size = 1; size <= SIZES; size++) {
    for (int which = 0; which < 3; which++) {
      uint32_t m = which == 0 ? size : 1 + random_below(&seed, SIZES);
      uint32_t n = which == 1 ? size : 1 + random_below(&seed, SIZES);
      uint32_t k = which == 2 ? size : 1 + random_below(&seed, SIZES);
      check(gemm, m, n, k, RR_FILL_UNIFORM, seed);
    }
  }
}

static void sizes_around_blocks_agree(void **state) {
  const rr_gemm *gemm = gemm_or_skip(state);
  static const size_t sizes[][3] = {
      {95, 33, 20},  {96, 40, 17},  {97, 48, 33},   {111, 31, 30}, {112, 70, 9},  {113, 17, 40},
      {127, 12, 64}, {128, 5, 65},  {225, 65, 31},  {337, 9, 33},  {5, 384, 384}, {15, 95, 385},
      {7, 129, 383}, {3, 64, 1536}, {17, 33, 1537}, {33, 1, 700},  {1, 1153, 64}, {29, 257, 63}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    check(gemm, sizes[i][0], sizes[i][1], sizes[i][2], RR_FILL_UNIFORM, (uint32_t)i);
  }
}

static void extreme_inputs_agree(void **state) {
  const rr_gemm *gemm = gemm_or_skip(state);
  static const size_t sizes[][3] = {{1, 1, 1}, {2, 3, 5}, {17, 33, 31}, {31, 48, 64}, {33, 65, 70}};
  for (int fill = 0; fill < RR_FILLS; fill++) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      check(gemm, sizes[i][0], sizes[i][1], sizes[i][2], (rr_fill)fill, (uint32_t)i + 9);
    }
  }
}

/* Whatever the epilogue: GELU, tanh and norm must not make a NaN or an infinity look sound. An
 * infinity may end as the number that tanh makes of it. */
static void nan_reaches_the_outputs_of_its_row_alone(void **state) {
  const rr_gemm *gemm = gemm_or_skip(state);
  enum { M = 19, N = 37, K = 43, ROW = 7 };
  rr_product p = rr_product_make(M, N, K, RR_FILL_UNIFORM, 5);
  float *clean = rr_guarded(((M - 1) * p.ld_out + N) * sizeof *clean, false);
  for (int e = 0; e < RR_EPILOGUES; e++) {
    p.x[ROW * p.ldx + 20] = 0.5f;
    rr_product_run(&p, gemm, rr_rowops_best(), (rr_epilogue)e, 0, M, clean);
    p.x[ROW * p.ldx + 20] = NAN;
    rr_product_run(&p, gemm, rr_rowops_best(), (rr_epilogue)e, 0, M, p.out);
    for (size_t i = 0; i < M; i++) {
      for (size_t j = 0; j < N; j++) {
        if (i == ROW) {
          assert_true(isnan(p.out[i * p.ld_out + j]));
        } else {
          assert_memory_equal(&p.out[i * p.ld_out + j], &clean[i * p.ld_out + j], sizeof *clean);
        }
      }
    }
  }
  p.x[ROW * p.ldx + 20] = INFINITY;
  rr_product_run(&p, gemm, rr_rowops_best(), RR_EPILOGUE_NORM, 0, M, p.out);
  for (size_t j = 0; j < N; j++) {
    assert_false(isfinite(p.out[ROW * p.ld_out + j]));
  }
  rr_guarded_free(clean, ((M - 1) * p.ld_out + N) * sizeof *clean, false);
  rr_product_free(&p);
}

/* With the epilogues of a model's layers; OpenBLAS computes few rows in another order than many. */
static void bits_do_not_depend_on_the_batch(void **state) {
  const rr_gemm *gemm = gemm_or_skip(state);
  enum { M = 250, N = 70, K = 65 };
  static const rr_epilogue epilogues[] = {RR_EPILOGUE_BIAS, RR_EPILOGUE_GELU_ERF, RR_EPILOGUE_NORM};
  if (strcmp(gemm->name, "openblas") == 0) {
    print_message("# openblas skipped: its bits depend on the number of rows\n");
    skip();
  }
  rr_product p = rr_product_make(M, N, K, RR_FILL_UNIFORM, 6);
  uint32_t seed = 3;
  for (size_t e = 0; e < sizeof epilogues / sizeof epilogues[0]; e++) {
    rr_product_run(&p, gemm, rr_rowops_best(), epilogues[e], 0, M, p.out);
    for (int i = 0; i < 60; i++) {
      size_t first = random_below(&seed, M);
      size_t rows = i % 2 == 0 ? 1 : 1 + random_below(&seed, (uint32_t)(M - first));
      size_t size = ((rows - 1) * p.ld_out + N) * sizeof(float);
      float *out = rr_guarded(size, false);
      rr_product_run(&p, gemm, rr_rowops_best(), epilogues[e], first, rows, out);
      for (size_t row = 0; row < rows; row++) {
        assert_memory_equal(out + row * p.ld_out, p.out + (first + row) * p.ld_out,
                            N * sizeof(float));
      }
      rr_guarded_free(out, size, false);
    }
  }
  rr_product_free(&p);
}

/* What a mask should choose, where the CPU has what it names. */
typedef struct choice {
  const char *mask;
  uint32_t needs;
  const char *names[RR_FORMATS];
  const char *rowops;
} choice;

static const choice choices[] = {
    {"portable", 0, {"fp32-portable", "bf16-portable", "int8-portable"}, "generic"},
    {"openblas", RR_FEATURE_OPENBLAS, {"openblas", "bf16-portable", "int8-portable"}, "generic"},
#if defined(__x86_64__)
    {"avx2", RR_FEATURE_AVX2, {"fp32-avx2", "bf16-avx2", "int8-avx2"}, "avx2"},
    {"avx-vnni", RR_FEATURE_AVXVNNI, {"fp32-avx2", "bf16-avx2", "int8-avxvnni"}, "avx2"},
    {"avx512", RR_FEATURE_AVX512, {"fp32-avx512", "bf16-avx512", "int8-avx2"}, "avx512"},
    {"avx512-vnni",
     RR_FEATURE_AVX512VNNI,
     {"fp32-avx512", "bf16-avx512", "int8-vnni512"},
     "avx512"},
    {"avx512-bf16",
     RR_FEATURE_AVX512BF16,
     {"fp32-avx512", "bf16-avx512bf16", "int8-avx2"},
     "avx512bf16"},
    {"amx-int8", RR_FEATURE_AMXINT8, {"fp32-avx512", "bf16-avx512", "int8-amx"}, "avx512"},
    {"amx-bf16", RR_FEATURE_AMXBF16, {"fp32-avx512", "bf16-amx", "int8-avx2"}, "avx512bf16"},
#elif defined(__aarch64__)
    {"neon", RR_FEATURE_NEON, {"fp32-neon", "bf16-neon", "int8-portable"}, "generic"},
    {"dotprod", RR_FEATURE_DOTPROD, {"fp32-neon", "bf16-neon", "int8-dotprod"}, "generic"},
    {"i8mm", RR_FEATURE_I8MM, {"fp32-neon", "bf16-neon", "int8-i8mm"}, "generic"},
    {"bf16", RR_FEATURE_BF16, {"fp32-neon", "bf16-bfmmla", "int8-portable"}, "generic"},
#endif
};
enum { CHOICES = sizeof choices / sizeof choices[0] };

static int restore(void **state) {
  (void)state;
  rr_selfcheck_fault(NULL);
  rr_kernels_restore();
  return rr_kernels_set_mask(NULL, NULL) == RR_OK ? 0 : 1;
}

static void a_mask_chooses_what_it_names_and_that_agrees(void **state) {
  const choice *want = &choices[(size_t)(uintptr_t)*state];
  if ((want->needs & ~rr_features_detect()) != 0) {
    print_message("# mask %s skipped: this CPU or build has no %s\n", want->mask, want->mask);
    skip();
  }
  assert_int_equal(rr_kernels_set_mask(want->mask, NULL), RR_OK);
  assert_string_equal(rr_rowops_best()->name, want->rowops);
  for (int format = 0; format < RR_FORMATS; format++) {
    const rr_gemm *gemm = rr_gemm_best((rr_format)format);
    assert_string_equal(gemm->name, want->names[format]);
    assert_int_equal(gemm->format, format);
    for (uint32_t seed = 1; seed < 12; seed++) {
      uint32_t random = seed;
      check(gemm, 1 + random_below(&random, SIZES), 1 + random_below(&random, SIZES),
            1 + random_below(&random, 3 * SIZES), RR_FILL_UNIFORM, seed);
    }
    check(gemm, 115, 40, 50, RR_FILL_MIXED, 1);
  }
}

static void masks_are_lists_of_names(void **state) {
  (void)state;
  uint32_t features = 0;
  assert_int_equal(rr_features_parse("avx512-vnni,avxvnni", &features, NULL), RR_OK);
  assert_int_equal(features, RR_FEATURE_AVX2 | RR_FEATURE_AVXVNNI | RR_FEATURE_AVX512 |
                                 RR_FEATURE_AVX512VNNI);
  assert_int_equal(rr_features_parse("portable", &features, NULL), RR_OK);
  assert_int_equal(features, 0);
  assert_int_equal(rr_features_parse("all", &features, NULL), RR_OK);
  assert_int_equal(rr_features_detect() & ~features, 0);
  char text[RR_FEATURES_TEXT_MAX];
  rr_features_text(features, text);
  uint32_t again = 0;
  assert_int_equal(rr_features_parse(text, &again, NULL), RR_OK); /* nothing was cut off */
  assert_int_equal(again, features);
  rr_features_text(0, text);
  assert_string_equal(text, "portable");
}

static void unknown_names_in_a_mask_are_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"",    "avx1024", "avx2,", ",avx2", "avx2 ",
                                      "avx", "avx5",    "AVX2",  "-"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    rr_error err = {.message = ""};
    const rr_gemm *before = rr_gemm_best(RR_FORMAT_FP32);
    assert_int_equal(rr_kernels_set_mask(wrong[i], &err), RR_ERR_INPUT);
    assert_non_null(strstr(err.message, "avx512-bf16")); /* it says which names there are */
    assert_ptr_equal(rr_gemm_best(RR_FORMAT_FP32), before);
  }
}

static void names_find_their_products(void **state) {
  (void)state;
  uint32_t missing;
  const rr_gemm *gemm;
  assert_int_equal(rr_kernels_set_mask("portable", NULL), RR_OK); /* a mask hides nothing here */
  for (size_t i = 0; (gemm = rr_gemm_entry(i, &missing)) != NULL; i++) {
    assert_ptr_equal(rr_gemm_find(gemm->name), missing == 0 ? gemm : NULL);
  }
  assert_null(rr_gemm_find("abacus"));
  assert_null(rr_rowops_find("avx1024"));
  assert_non_null(rr_rowops_find("generic"));
}

static void sound_kernels_pass_the_self_check(void **state) {
  (void)state;
  for (size_t i = 0; i < CHOICES; i++) {
    char text[RR_SELFCHECK_TEXT_MAX] = "untouched";
    assert_int_equal(rr_kernels_set_mask(choices[i].mask, NULL), RR_OK);
    assert_int_equal(rr_selfcheck(text, NULL), RR_OK);
    assert_string_equal(text, "");
  }
}

/* Every product and every set of row operations that this CPU runs, one after the other. */
static void a_wrong_kernel_is_replaced_by_the_next_best(void **state) {
  (void)state;
  for (int format = 0; format < RR_FORMATS; format++) {
    const rr_gemm *gemm;
    while (strstr((gemm = rr_gemm_best((rr_format)format))->name, "-portable") == NULL) {
      char text[RR_SELFCHECK_TEXT_MAX];
      rr_selfcheck_fault(gemm->name);
      assert_int_equal(rr_selfcheck(text, NULL), RR_OK);
      const rr_gemm *next = rr_gemm_best((rr_format)format);
      assert_ptr_not_equal(next, gemm);
      assert_non_null(strstr(text, gemm->name));
      assert_non_null(strstr(text, next->name));
      assert_null(strchr(text, '\n'));
    }
  }
  const rr_attention *attention;
  while (strcmp((attention = rr_attention_best(true, 32))->name, "fp32-generic") != 0) {
    char text[RR_SELFCHECK_TEXT_MAX];
    rr_selfcheck_fault(attention->name);
    assert_int_equal(rr_selfcheck(text, NULL), RR_OK);
    assert_ptr_not_equal(rr_attention_best(true, 32), attention);
    assert_non_null(strstr(text, attention->name));
  }
  while (strcmp(rr_rowops_best()->name, "generic") != 0) {
    char text[RR_SELFCHECK_TEXT_MAX];
    const char *name = rr_rowops_best()->name;
    rr_selfcheck_fault(name);
    assert_int_equal(rr_selfcheck(text, NULL), RR_OK);
    assert_string_not_equal(rr_rowops_best()->name, name);
    assert_non_null(strstr(text, name));
  }
}

typedef struct list {
  struct CMUnitTest tests[TESTS_MAX];
  char names[TESTS_MAX][NAME_MAX_BYTES];
  size_t count;
} list;

static void add(list *to, const char *name, const char *of, CMUnitTestFunction function,
                size_t state) {
  if (to->count == TESTS_MAX) {
    (void)fprintf(stderr, "more than %d tests\n", (int)TESTS_MAX);
    exit(1);
  }
  char *text = to->names[to->count];
  (void)snprintf(text, NAME_MAX_BYTES, "%s%s%s%s", name, of != NULL ? " (" : "",
                 of != NULL ? of : "", of != NULL ? ")" : "");
  to->tests[to->count++] = (struct CMUnitTest){.name = text,
                                               .test_func = function,
                                               .teardown_func = restore,
                                               .initial_state = (void *)(uintptr_t)state};
}

#define ADD(to, function, of, state) add(to, #function, of, function, state)

static void add_all(list *to) {
  uint32_t missing;
  const rr_gemm *gemm;
  for (size_t i = 0; (gemm = rr_gemm_entry(i, &missing)) != NULL; i++) {
    ADD(to, all_small_sizes_agree, gemm->name, i);
    ADD(to, sizes_around_blocks_agree, gemm->name, i);
    ADD(to, extreme_inputs_agree, gemm->name, i);
    ADD(to, nan_reaches_the_outputs_of_its_row_alone, gemm->name, i);
    ADD(to, bits_do_not_depend_on_the_batch, gemm->name, i);
  }
  for (size_t i = 0; i < CHOICES; i++) {
    ADD(to, a_mask_chooses_what_it_names_and_that_agrees, choices[i].mask, i);
  }
  ADD(to, masks_are_lists_of_names, NULL, 0);
  ADD(to, unknown_names_in_a_mask_are_refused, NULL, 0);
  ADD(to, names_find_their_products, NULL, 0);
  ADD(to, sound_kernels_pass_the_self_check, NULL, 0);
  ADD(to, a_wrong_kernel_is_replaced_by_the_next_best, NULL, 0);
}

static size_t number(const char *text) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  return *end == '\0' && value >= 1 && value <= 100000 ? value : 0;
}

static int bench(int argc, char **argv) {
  const char *name = argc > 2 && strcmp(argv[2], "all") != 0 ? argv[2] : NULL;
  size_t rows = argc > 3 ? number(argv[3]) : 512;
  size_t rounds = argc > 4 ? number(argv[4]) : 9;
  if (rows == 0 || rounds == 0 || argc > 5) {
    (void)fprintf(stderr, "usage: test_kernels [--bench [NAME|all [ROWS [ROUNDS]]]]\n");
    return 2;
  }
  return rr_bench(name, rows, rounds);
}

int main(int argc, char **argv) {
  static list all;
  if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
    return bench(argc, argv);
  }
  add_all(&all);
  return _cmocka_run_group_tests("kernels", all.tests, all.count, NULL, NULL);
}
