/* One attention head in float32, softmax(scale q k^T) v, built once an ISA (see isa.h).
 *
 * Once a head, keys are transposed into tiles of RR_TILE_COLS keys, so that a vector of keys is one
 * load, and values are copied next to each other. Then RR_TILE_ROWS queries at a time: all their
 * scores; a row's largest score taken away, exp, the sum; the product with the values; the division
 * by the sum, of head_size outputs instead of all weights. In the scratch, T being RR_TILE_COLS:
 *
 *   keys      k[0][0] .. k[T-1][0]   k[0][1] .. k[T-1][1]   ...   then the next T keys; zero padded
 *   values    v[0][0] .. v[0][head_size-1]   v[1][0] ..   ...      rows padded to a multiple of T
 *   scores    RR_TILE_ROWS rows of padded_keys
 *   outputs   RR_TILE_ROWS rows of padded_head
 *
 * Not done: a running maximum as in FlashAttention (Dao et al., 2022). It saves storing the scores
 * of long sequences; those of 8 queries with 512 keys take 16 KiB, and exact maxima take no
 * corrections. No mask: the caller gives one sequence at a time, without padding.
 */
#include <float.h>

#include "core/kernel/isa.h"
#include "core/kernel/rowops_math.h"

#define VECTOR_OF(lanes) __attribute__((vector_size((lanes)*4), aligned(4), may_alias))
typedef float vector VECTOR_OF(RR_LANES);
typedef int32_t integers VECTOR_OF(RR_LANES);
typedef float quad VECTOR_OF(4);
typedef int32_t quad_integers VECTOR_OF(4);

/* Where the pieces of the scratch lie. */
typedef struct pieces {
  size_t padded_keys;
  size_t padded_head;
  float *keys;    /* padded_keys / RR_TILE_COLS x head_size x RR_TILE_COLS, zero padded */
  float *values;  /* keys x padded_head, zero padded */
  float *scores;  /* RR_TILE_ROWS x padded_keys */
  float *outputs; /* RR_TILE_ROWS x padded_head */
  size_t size;    /* floats of all of them */
} pieces;

static size_t padded(size_t size) {
  return (size + RR_TILE_COLS - 1) / RR_TILE_COLS * RR_TILE_COLS;
}

static pieces arrange(size_t keys, size_t head_size, float *scratch) {
  pieces p = {.padded_keys = padded(keys), .padded_head = padded(head_size)};
  size_t sizes[] = {p.padded_keys * head_size, keys * p.padded_head, RR_TILE_ROWS * p.padded_keys};
  p.size = sizes[0] + sizes[1] + sizes[2] + RR_TILE_ROWS * p.padded_head;
  if (scratch != NULL) {
    p.keys = scratch;
    p.values = p.keys + sizes[0];
    p.scores = p.values + sizes[1];
    p.outputs = p.scores + sizes[2];
  }
  return p;
}

static size_t scratch_size(size_t keys, size_t head_size) {
  return arrange(keys, head_size, NULL).size * sizeof(float);
}

static void regroup_keys(const rr_attention_args *args, const pieces *p) {
  size_t head_size = args->head_size;
  for (size_t first = 0; first < p->padded_keys; first += RR_TILE_COLS) {
    float *tile = p->keys + first * head_size;
    size_t here = args->keys - first < RR_TILE_COLS ? args->keys - first : RR_TILE_COLS;
    if (here < RR_TILE_COLS) {
      memset(tile, 0, RR_TILE_COLS * head_size * sizeof *tile);
    }
    for (size_t j = 0; j < here; j++) {
      const float *key = (const float *)args->k + (first + j) * args->ldk;
      for (size_t d = 0; d < head_size; d++) {
        tile[d * RR_TILE_COLS + j] = key[d];
      }
    }
  }
}

static void copy_values(const rr_attention_args *args, const pieces *p) {
  size_t head_size = args->head_size;
  for (size_t j = 0; j < args->keys; j++) {
    float *row = p->values + j * p->padded_head;
    memcpy(row, (const float *)args->v + j * args->ldv, head_size * sizeof *row);
    for (size_t d = head_size; d < p->padded_head; d++) {
      row[d] = 0.0f;
    }
  }
}

/* out (RR_TILE_ROWS x RR_TILE_COLS) = factor * a b over `depth`, 1 or more: a is given by its rows,
 * b has RR_TILE_COLS contiguous columns a row. */
static inline void multiply_tile(const float *const *a, const float *b, size_t ldb, size_t depth,
                                 float factor, float *out, size_t ld_out) {
  vector sum[RR_TILE_ROWS][RR_TILE_VECTORS];
  for (size_t i = 0; i < RR_TILE_ROWS; i++) {
    sum[i][0] = a[i][0] * ((const vector *)b)[0];
    sum[i][1] = a[i][0] * ((const vector *)b)[1];
  }
  for (size_t d = 1; d < depth; d++) {
    const vector *row = (const vector *)(b + d * ldb);
    vector b0 = row[0];
    vector b1 = row[1];
    for (size_t i = 0; i < RR_TILE_ROWS; i++) {
      sum[i][0] += a[i][d] * b0;
      sum[i][1] += a[i][d] * b1;
    }
  }
  for (size_t i = 0; i < RR_TILE_ROWS; i++) {
    vector *row = (vector *)(out + i * ld_out);
    row[0] = sum[i][0] * factor;
    row[1] = sum[i][1] * factor;
  }
}

