/* Attention of every instruction set against double precision. */
#include "tests/core/kernel_support.h"

typedef struct dimensions {
  size_t queries;
  size_t keys;
  size_t head_size;
} dimensions;

enum { GAP = 3 };

/* The weights of one query over the keys, in double precision. */
static void exact_weights(const rr_attention_args *args, size_t query, double *weights) {
  double most = -INFINITY;
  double sum = 0.0;
  for (size_t j = 0; j < args->keys; j++) {
    weights[j] = 0.0;
    for (size_t d = 0; d < args->head_size; d++) {
      weights[j] += (double)args->q[query * args->ldq + d] * (double)args->k[j * args->ldk + d];
    }
    weights[j] *= (double)args->scale;
    most = weights[j] > most ? weights[j] : most;
  }
  for (size_t j = 0; j < args->keys; j++) {
    weights[j] = exp(weights[j] - most);
    sum += weights[j];
  }
  for (size_t j = 0; j < args->keys; j++) {
    weights[j] /= sum;
  }
}

static void check_outputs(const rr_attention_args *args, double bound) {
  double *weights = calloc(args->keys, sizeof *weights);
  assert_non_null(weights);
  for (size_t i = 0; i < args->queries; i++) {
    exact_weights(args, i, weights);
    for (size_t d = 0; d < args->head_size; d++) {
      double want = 0.0;
      for (size_t j = 0; j < args->keys; j++) {
        want += weights[j] * (double)args->v[j * args->ldv + d];
      }
      assert_close((double)args->out[i * args->ld_out + d], want, bound, "attention");
    }
    for (size_t d = args->head_size; d < args->ld_out; d++) {
      assert_true(args->out[i * args->ld_out + d] == CANARY);
    }
  }
  free(weights);
}

/* Scores reach about scale^2; the bound grows with them, as rounding them does. */
static void check(const rr_rowops *rowops, dimensions size, float scale, double bound) {
  size_t ld = size.head_size + GAP;
  size_t scratch_size = rr_attention_scratch(size.keys, size.head_size);
  float *q = random_floats(size.queries * ld, 1, scale);
  float *k = random_floats(size.keys * ld, 2, scale);
  float *v = random_floats(size.keys * ld, 3, 1.0f);
  float *out = guarded(size.queries * ld);
  float *scratch = random_floats(scratch_size, 4, 1e30f); /* what it held must not matter */
  rr_attention_args args = {.queries = size.queries, .keys = size.keys, .head_size = size.head_size,
                            .q = q, .ldq = ld, .k = k, .ldk = ld, .v = v, .ldv = ld,
                            .scale = 1.0f / sqrtf((float)size.head_size), .out = out, .ld_out = ld,
                            .scratch = scratch};
  rowops->attention(&args);
  check_outputs(&args, bound);
  release(scratch, scratch_size);
  release(out, size.queries * ld);
  release(v, size.keys * ld);
  release(k, size.keys * ld);
  release(q, size.queries * ld);
}

static void every_tail_of_a_tile_is_right(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  static const size_t lengths[] = {1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 90};
  static const size_t head_sizes[] = {1, 3, 8, 16, 31, 32, 33, 64};
  for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
    for (size_t h = 0; h < sizeof head_sizes / sizeof head_sizes[0]; h++) {
      check(rowops, (dimensions){lengths[l], lengths[l], head_sizes[h]}, 1.0f, 2e-6);
    }
  }
}

static void one_query_meets_many_keys(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  for (size_t keys = 1; keys < 80; keys++) {
    check(rowops, (dimensions){1, keys, 32}, 1.0f, 2e-6);
  }
}

static void long_sequences_are_right(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  check(rowops, (dimensions){512, 512, 32}, 1.0f, 2e-6);
  check(rowops, (dimensions){257, 511, 64}, 1.0f, 2e-6);
}

static void large_scores_do_not_overflow(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  check(rowops, (dimensions){40, 40, 32}, 30.0f, 1e-3);
}

static void a_nan_reaches_its_query_alone(void **state) {
  const rr_rowops *rowops = rowops_or_skip(state);
  enum { LENGTH = 20, HEAD = 8 };
  float q[LENGTH * HEAD] = {0};
  float k[LENGTH * HEAD] = {0};
  float out[LENGTH * HEAD];
  size_t scratch_size = rr_attention_scratch(LENGTH, HEAD);
  float *scratch = guarded(scratch_size);
  q[7 * HEAD] = NAN;
  rr_attention_args args = {.queries = LENGTH, .keys = LENGTH, .head_size = HEAD, .q = q, .ldq = HEAD,
                            .k = k, .ldk = HEAD, .v = k, .ldv = HEAD, .scale = 1.0f, .out = out,
                            .ld_out = HEAD, .scratch = scratch};
  rowops->attention(&args);
  for (size_t i = 0; i < LENGTH; i++) {
    assert_int_equal(isnan(out[i * HEAD]) != 0, i == 7);
  }
  release(scratch, scratch_size);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      FOR_EACH_ISA(every_tail_of_a_tile_is_right), FOR_EACH_ISA(one_query_meets_many_keys),
      FOR_EACH_ISA(long_sequences_are_right),      FOR_EACH_ISA(large_scores_do_not_overflow),
      FOR_EACH_ISA(a_nan_reaches_its_query_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
