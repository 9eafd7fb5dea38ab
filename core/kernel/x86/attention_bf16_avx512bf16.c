/* One attention head in bfloat16 with float32 sums, by AVX-512 bf16: vdpbf16ps adds two products to
 * each of 16 sums.
 *
 * Keys are transposed into vectors of 16 keys times two dimensions and values into vectors of 16
 * dimensions times two keys, once a head; then ROWS queries at a time meet all keys, their weights
 * become bfloat16 in the first-level cache and meet all values. Never are there keys x keys
 * weights. Rows are divided by the sum of their rounded weights at the end, so that rounding them
 * moves no output beyond the values it is made of. A query's result does not depend on which others
 * it is computed with. A line of the scratch is 64 bytes, 16 pairs:
 *
 *   keys      k[0][0] k[0][1]   k[1][0] k[1][1]   ...   k[15][0] k[15][1]
 *             k[0][2] k[0][3]   k[1][2] k[1][3]   ...   head_size / 2 lines, then the next 16 keys
 *   values    v[0][0] v[1][0]   v[0][1] v[1][1]   ...   v[0][15] v[1][15]
 *             v[0][16] v[1][16] ...                     head_size / 16 lines, then the next two
 *             keys
 *
 * Not done: a running maximum (see ../attention.c); the product with the values in one function
 * with the rest, which runs out of registers (bench/results/log.md).
 *
 * Error. q, k and v are taken as they are; weights are rounded to bfloat16 (relative 2^-9), so that
 * an output is off by at most 2^-8 times the largest |v|, and then rounded itself. Denormals count
 * as zero (bf16.h).
 *
 * Where the CPU has no such instructions, tests run this code with the intrinsics in plain C. */
#include <immintrin.h>
#include <string.h>

#include "core/kernel/blocked.h"
#include "core/kernel/isa.h"

enum {
  LANES = 16,
  ROWS = 8,         /* queries of a block */
  KEY_VECTORS = 3,  /* of a tile of scores: with 8 rows 24 of the 32 registers */
  HEAD_VECTORS = 2, /* of a tile of outputs */
  PAIR = 2,
  LINE = 64,
};

/* Where the pieces of the scratch lie. Counts are of 16 keys, of pairs of keys, and of pairs of
 * dimensions. */
typedef struct pieces {
  size_t key_vectors;
  size_t key_pairs;
  size_t head_pairs;
  size_t ld_scores;  /* floats, and bfloat16 of a row of weights */
  uint16_t *keys;    /* key_vectors x head_pairs x 16 x 2, zero beyond the last key */
  uint16_t *values;  /* key_pairs x head_size x 2, zero beyond the last key */
  float *scores;     /* ROWS x ld_scores */
  uint16_t *weights; /* ROWS x ld_scores */
  size_t size;       /* bytes of all of them */
} pieces;

static size_t rounded_up(size_t size, size_t to) { return (size + to - 1) / to * to; }

static pieces arrange(size_t keys, size_t head_size, char *scratch) {
  pieces p = {.key_vectors = (keys + LANES - 1) / LANES,
              .key_pairs = (keys + 1) / PAIR,
              .head_pairs = head_size / PAIR};
  /* An odd number of lines of weights: rows shall not meet in few sets of the cache. */
  p.ld_scores = (rounded_up(keys, PAIR * LANES) / (PAIR * LANES) | 1) * PAIR * LANES;
  size_t key_bytes = p.key_vectors * p.head_pairs * LINE;
  size_t value_bytes = rounded_up(p.key_pairs * head_size * PAIR * sizeof(uint16_t), LINE);
  size_t score_bytes = ROWS * p.ld_scores * sizeof(float);
  p.size = key_bytes + value_bytes + score_bytes + score_bytes / 2;
  if (scratch != NULL) {
    p.keys = (uint16_t *)(void *)scratch;
    p.values = (uint16_t *)(void *)(scratch + key_bytes);
    p.scores = (float *)(void *)(scratch + key_bytes + value_bytes);
    p.weights = (uint16_t *)(void *)(scratch + key_bytes + value_bytes + score_bytes);
  }
  return p;
}

