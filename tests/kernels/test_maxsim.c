/* Late interaction of every instruction set and number format against double precision; which one a
 * mask chooses; what the self-check does about a wrong one. `test_maxsim --bench` times each
 * instead. */
#include "tests/kernels/support.h"

#include <float.h>
#include <stdio.h>
#include <time.h>

#include "core/kernel/bf16.h"
#include "core/kernel/cpu_features.h"
#include "core/kernel/selfcheck.h"

enum { ENTRIES_MAX = 32, NAME_MAX_BYTES = 96 };

/* Random vectors, stored and packed; sizes of guarded memory are in floats. */
typedef struct operands {
  const rr_maxsim *maxsim;
  size_t queries;
  size_t rows;
  size_t dim;
  float *query_rows; /* stored */
  float *tokens;     /* stored */
  float *packed;
  float *best;
} operands;

static size_t floats_of(size_t bytes) { return (bytes + 3) / 4; }
static size_t row_floats(const rr_maxsim *maxsim, size_t dim) {
  assert_int_equal(maxsim->row_size(dim) % 4, 0);
  return maxsim->row_size(dim) / 4;
}

static float *stored(const rr_maxsim *maxsim, size_t rows, size_t dim, uint32_t seed, float scale) {
  size_t step = row_floats(maxsim, dim);
  float *to = guarded(rows * step);
  float *x = random_floats(dim, seed, scale);
  for (size_t i = 0; i < rows; i++) {
    for (size_t d = 0; d < dim; d++) {
      x[d] = random_float(&seed, scale);
    }
    maxsim->store(dim, x, to + i * step);
  }
  release(x, dim);
  return to;
}

static size_t packed_floats(const operands *o) {
  return floats_of(o->maxsim->packed_size(o->queries, o->dim));
}

static operands make(const rr_maxsim *maxsim, size_t queries, size_t rows, size_t dim,
                     float scale) {
  operands o = {.maxsim = maxsim, .queries = queries, .rows = rows, .dim = dim};
  o.query_rows = stored(maxsim, queries, dim, 1, scale);
  o.tokens = stored(maxsim, rows, dim, 2, scale);
  o.packed = random_floats(packed_floats(&o), 3, 1e30f); /* what it held must not matter */
  o.best = guarded(queries);
  maxsim->pack(queries, dim, o.query_rows, o.packed);
  return o;
}

static void unmake(operands *o) {
  release(o->best, o->queries);
  release(o->packed, packed_floats(o));
  release(o->tokens, o->rows * row_floats(o->maxsim, o->dim));
  release(o->query_rows, o->queries * row_floats(o->maxsim, o->dim));
}

/* Rows first .. first + count - 1 alone. */
static void run(operands *o, size_t first, size_t count) {
  rr_maxsim_args args = {.queries = o->queries,
                         .rows = count,
                         .dim = o->dim,
                         .packed = o->packed,
                         .tokens = o->tokens + first * row_floats(o->maxsim, o->dim),
                         .best = o->best};
  o->maxsim->run(&args);
}

/* What a stored row holds, by the contract of kernel.h. */
static void decode(const operands *o, const float *row, double *values) {
  float scale = row[row_floats(o->maxsim, o->dim) - 1];
  for (size_t d = 0; d < o->dim; d++) {
    values[d] = o->maxsim->format == RR_FORMAT_FP32 ? (double)row[d]
                : o->maxsim->format == RR_FORMAT_BF16
                    ? (double)rr_bf16_to_float(((const uint16_t *)row)[d])
                    : (double)(((const uint8_t *)row)[d] - 128) * (double)scale;
  }
}

/* A sum of dim products errs by at most (dim + 2) epsilon times the sum of their magnitudes; one of
 * bytes is exact, becomes a float and meets two scales. */
static void check(operands *o) {
  double *query = calloc(2 * o->dim, sizeof *query);
  assert_non_null(query);
  double *row = query + o->dim;
  double roundings = o->maxsim->format == RR_FORMAT_INT8 ? 4.0 : (double)(o->dim + 2);
  run(o, 0, o->rows);
  for (size_t q = 0; q < o->queries; q++) {
    double want = -INFINITY;
    double most = 0.0;
    decode(o, o->query_rows + q * row_floats(o->maxsim, o->dim), query);
    for (size_t i = 0; i < o->rows; i++) {
      double sum = 0.0;
      double magnitudes = 0.0;
      decode(o, o->tokens + i * row_floats(o->maxsim, o->dim), row);
      for (size_t d = 0; d < o->dim; d++) {
        sum += query[d] * row[d];
        magnitudes += fabs(query[d] * row[d]);
      }
      want = sum > want ? sum : want;
      most = magnitudes > most ? magnitudes : most;
    }
    assert_close((double)o->best[q], want, roundings * (double)FLT_EPSILON * most + (double)FLT_MIN,
                 o->maxsim->name);
  }
  free(query);
}

