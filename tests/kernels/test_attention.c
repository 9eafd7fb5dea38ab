/* Attention of every instruction set and number format against double precision. */
#include "tests/kernels/support.h"

#include "core/kernel/bf16.h"

#ifdef RR_EMULATED_ATTENTION /* built with the instructions in plain C (tests/kernels/emulated) */
extern const rr_attention emulated_attention_bf16_avx512bf16;
#endif

typedef struct dimensions {
  size_t queries;
  size_t keys;
  size_t head_size;
} dimensions;

enum { GAP = 3 };

/* Operands as floats, which for bfloat16 it can hold, and as the descriptor takes them. */
typedef struct operands {
  dimensions size;
  size_t ld;
  float *q;
  float *k;
  float *v;
  float *out; /* as floats, once it was computed */
  void *given[3];
  void *result;
} operands;

static const float CANARY_BF16 = -0x1.34p102f; /* near CANARY, and a bfloat16 */

static size_t bytes(const rr_attention *attention, size_t count) {
  return count * rr_type_size(attention->type);
}

/* A copy in the descriptor's type between guards; `values` become what it holds. */
static void *typed(const rr_attention *attention, size_t count, float *values) {
  float *memory = guarded(bytes(attention, count) / sizeof(float) + 1);
  for (size_t i = 0; i < count; i++) {
    if (attention->type == RR_TYPE_FP32) {
      memory[i] = values[i];
    } else {
      ((uint16_t *)memory)[i] = rr_bf16_from_float(values[i]);
      values[i] = rr_bf16_to_float(((uint16_t *)memory)[i]);
    }
  }
  return memory;
}

static void release_typed(const rr_attention *attention, size_t count, void *memory) {
  release(memory, bytes(attention, count) / sizeof(float) + 1);
}

static operands make(const rr_attention *attention, dimensions size, float scale) {
  operands o = {.size = size, .ld = size.head_size + GAP};
  size_t queries = size.queries * o.ld;
  size_t keys = size.keys * o.ld;
  o.q = random_floats(queries, 1, scale);
  o.k = random_floats(keys, 2, scale);
  o.v = random_floats(keys, 3, 1.0f);
  o.out = random_floats(queries, 4, 1.0f);
  for (size_t i = 0; i < queries; i++) {
    o.out[i] = CANARY_BF16;
  }
  o.given[0] = typed(attention, queries, o.q);
  o.given[1] = typed(attention, keys, o.k);
  o.given[2] = typed(attention, keys, o.v);
  o.result = typed(attention, queries, o.out);
  return o;
}

static void unmake(const rr_attention *attention, operands *o) {
  size_t queries = o->size.queries * o->ld;
  size_t keys = o->size.keys * o->ld;
  release_typed(attention, queries, o->result);
  release_typed(attention, keys, o->given[2]);
  release_typed(attention, keys, o->given[1]);
  release_typed(attention, queries, o->given[0]);
  release(o->out, queries);
  release(o->v, keys);
  release(o->k, keys);
  release(o->q, queries);
}

/* Runs queries first .. first + count - 1 alone and reads the result. */
static void run(const rr_attention *attention, operands *o, size_t first, size_t count) {
  size_t scratch_size = attention->scratch_size(o->size.keys, o->size.head_size) / sizeof(float);
  float *scratch = random_floats(scratch_size, 4, 1e30f); /* what it held must not matter */
  rr_attention_args args = {.queries = count,
                            .keys = o->size.keys,
                            .head_size = o->size.head_size,
                            .q = (char *)o->given[0] + bytes(attention, first * o->ld),
                            .ldq = o->ld,
                            .k = o->given[1],
                            .ldk = o->ld,
                            .v = o->given[2],
                            .ldv = o->ld,
                            .scale = 1.0f / sqrtf((float)o->size.head_size),
                            .out = (char *)o->result + bytes(attention, first * o->ld),
                            .ld_out = o->ld,
                            .scratch = scratch};
  attention->run(&args);
  release(scratch, scratch_size);
  for (size_t i = 0; i < o->size.queries * o->ld; i++) {
    o->out[i] = attention->type == RR_TYPE_FP32 ? ((float *)o->result)[i]
                                                : rr_bf16_to_float(((uint16_t *)o->result)[i]);
  }
}