static size_t scratch_size(size_t keys, size_t head_size) {
  return arrange(keys, head_size, NULL).size;
}

/* Transposes 16 x 16 values of four bytes: four within each quarter of four vectors, then the
 * quarters.
 */
static inline __attribute__((always_inline)) void transpose(__m512i rows[LANES]) {
  __m512i pairs[LANES];
  RR_UNROLL
  for (size_t i = 0; i < LANES; i += 4) {
    __m512i low0 = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    __m512i high0 = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    __m512i low1 = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]);
    __m512i high1 = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
    pairs[i] = _mm512_unpacklo_epi64(low0, low1);
    pairs[i + 1] = _mm512_unpackhi_epi64(low0, low1);
    pairs[i + 2] = _mm512_unpacklo_epi64(high0, high1);
    pairs[i + 3] = _mm512_unpackhi_epi64(high0, high1);
  }
  RR_UNROLL
  for (size_t i = 0; i < 4; i++) {
    __m512i a = _mm512_shuffle_i32x4(pairs[i], pairs[i + 4], 0x88);
    __m512i b = _mm512_shuffle_i32x4(pairs[i + 8], pairs[i + 12], 0x88);
    __m512i c = _mm512_shuffle_i32x4(pairs[i], pairs[i + 4], 0xdd);
    __m512i d = _mm512_shuffle_i32x4(pairs[i + 8], pairs[i + 12], 0xdd);
    rows[i] = _mm512_shuffle_i32x4(a, b, 0x88);
    rows[i + 8] = _mm512_shuffle_i32x4(a, b, 0xdd);
    rows[i + 4] = _mm512_shuffle_i32x4(c, d, 0x88);
    rows[i + 12] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
}

/* 32 dimensions at a time, or 16 at the end of an odd number of those. */
static void pack_keys(const rr_attention_args *args, const pieces *p) {
  for (size_t vector = 0; vector < p->key_vectors; vector++) {
    const uint16_t *first = (const uint16_t *)args->k + vector * LANES * args->ldk;
    size_t here = args->keys - vector * LANES;
    for (size_t pair = 0; pair < p->head_pairs; pair += LANES) {
      size_t left = p->head_pairs - pair;
      __mmask16 mask = left < LANES ? (__mmask16)0x00ff : (__mmask16)0xffff;
      __m512i rows[LANES];
      RR_UNROLL
      for (size_t i = 0; i < LANES; i++) {
        rows[i] = i < here ? _mm512_maskz_loadu_epi32(mask, first + i * args->ldk + pair * PAIR)
                           : _mm512_setzero_si512();
      }
      transpose(rows);
      uint16_t *to = p->keys + (vector * p->head_pairs + pair) * LANES * PAIR;
      RR_UNROLL
      for (size_t i = 0; i < LANES; i++) {
        if (i < left) {
          _mm512_store_si512(to + i * LANES * PAIR, rows[i]);
        }
      }
    }
  }
}

static void pack_values(const rr_attention_args *args, const pieces *p) {
  for (size_t pair = 0; pair < p->key_pairs; pair++) {
    const uint16_t *even = (const uint16_t *)args->v + pair * PAIR * args->ldv;
    bool odd = pair * PAIR + 1 < args->keys;
    uint16_t *to = p->values + pair * args->head_size * PAIR;
    for (size_t at = 0; at < args->head_size; at += LANES) {
      __m512i low =
          _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(even + at)));
      __m512i high = _mm512_setzero_si512();
      if (odd) {
        const void *from = even + args->ldv + at;
        high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from)), 16);
      }
      _mm512_store_si512(to + at * PAIR, _mm512_or_si512(low, high));
    }
  }
}