static const rr_maxsim *entry_or_skip(void **state) {
  uint32_t missing;
  const rr_maxsim *maxsim = rr_maxsim_entry((size_t)(uintptr_t)*state, &missing);
  if (missing != 0) {
    char text[RR_FEATURES_TEXT_MAX];
    rr_features_text(missing, text);
    print_message("# %s skipped: this CPU has no %s\n", maxsim->name, text);
    skip();
  }
  return maxsim;
}

static void every_tail_is_right(void **state) {
  const rr_maxsim *maxsim = entry_or_skip(state);
  static const size_t queries[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 49, 64, 65};
  static const size_t rows[] = {1, 2, 5, 6, 7, 8, 9, 15, 16, 17, 33};
  static const size_t dims[] = {1, 2, 3, 4, 5, 31, 63, 64, 65, 127, 128, 129, 130};
  for (size_t q = 0; q < sizeof queries / sizeof queries[0]; q++) {
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
      for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
        operands o = make(maxsim, queries[q], rows[r], dims[d], 1.0f);
        check(&o);
        unmake(&o);
      }
    }
  }
}

static void long_documents_and_wide_vectors_are_right(void **state) {
  const rr_maxsim *maxsim = entry_or_skip(state);
  static const size_t sizes[][3] = {
      {32, 509, 128}, {12, 300, 384}, {511, 201, 33}, {33, 17, 1024}, {5, 3, 4099}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    operands o = make(maxsim, sizes[i][0], sizes[i][1], sizes[i][2], 0.1f);
    check(&o);
    unmake(&o);
  }
}

/* Values of any size that float32 can square and sum; and zeros, where all is below 0. */
static void extreme_values_are_right(void **state) {
  const rr_maxsim *maxsim = entry_or_skip(state);
  static const float scales[] = {1e-15f, 1e15f};
  for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
    operands o = make(maxsim, 19, 21, 37, scales[s]);
    check(&o);
    unmake(&o);
  }
  operands o = make(maxsim, 19, 21, 37, 1.0f);
  float zeros[37] = {0};
  maxsim->store(37, zeros, o.tokens + 20 * row_floats(maxsim, 37));
  check(&o);
  maxsim->store(37, zeros, o.query_rows);
  maxsim->pack(19, 37, o.query_rows, o.packed);
  check(&o);
  unmake(&o);
}

/* All products negative: a maximum that begins at 0, or padding that takes part, would show. */
static void maxima_below_zero_are_right(void **state) {
  const rr_maxsim *maxsim = entry_or_skip(state);
  enum { QUERIES = 17, ROWS = 9, DIM = 67 };
  operands o = make(maxsim, QUERIES, ROWS, DIM, 1.0f);
  float x[DIM];
  uint32_t seed = 5;
  for (size_t i = 0; i < QUERIES + ROWS; i++) {
    for (size_t d = 0; d < DIM; d++) {
      x[d] = (i < QUERIES ? 1.0f : -1.0f) * (1.5f + random_float(&seed, 1.0f));
    }
    float *to = i < QUERIES ? o.query_rows + i * row_floats(maxsim, DIM)
                            : o.tokens + (i - QUERIES) * row_floats(maxsim, DIM);
    maxsim->store(DIM, x, to);
  }
  maxsim->pack(QUERIES, DIM, o.query_rows, o.packed);
  check(&o);
  for (size_t q = 0; q < QUERIES; q++) {
    assert_true(o.best[q] < -1.0f);
  }
  unmake(&o);
}

/* Wherever among the rows it is: of the query it is in, or of all where it is in a row. */
static void nan_reaches_the_maxima(void **state) {
  const rr_maxsim *maxsim = entry_or_skip(state);
  enum { QUERIES = 20, ROWS = 27, DIM = 40 };
  static const float bad[] = {NAN, INFINITY};
  for (size_t b = 0; b < 2; b++) {
    for (size_t at = 0; at < ROWS; at += 13) {
      operands o = make(maxsim, QUERIES, ROWS, DIM, 1.0f);
      float x[DIM] = {0};
      x[DIM - 1] = bad[b];
      maxsim->store(DIM, x, o.tokens + at * row_floats(maxsim, DIM));
      run(&o, 0, ROWS);
      size_t unsound = 0;
      for (size_t q = 0; q < QUERIES; q++) {
        unsound += !isfinite(o.best[q]);
      }
      /* Plain infinity times a negative number is no maximum. */
      assert_true(b == 0 || maxsim->format == RR_FORMAT_INT8 ? unsound == QUERIES : unsound > 0);
      unmake(&o);
    }
  }
  operands o = make(maxsim, QUERIES, ROWS, DIM, 1.0f);
  float x[DIM] = {NAN};
  maxsim->store(DIM, x, o.query_rows + 18 * row_floats(maxsim, DIM));
  maxsim->pack(QUERIES, DIM, o.query_rows, o.packed);
  run(&o, 0, ROWS);
  for (size_t q = 0; q < QUERIES; q++) {
    assert_int_equal(isnan(o.best[q]) != 0, q == 18);
  }
  unmake(&o);
}