/* The weights of one query over the keys, in double precision. */
static void exact_weights(const operands *o, size_t query, double *weights) {
  double most = -INFINITY;
  double sum = 0.0;
  for (size_t j = 0; j < o->size.keys; j++) {
    weights[j] = 0.0;
    for (size_t d = 0; d < o->size.head_size; d++) {
      weights[j] += (double)o->q[query * o->ld + d] * (double)o->k[j * o->ld + d];
    }
    weights[j] *= (double)(1.0f / sqrtf((float)o->size.head_size));
    most = weights[j] > most ? weights[j] : most;
  }
  for (size_t j = 0; j < o->size.keys; j++) {
    weights[j] = exp(weights[j] - most);
    sum += weights[j];
  }
  for (size_t j = 0; j < o->size.keys; j++) {
    weights[j] /= sum;
  }
}

/* In bfloat16 weights and the sum of those and the output err by 2^-9 each of values up to 1,
 * denormals aside. */
static void check_outputs(const rr_attention *attention, const operands *o, double bound) {
  double *weights = calloc(o->size.keys, sizeof *weights);
  assert_non_null(weights);
  bound += attention->type == RR_TYPE_BF16 ? 3.0 / 512.0 : 0.0;
  for (size_t i = 0; i < o->size.queries; i++) {
    exact_weights(o, i, weights);
    for (size_t d = 0; d < o->size.head_size; d++) {
      double want = 0.0;
      for (size_t j = 0; j < o->size.keys; j++) {
        want += weights[j] * (double)o->v[j * o->ld + d];
      }
      assert_close((double)o->out[i * o->ld + d], want, bound, "attention");
    }
    for (size_t d = o->size.head_size; d < o->ld; d++) {
      assert_true(o->out[i * o->ld + d] == CANARY_BF16);
    }
  }
  free(weights);
}

/* Scores reach about scale^2; the bound grows with them, as rounding them does. */
static void check(const rr_attention *attention, dimensions size, float scale, double bound) {
  if (size.head_size % attention->head_multiple != 0) {
    return;
  }
  operands o = make(attention, size, scale);
  run(attention, &o, 0, size.queries);
  check_outputs(attention, &o, bound);
  unmake(attention, &o);
}

/* The attention that the test's initial state names; skips where this CPU or build lacks it. */
static const rr_attention *attention_or_skip(void **state) {
#ifdef RR_EMULATED_ATTENTION
  if (strcmp(*state, "emulated") == 0) {
    if (rr_rowops_find("avx512") == NULL) {
      skip(); /* this CPU has not even the rest */
    }
    return &emulated_attention_bf16_avx512bf16;
  }
#endif
  const rr_attention *attention = rr_attention_find(*state);
  if (attention == NULL) {
    print_message("# this CPU or build has no %s\n", (const char *)*state);
    skip();
  }
  return attention;
}

static void every_tail_of_a_tile_is_right(void **state) {
  const rr_attention *attention = attention_or_skip(state);
  static const size_t lengths[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  15, 16,
                                   17, 31, 32, 33, 47, 48, 49, 64, 65, 90};
  static const size_t head_sizes[] = {1, 3, 8, 16, 31, 32, 33, 48, 64, 80};
  for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
    for (size_t h = 0; h < sizeof head_sizes / sizeof head_sizes[0]; h++) {
      check(attention, (dimensions){lengths[l], lengths[l], head_sizes[h]}, 1.0f, 2e-6);
    }
  }
}

static void one_query_meets_many_keys(void **state) {
  const rr_attention *attention = attention_or_skip(state);
  for (size_t keys = 1; keys < 80; keys++) {
    check(attention, (dimensions){1, keys, 32}, 1.0f, 2e-6);
  }
}