static inline __m512bh pair_of(const uint16_t *x) {
  int32_t pair;
  memcpy(&pair, x, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

/* Lanes of the keys from `at` on. */
static inline __mmask16 live(size_t keys, size_t at) {
  size_t left = keys > at ? keys - at : 0;
  return (__mmask16)(left >= LANES ? 0xffffu : (1u << left) - 1u);
}

/* sums (rows x vectors of 16) = a b over `depth` pairs: row r of a lies at a + r * lda; b has
 * `step` values a depth, and its vectors lie `apart` values from each other. Inlined with constant
 * rows and vectors, so that all sums are registers. */
static inline __attribute__((always_inline)) void
multiply(size_t rows, size_t vectors, size_t depth, const uint16_t *a, size_t lda,
         const uint16_t *b, size_t step, size_t apart, __m512 sums[ROWS][KEY_VECTORS]) {
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      sums[r][v] = _mm512_setzero_ps();
    }
  }
  for (size_t d = 0; d < depth; d++, a += PAIR, b += step) {
    __m512bh columns[KEY_VECTORS];
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      columns[v] = (__m512bh)_mm512_load_si512(b + v * apart);
    }
    RR_UNROLL
    for (size_t r = 0; r < rows; r++) {
      __m512bh pair = pair_of(a + r * lda);
      RR_UNROLL
      for (size_t v = 0; v < vectors; v++) {
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], pair, columns[v]);
      }
    }
  }
}

/* The scores of `vectors` vectors of keys from `vector` on; most: the largest so far, by lane,
 * where `last` are the live lanes of the last of them. */
static inline __attribute__((always_inline)) void
score_tile(size_t rows, size_t vectors, const rr_attention_args *args, const pieces *p,
           const uint16_t *q, size_t vector, __mmask16 last, __m512 most[ROWS]) {
  size_t apart = p->head_pairs * LANES * PAIR;
  __m512 sums[ROWS][KEY_VECTORS];
  multiply(rows, vectors, p->head_pairs, q, args->ldq, p->keys + vector * apart, LANES * PAIR,
           apart, sums);
  float *out = p->scores + vector * LANES;
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v + 1 < vectors; v++) {
      _mm512_storeu_ps(out + r * p->ld_scores + v * LANES, sums[r][v]);
      most[r] = _mm512_max_ps(most[r], sums[r][v]);
    }
    _mm512_storeu_ps(out + r * p->ld_scores + (vectors - 1) * LANES, sums[r][vectors - 1]);
    most[r] = _mm512_mask_max_ps(most[r], last, most[r], sums[r][vectors - 1]);
  }
}

/* All scores of a block of queries; most: the largest of each row, by lane. */
static inline __attribute__((always_inline)) void score(size_t rows, const rr_attention_args *args,
                                                        const pieces *p, const uint16_t *q,
                                                        __m512 most[ROWS]) {
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    most[r] = _mm512_set1_ps(-__builtin_inff());
  }
  size_t vector = 0;
  for (; vector + KEY_VECTORS < p->key_vectors; vector += KEY_VECTORS) {
    score_tile(rows, KEY_VECTORS, args, p, q, vector, 0xffff, most);
  }
  __mmask16 last = live(args->keys, (p->key_vectors - 1) * LANES);
  switch (p->key_vectors - vector) {
  case 1: score_tile(rows, 1, args, p, q, vector, last, most); break;
  case 2: score_tile(rows, 2, args, p, q, vector, last, most); break;
  default: score_tile(rows, 3, args, p, q, vector, last, most); break;
  }
}

/* 2^x, relative error below 8e-5, a 25th of what rounding to bfloat16 may add. NaN gives NaN,
 * infinity below gives 0. Of a least-maximum-error fit of 2^r on 0 <= r <= 1, r being x less the
 * integer below. */
static inline __m512 power_of_two(__m512 x) {
  __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(0x1.3f969ap-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.cefc54p-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.64444ap-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fff632p-1f));
  return _mm512_scalef_ps(p, x); /* rounds its exponent down */
}

/* Row r's largest lane, or the sum of its lanes, in lane r: eight reductions at once, as each alone
 * would be a chain of waits. NaN may be lost by the largest: it comes back with the weights. */
static inline __m256 combine(__m256 a, __m256 b, bool largest) {
  return largest ? _mm256_max_ps(a, b) : _mm256_add_ps(a, b);
}