/* The maxima of parts of the rows are those of the whole, to the bit; and of fewer queries. */
static void bits_do_not_depend_on_neighbours(void **state) {
  const rr_maxsim *maxsim = entry_or_skip(state);
  enum { QUERIES = 43, ROWS = 61, DIM = 131 };
  operands whole = make(maxsim, QUERIES, ROWS, DIM, 1.0f);
  float most[QUERIES];
  for (size_t q = 0; q < QUERIES; q++) {
    most[q] = -INFINITY;
  }
  for (size_t first = 0; first < ROWS;) {
    size_t count = first % 7 + 1 < ROWS - first ? first % 7 + 1 : ROWS - first;
    run(&whole, first, count);
    for (size_t q = 0; q < QUERIES; q++) {
      most[q] = whole.best[q] > most[q] ? whole.best[q] : most[q];
    }
    first += count;
  }
  run(&whole, 0, ROWS);
  assert_memory_equal(most, whole.best, sizeof most);
  for (size_t queries = 1; queries < QUERIES; queries += 5) {
    operands few = make(maxsim, queries, ROWS, DIM, 1.0f); /* the same seeds */
    run(&few, 0, ROWS);
    assert_memory_equal(few.best, most, queries * sizeof *most);
    unmake(&few);
  }
  unmake(&whole);
}

/* Half a step at most is lost, and NaN is kept. */
static void stored_vectors_hold_what_they_were_given(void **state) {
  const rr_maxsim *maxsim = entry_or_skip(state);
  for (size_t dim = 1; dim < 70; dim++) {
    operands o = make(maxsim, 1, 1, dim, 1.0f);
    float *x = random_floats(dim, (uint32_t)dim, 0.3f);
    double *got = calloc(dim, sizeof *got);
    double most = 0.0;
    assert_non_null(got);
    maxsim->store(dim, x, o.tokens);
    decode(&o, o.tokens, got);
    for (size_t d = 0; d < dim; d++) {
      most = fabs((double)x[d]) > most ? fabs((double)x[d]) : most;
    }
    for (size_t d = 0; d < dim; d++) {
      double bound = maxsim->format == RR_FORMAT_FP32   ? 0.0
                     : maxsim->format == RR_FORMAT_BF16 ? fabs((double)x[d]) / 256.0
                                                        : 0.5001 * most / 127.0;
      assert_close(got[d], (double)x[d], bound, maxsim->name);
    }
    free(got);
    release(x, dim);
    unmake(&o);
  }
}

/* To the bit among the kernels of bytes, whose sums are exact. */
static void kernels_of_bytes_agree(void **state) {
  const rr_maxsim *maxsim = entry_or_skip(state);
  if (maxsim->format != RR_FORMAT_INT8) {
    skip();
  }
  operands o = make(maxsim, 37, 29, 385, 1.0f);
  operands plain = make(rr_maxsim_find("maxsim-int8-generic"), 37, 29, 385, 1.0f);
  memcpy(plain.tokens, o.tokens, 29 * maxsim->row_size(385));
  plain.maxsim->pack(37, 385, o.query_rows, plain.packed);
  run(&o, 0, 29);
  run(&plain, 0, 29);
  assert_memory_equal(o.best, plain.best, 37 * sizeof(float));
  unmake(&plain);
  unmake(&o);
}

static void a_mask_chooses(void **state) {
  (void)state;
  static const struct {
    const char *mask;
    uint32_t needs;
    const char *names[RR_FORMATS];
  } choices[] = {
    {"portable", 0, {"maxsim-fp32-generic", "maxsim-bf16-generic", "maxsim-int8-generic"}},
#if defined(__x86_64__)
    {"avx2", RR_FEATURE_AVX2, {"maxsim-fp32-avx2", "maxsim-bf16-avx2", "maxsim-int8-avx2"}},
    {"avx512",
     RR_FEATURE_AVX2 | RR_FEATURE_AVX512,
     {"maxsim-fp32-avx512", "maxsim-bf16-avx512", "maxsim-int8-avx512"}},
    {"avx512-bf16",
     RR_FEATURE_AVX2 | RR_FEATURE_AVX512 | RR_FEATURE_AVX512BF16,
     {"maxsim-fp32-avx512", "maxsim-bf16-avx512bf16", "maxsim-int8-avx512"}},
    {"avx512-vnni",
     RR_FEATURE_AVX2 | RR_FEATURE_AVX512 | RR_FEATURE_AVX512VNNI,
     {"maxsim-fp32-avx512", "maxsim-bf16-avx512", "maxsim-int8-vnni512"}},
#endif
  };
  for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
    if ((choices[i].needs & ~rr_features_detect()) != 0) {
      print_message("# this CPU has no %s\n", choices[i].mask);
      continue;
    }
    assert_int_equal(rr_kernels_set_mask(choices[i].mask, NULL), RR_OK);
    for (int format = 0; format < RR_FORMATS; format++) {
      assert_string_equal(rr_maxsim_best((rr_format)format)->name, choices[i].names[format]);
    }
  }
  assert_int_equal(rr_kernels_set_mask(NULL, NULL), RR_OK);
}