static void long_sequences_are_right(void **state) {
  const rr_attention *attention = attention_or_skip(state);
  check(attention, (dimensions){512, 512, 32}, 1.0f, 2e-6);
  check(attention, (dimensions){257, 511, 64}, 1.0f, 2e-6);
  check(attention, (dimensions){12, 300, 384}, 0.5f,
        2e-6); /* tokens as keys: a head as wide as a model */
}

/* Scores that do not fit float32's exponents by far; where float32 sums of bfloat16 lose more than
 * the bound for small scores, weights may move by as much. */
static void large_scores_do_not_overflow(void **state) {
  const rr_attention *attention = attention_or_skip(state);
  check(attention, (dimensions){40, 40, 32}, 30.0f, 1e-3);
  static const float scales[] = {1e3f, 1e5f,
                                 1e7f}; /* one weight is 1, or some are equal: finite in any case */
  for (size_t s = 0; 32 % attention->head_multiple == 0 && s < sizeof scales / sizeof scales[0];
       s++) {
    operands o = make(attention, (dimensions){9, 40, 32}, scales[s]);
    run(attention, &o, 0, o.size.queries);
    for (size_t i = 0; i < o.size.queries * o.size.head_size; i++) {
      size_t at = i / o.size.head_size * o.ld + i % o.size.head_size;
      assert_true(fabsf(o.out[at]) <= 1.01f);
    }
    unmake(attention, &o);
  }
}

static void a_nan_reaches_its_query_alone(void **state) {
  const rr_attention *attention = attention_or_skip(state);
  const dimensions size = {20, 20, 16};
  operands o = make(attention, size, 1.0f);
  size_t at = 7 * o.ld;
  if (attention->type == RR_TYPE_FP32) {
    ((float *)o.given[0])[at] = NAN;
  } else {
    ((uint16_t *)o.given[0])[at] = 0x7fc0;
  }
  run(attention, &o, 0, size.queries);
  for (size_t i = 0; i < size.queries; i++) {
    assert_int_equal(isnan(o.out[i * o.ld]) != 0, i == 7);
  }
  unmake(attention, &o);
}

static void a_query_does_not_depend_on_others(void **state) {
  const rr_attention *attention = attention_or_skip(state);
  const dimensions size = {21, 37, 32};
  operands together = make(attention, size, 1.0f);
  operands alone = make(attention, size, 1.0f);
  run(attention, &together, 0, size.queries);
  for (size_t first = 0; first < size.queries;) {
    size_t count = first % 5 + 1 < size.queries - first ? first % 5 + 1 : size.queries - first;
    run(attention, &alone, first, count);
    first += count;
  }
  for (size_t i = 0; i < size.queries; i++) {
    assert_memory_equal(alone.out + i * alone.ld, together.out + i * together.ld,
                        size.head_size * sizeof(float));
  }
  unmake(attention, &alone);
  unmake(attention, &together);
}

#ifdef RR_EMULATED_ATTENTION
#define FOR_EACH(test)                                                                             \
  { #test " (emulated bf16-avx512bf16)", test, NULL, NULL, "emulated" }
#else
#define FOR_EACH(test)                                                                             \
  {#test " (fp32-generic)", test, NULL, NULL, "fp32-generic"},                                     \
      {#test " (fp32-avx2)", test, NULL, NULL, "fp32-avx2"},                                       \
      {#test " (fp32-avx512)", test, NULL, NULL, "fp32-avx512"}, {                                 \
#test " (bf16-avx512bf16)", test, NULL, NULL, "bf16-avx512bf16"                                \
  }
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      FOR_EACH(every_tail_of_a_tile_is_right), FOR_EACH(one_query_meets_many_keys),
      FOR_EACH(long_sequences_are_right),      FOR_EACH(large_scores_do_not_overflow),
      FOR_EACH(a_nan_reaches_its_query_alone), FOR_EACH(a_query_does_not_depend_on_others),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