static inline __attribute__((always_inline)) __m256 reduce(const __m512 rows[ROWS], bool largest) {
  __m256 half[ROWS];
  __m256 quarter[ROWS / 2];
  RR_UNROLL
  for (size_t r = 0; r < ROWS; r++) {
    half[r] = combine(_mm512_castps512_ps256(rows[r]), _mm512_extractf32x8_ps(rows[r], 1), largest);
  }
  RR_UNROLL
  for (size_t i = 0; i < ROWS / 2; i++) {
    quarter[i] = combine(_mm256_unpacklo_ps(half[2 * i], half[2 * i + 1]),
                         _mm256_unpackhi_ps(half[2 * i], half[2 * i + 1]), largest);
  }
  __m256d a = _mm256_castps_pd(quarter[0]);
  __m256d b = _mm256_castps_pd(quarter[1]);
  __m256d c = _mm256_castps_pd(quarter[2]);
  __m256d d = _mm256_castps_pd(quarter[3]);
  __m256 first = combine(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                         _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)), largest);
  __m256 last = combine(_mm256_castpd_ps(_mm256_unpacklo_pd(c, d)),
                        _mm256_castpd_ps(_mm256_unpackhi_pd(c, d)), largest);
  return combine(_mm256_permute2f128_ps(first, last, 0x20),
                 _mm256_permute2f128_ps(first, last, 0x31), largest);
}

/* 2^(scale (score - most)): taking the largest score away first is exact where it counts, so that
 * the exponent is never above 0. */
static inline __m512 weight(__m512 score, __m512 most, __m512 scale) {
  return power_of_two(_mm512_mul_ps(_mm512_sub_ps(score, most), scale));
}

/* A row of scores, the largest of which is `most`, becomes weights, of 32 keys at a time, zeros
 * beyond the last one; returns their sums. */
static inline __attribute__((always_inline)) __m512 weigh(size_t keys, const __mmask16 rest[PAIR],
                                                          __m512 scale, __m512 most,
                                                          const float *scores, uint16_t *weights) {
  const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
  __m512 sum = _mm512_setzero_ps();
  size_t at = 0;
  for (; at + PAIR * LANES <= keys; at += PAIR * LANES) {
    __m512 low = weight(_mm512_load_ps(scores + at), most, scale);
    __m512 high = weight(_mm512_load_ps(scores + at + LANES), most, scale);
    __m512bh both = _mm512_cvtne2ps_pbh(high, low);
    sum = _mm512_dpbf16_ps(sum, both, ones);
    _mm512_storeu_si512(weights + at, (__m512i)both);
  }
  if (at < keys) {
    __m512 low = weight(_mm512_maskz_load_ps(rest[0], scores + at), most, scale);
    __m512 high = weight(_mm512_maskz_load_ps(rest[1], scores + at + LANES), most, scale);
    low = _mm512_maskz_mov_ps(rest[0], low);
    high = _mm512_maskz_mov_ps(rest[1], high);
    __m512bh both = _mm512_cvtne2ps_pbh(high, low);
    sum = _mm512_dpbf16_ps(sum, both, ones);
    _mm512_storeu_si512(weights + at, (__m512i)both);
  }
  return sum;
}

/* The weights of some queries, not yet divided by their sums; ret_inverse: one over those. row: the
 * largest scores, by lane. `factor` is the scale times log2 e. */
static inline __attribute__((always_inline)) void weigh_rows(size_t rows, size_t keys,
                                                             const pieces *p, float factor,
                                                             __m512 row[ROWS],
                                                             float ret_inverse[ROWS]) {
  size_t pairs = keys / (PAIR * LANES) * PAIR * LANES;
  const __mmask16 rest[PAIR] = {live(keys, pairs), live(keys, pairs + LANES)};
  const __m512 scale = _mm512_set1_ps(factor);
  float most[ROWS];
  RR_UNROLL
  for (size_t r = rows; r < ROWS; r++) {
    row[r] = row[0];
  }
  _mm256_storeu_ps(most, reduce(row, true));
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    row[r] = weigh(keys, rest, scale, _mm512_set1_ps(most[r]), p->scores + r * p->ld_scores,
                   p->weights + r * p->ld_scores);
  }
  RR_UNROLL
  for (size_t r = rows; r < ROWS; r++) {
    row[r] = row[0];
  }
  _mm256_storeu_ps(ret_inverse, _mm256_div_ps(_mm256_set1_ps(1.0f), reduce(row, false)));
}