static void the_self_check_replaces_a_wrong_one(void **state) {
  (void)state;
  char note[RR_SELFCHECK_TEXT_MAX];
  for (int format = 0; format < RR_FORMATS; format++) {
    const rr_maxsim *best = rr_maxsim_best((rr_format)format);
    if (strstr(best->name, "-generic") != NULL) {
      continue; /* what the others are held against */
    }
    rr_selfcheck_fault(best->name);
    assert_int_equal(rr_selfcheck(note, NULL), RR_OK);
    rr_selfcheck_fault(NULL);
    assert_non_null(strstr(note, best->name));
    assert_true(rr_maxsim_best((rr_format)format) != best);
    rr_kernels_restore();
    assert_int_equal(rr_selfcheck(note, NULL), RR_OK);
    assert_string_equal(note, "");
    assert_ptr_equal(rr_maxsim_best((rr_format)format), best);
  }
}

static double now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* A query of 10 tokens 384 wide, and one of 32 tokens 128 wide, with 100 documents of 88. */
static int bench(void) {
  static const size_t shapes[][2] = {{10, 384}, {32, 128}};
  enum { DOCUMENTS = 100, TOKENS = 88, ROUNDS = 9 };
  uint32_t missing;
  const rr_maxsim *maxsim;
  for (size_t i = 0; (maxsim = rr_maxsim_entry(i, &missing)) != NULL; i++) {
    for (size_t s = 0; missing == 0 && s < 2; s++) {
      operands o = make(maxsim, shapes[s][0], (size_t)DOCUMENTS * TOKENS, shapes[s][1], 0.1f);
      double least = INFINITY;
      for (int round = 0; round < ROUNDS; round++) {
        double began = now();
        for (size_t d = 0; d < DOCUMENTS; d++) {
          run(&o, d * TOKENS, TOKENS);
        }
        double took = now() - began;
        least = took < least ? took : least;
      }
      (void)printf("%-24s %2zu queries of %3zu: %7.3f ms, %6.1f G multiply-adds/s\n", maxsim->name,
                   o.queries, o.dim, least * 1e3,
                   (double)(o.queries * o.rows * o.dim) / least * 1e-9);
      unmake(&o);
    }
  }
  return 0;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    CMUnitTestFunction function;
  } each[] = {
      {"every tail is right", every_tail_is_right},
      {"long documents and wide vectors are right", long_documents_and_wide_vectors_are_right},
      {"extreme values are right", extreme_values_are_right},
      {"maxima below zero are right", maxima_below_zero_are_right},
      {"NaN reaches the maxima", nan_reaches_the_maxima},
      {"bits do not depend on neighbours", bits_do_not_depend_on_neighbours},
      {"stored vectors hold what they were given", stored_vectors_hold_what_they_were_given},
      {"kernels of bytes agree", kernels_of_bytes_agree},
  };
  enum { EACH = sizeof each / sizeof each[0] };
  static char names[ENTRIES_MAX * EACH][NAME_MAX_BYTES];
  static struct CMUnitTest tests[ENTRIES_MAX * EACH + 2];
  if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
    return bench();
  }
  size_t n = 0;
  uint32_t missing;
  const rr_maxsim *maxsim;
  for (size_t i = 0; i < ENTRIES_MAX && (maxsim = rr_maxsim_entry(i, &missing)) != NULL; i++) {
    for (size_t t = 0; t < EACH; t++) {
      if (each[t].function == kernels_of_bytes_agree && maxsim->format != RR_FORMAT_INT8) {
        continue;
      }
      (void)snprintf(names[n], NAME_MAX_BYTES, "%s (%s)", each[t].name, maxsim->name);
      tests[n] = (struct CMUnitTest){names[n], each[t].function, NULL, NULL, (void *)(uintptr_t)i};
      n++;
    }
  }
  tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_mask_chooses);
  tests[n++] = (struct CMUnitTest)cmocka_unit_test(the_self_check_replaces_a_wrong_one);
  return _cmocka_run_group_tests("maxsim", tests, n, NULL, NULL);
}