/* Vectors go by address into these: GCC 14 for aarch64 fails to pass those of less than their
 * natural alignment by value. */

/* most = lane by lane the larger one; b's where one is NaN. */
static inline __attribute__((always_inline)) void take_larger(vector *most, const vector *b) {
  integers mask = *most > *b;
  *most = (vector)(((integers)*most & mask) | ((integers)*b & ~mask));
}

static inline __attribute__((always_inline)) float sum_of_lanes(const vector *v) {
  const quad *parts = (const quad *)v;
  quad sum = parts[0];
  for (size_t i = 1; i < RR_LANES / 4; i++) {
    sum += parts[i];
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static inline __attribute__((always_inline)) float largest_lane(const vector *v) {
  const quad *parts = (const quad *)v;
  quad most = parts[0];
  for (size_t i = 1; i < RR_LANES / 4; i++) {
    quad_integers mask = most > parts[i];
    most = (quad)(((quad_integers)most & mask) | ((quad_integers)parts[i] & ~mask));
  }
  float low = most[0] > most[1] ? most[0] : most[1];
  float high = most[2] > most[3] ? most[2] : most[3];
  return low > high ? low : high;
}

/* row = exp(row - its maximum); returns the sum of that. Works on whole vectors: the padding behind
 * the keys is made too small to count, and the values never meet it. */
static float exponents(float *row, size_t keys, size_t padded_keys) {
  for (size_t j = keys; j < padded_keys; j++) {
    row[j] = -FLT_MAX;
  }
  vector most = *(const vector *)row;
  for (size_t j = RR_LANES; j < padded_keys; j += RR_LANES) {
    take_larger(&most, (const vector *)(row + j));
  }
  float maximum = largest_lane(&most);
#pragma omp simd
  for (size_t j = 0; j < padded_keys; j++) {
    row[j] = rr_math_exp(row[j] - maximum);
  }
  vector sum = *(const vector *)row;
  for (size_t j = RR_LANES; j < padded_keys; j += RR_LANES) {
    sum += *(const vector *)(row + j);
  }
  return sum_of_lanes(&sum);
}

/* The queries first .. first + count - 1, count at most RR_TILE_ROWS. The tile is always computed
 * whole; rows beyond count repeat the last query and are dropped. */
static void attend(const rr_attention_args *args, const pieces *p, size_t first, size_t count) {
  const float *rows[RR_TILE_ROWS];
  float inverse[RR_TILE_ROWS];
  for (size_t i = 0; i < RR_TILE_ROWS; i++) {
    rows[i] = (const float *)args->q + (first + (i < count ? i : count - 1)) * args->ldq;
  }
  for (size_t j = 0; j < p->padded_keys; j += RR_TILE_COLS) {
    multiply_tile(rows, p->keys + j * args->head_size, RR_TILE_COLS, args->head_size, args->scale,
                  p->scores + j, p->padded_keys);
  }
  for (size_t i = 0; i < RR_TILE_ROWS; i++) {
    rows[i] = p->scores + (i < count ? i : count - 1) * p->padded_keys;
  }
  for (size_t i = 0; i < count; i++) {
    inverse[i] = 1.0f / exponents(p->scores + i * p->padded_keys, args->keys, p->padded_keys);
  }
  for (size_t c = 0; c < p->padded_head; c += RR_TILE_COLS) {
    multiply_tile(rows, p->values + c, p->padded_head, args->keys, 1.0f, p->outputs + c,
                  p->padded_head);
  }
  for (size_t i = 0; i < count; i++) {
    const float *row = p->outputs + i * p->padded_head;
    float *out = (float *)args->out + (first + i) * args->ld_out;
    for (size_t d = 0; d < args->head_size; d++) {
      out[d] = row[d] * inverse[i];
    }
  }
}

static void run(const rr_attention_args *args) {
  pieces p = arrange(args->keys, args->head_size, args->scratch);
  regroup_keys(args, &p);
  copy_values(args, &p);
  for (size_t first = 0; first < args->queries; first += RR_TILE_ROWS) {
    size_t left = args->queries - first;
    attend(args, &p, first, left < RR_TILE_ROWS ? left : RR_TILE_ROWS);
  }
}

const rr_attention RR_ISA_NAME(rr_attention_fp32) = {
    .name = "fp32-" RR_ISA_STRING,
    .type = RR_TYPE_FP32,
    .head_multiple = 1,
    .scratch_size = scratch_size,
    .run = run,
};