/* One or two vectors of the outputs of some queries, from dimension `at` on. */
static inline __attribute__((always_inline)) void mix(size_t rows, size_t vectors,
                                                      const rr_attention_args *args,
                                                      const pieces *p, const float inverse[ROWS],
                                                      size_t at, uint16_t *out) {
  __m512 sums[ROWS][KEY_VECTORS];
  multiply(rows, vectors, p->key_pairs, p->weights, p->ld_scores, p->values + at * PAIR,
           args->head_size * PAIR, LANES * PAIR, sums);
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    const __m512 factor = _mm512_set1_ps(inverse[r]);
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      __m512bh both = _mm512_cvtne2ps_pbh(_mm512_setzero_ps(), _mm512_mul_ps(sums[r][v], factor));
      _mm256_storeu_si256((__m256i *)(void *)(out + r * args->ld_out + at + v * LANES),
                          _mm512_castsi512_si256((__m512i)both));
    }
  }
}

/* A function of its own: together with what comes before it gcc runs out of registers. */
#define MIX(rows)                                                                                  \
  static __attribute__((noinline)) void mix_##rows(const rr_attention_args *args, const pieces *p, \
                                                   const float inverse[ROWS], size_t at,           \
                                                   uint16_t *out) {                                \
    if (args->head_size - at > LANES) {                                                            \
      mix(rows, HEAD_VECTORS, args, p, inverse, at, out);                                          \
    } else {                                                                                       \
      mix(rows, 1, args, p, inverse, at, out);                                                     \
    }                                                                                              \
  }

/* The queries first .. first + rows - 1. */
#define ATTEND(rows)                                                                               \
  MIX(rows)                                                                                        \
  static __attribute__((noinline)) void attend_##rows(                                             \
      const rr_attention_args *args, const pieces *p, float factor, size_t first) {                \
    __m512 most[ROWS];                                                                             \
    float inverse[ROWS];                                                                           \
    score(rows, args, p, (const uint16_t *)args->q + first * args->ldq, most);                     \
    weigh_rows(rows, args->keys, p, factor, most, inverse);                                        \
    for (size_t at = 0; at < args->head_size; at += HEAD_VECTORS * LANES) {                        \
      mix_##rows(args, p, inverse, at, (uint16_t *)args->out + first * args->ld_out);              \
    }                                                                                              \
  }
ATTEND(1)
ATTEND(2)
ATTEND(3)
ATTEND(4)
ATTEND(5)
ATTEND(6)
ATTEND(7)
ATTEND(8)

static void run(const rr_attention_args *args) {
  const float log2_e = 0x1.715476p0f;
  pieces p = arrange(args->keys, args->head_size, args->scratch);
  pack_keys(args, &p);
  pack_values(args, &p);
  float factor = args->scale * log2_e;
  static void (*const blocks[ROWS])(const rr_attention_args *, const pieces *, float, size_t) = {
      attend_1, attend_2, attend_3, attend_4, attend_5, attend_6, attend_7, attend_8};
  for (size_t first = 0, rows; first < args->queries; first += rows) {
    size_t left = args->queries - first;
    /* One to three rows would mostly wait for their own sums: they are shared out with a block
     * before. */
    rows = left < ROWS ? left : left > ROWS && left < ROWS + ROWS / 2 ? left / 2 : ROWS;
    blocks[rows - 1](args, &p, factor, first);
  }
}

const rr_attention rr_attention_bf16_avx512bf16 = {
    .name = "bf16-avx512bf16",
    .type = RR_TYPE_BF16,
    .head_multiple = LANES,
    .scratch_size = scratch_size,
    .run = run,
};
