/* Late interaction (MaxSim of ColBERT, Khattab and Zaharia, 2020), built once an ISA (see isa.h):
 * of each vector of a query the largest product with any of a document's vectors; the caller adds
 * them up.
 *
 * RR_TILE_ROWS of the document's rows meet one or two vectors of RR_LANES queries in registers, and
 * their sums go into the maxima at once: a product of queries x rows is never stored, as it would
 * be by rr_gemm. bfloat16 is made float32, and eight bits are made 32, PIECE dimensions of a block
 * of rows at a time. Packed queries, L being RR_LANES:
 *
 *   q[0][0] .. q[L-1][0]   q[0][1] .. q[L-1][1]   ...   dim times L, then the next L queries
 *   beyond the last query: zeros; int8: behind all of them the scale of each query
 *
 * Sums run over the dimensions in ascending order, one accumulator each, whatever the other rows
 * and queries are: a pair's bits depend on the pair alone. Sums of bytes are exact.
 *
 * Not done: leaving rows out by centroids (PLAID). It needs an index of documents; here each of a
 * request's documents has to get its score. */
#include <stdbool.h>

#include "core/kernel/blocked.h"
#include "core/kernel/isa.h"
#include "core/kernel/maxsim_rows.h"

#define VECTOR_OF(lanes) __attribute__((vector_size((lanes)*4), aligned(4), may_alias))
typedef float vector VECTOR_OF(RR_LANES);
typedef int32_t integers VECTOR_OF(RR_LANES);

enum { PIECE = 128 }; /* dimensions that are converted at a time */

static size_t vectors_of(size_t queries) { return (queries + RR_LANES - 1) / RR_LANES; }

/* dim x RR_LANES floats or int32_t a vector; then, of int8, a scale a query. */
static size_t packed_size(size_t queries, size_t dim) {
  return vectors_of(queries) * RR_LANES * (dim + 1) * sizeof(float);
}

static size_t row_size_of(rr_format format, size_t dim) {
  return format == RR_FORMAT_FP32   ? rr_maxsim_fp32_row_size(dim)
         : format == RR_FORMAT_BF16 ? rr_maxsim_bf16_row_size(dim)
                                    : rr_maxsim_int8_row_size(dim);
}

/* Lanes beyond the last query stay 0. */
static void pack(rr_format format, size_t queries, size_t dim, const void *rows, void *packed) {
  float *floats = packed;
  int32_t *numbers = packed;
  size_t padded = vectors_of(queries) * RR_LANES;
  memset(packed, 0, packed_size(queries, dim));
  for (size_t q = 0; q < queries; q++) {
    const char *row = (const char *)rows + q * row_size_of(format, dim);
    size_t at = q / RR_LANES * RR_LANES * dim + q % RR_LANES;
    for (size_t d = 0; d < dim; d++, at += RR_LANES) {
      if (format == RR_FORMAT_FP32) {
        floats[at] = ((const float *)(const void *)row)[d];
      } else if (format == RR_FORMAT_BF16) {
        floats[at] = rr_bf16_to_float(((const uint16_t *)(const void *)row)[d]);
      } else {
        numbers[at] = ((const uint8_t *)row)[d] - RR_MAXSIM_ZERO;
      }
    }
    if (format == RR_FORMAT_INT8) {
      floats[padded * dim + q] = rr_maxsim_int8_scale(dim, row);
    }
  }
}

/* `count` dimensions of a stored row from `first` on, as floats or integers. */
static inline __attribute__((always_inline)) void
convert(rr_format format, const char *row, size_t first, size_t count, void *restrict to) {
  for (size_t d = 0; d < count; d++) {
    if (format == RR_FORMAT_BF16) {
      ((float *)to)[d] = rr_bf16_to_float(((const uint16_t *)(const void *)row)[first + d]);
    } else {
      ((int32_t *)to)[d] = ((const uint8_t *)row)[first + d] - RR_MAXSIM_ZERO;
    }
  }
}

/* sums += rows times `count` dimensions of the packed queries at w. */
#define MULTIPLY(name, type, element)                                                              \
  static inline __attribute__((always_inline)) void name(                                          \
      size_t vectors, size_t count, const void *const *rows, const void *w, size_t apart,          \
      type sums[RR_TILE_ROWS][RR_TILE_VECTORS]) {                                                  \
    for (size_t d = 0; d < count; d++) {                                                           \
      type columns[RR_TILE_VECTORS];                                                               \
      RR_UNROLL                                                                                    \
      for (size_t v = 0; v < vectors; v++) {                                                       \
        columns[v] = *(const type *)(const void *)((const element *)w + v * apart + d * RR_LANES); \
      }                                                                                            \
      RR_UNROLL                                                                                    \
      for (size_t r = 0; r < RR_TILE_ROWS; r++) {                                                  \
        RR_UNROLL                                                                                  \
        for (size_t v = 0; v < vectors; v++) {                                                     \
          sums[r][v] += ((const element *)rows[r])[d] * columns[v];                                \
        }                                                                                          \
      }                                                                                            \
    }                                                                                              \
  }
MULTIPLY(multiply_floats, vector, float)
MULTIPLY(multiply_integers, integers, int32_t)

/* most = the larger one; NaN once it is met. By address: GCC 14 for aarch64 fails to pass vectors
 * of less than their
 * natural alignment by value. */
static inline __attribute__((always_inline)) void take_larger(vector *most, const vector *sum) {
  integers take = (*sum > *most) | (*sum != *sum);
  *most = (vector)(((integers)*sum & take) | ((integers)*most & ~take));
}

/* A block of rows, of which the last may repeat. Format and vectors are constants where this is
 * inlined. */
static inline __attribute__((always_inline)) void meet(rr_format format, size_t vectors, size_t dim,
                                                       const char *const *rows, const void *w,
                                                       vector most[RR_TILE_VECTORS]) {
  vector sums[RR_TILE_ROWS][RR_TILE_VECTORS];
  integers counts[RR_TILE_ROWS][RR_TILE_VECTORS];
  _Alignas(64) float piece[RR_TILE_ROWS][PIECE];
  const void *at[RR_TILE_ROWS];
  RR_UNROLL
  for (size_t r = 0; r < RR_TILE_ROWS; r++) {
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      sums[r][v] = (vector){0};
      counts[r][v] = (integers){0};
    }
  }
  if (format == RR_FORMAT_FP32) {
    for (size_t r = 0; r < RR_TILE_ROWS; r++) {
      at[r] = rows[r];
    }
    multiply_floats(vectors, dim, at, w, dim * RR_LANES, sums);
  } else {
    for (size_t first = 0; first < dim; first += PIECE) {
      size_t here = dim - first < PIECE ? dim - first : PIECE;
      for (size_t r = 0; r < RR_TILE_ROWS; r++) {
        convert(format, rows[r], first, here, piece[r]);
        at[r] = piece[r];
      }
      const float *part = (const float *)w + first * RR_LANES; /* an int32_t is as large */
      if (format == RR_FORMAT_BF16) {
        multiply_floats(vectors, here, at, part, dim * RR_LANES, sums);
      } else {
        multiply_integers(vectors, here, at, part, dim * RR_LANES, counts);
      }
    }
  }
  RR_UNROLL
  for (size_t r = 0; r < RR_TILE_ROWS; r++) {
    float scale = format == RR_FORMAT_INT8 ? rr_maxsim_int8_scale(dim, rows[r]) : 1.0f;
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      if (format == RR_FORMAT_INT8) {
        sums[r][v] = __builtin_convertvector(counts[r][v], vector) * scale;
      }
      take_larger(&most[v], &sums[r][v]);
    }
  }
}

/* All rows meet the queries from vector `first` on. */
static inline __attribute__((always_inline)) void
run_vectors(rr_format format, size_t vectors, size_t first, const rr_maxsim_args *args) {
  size_t row_size = row_size_of(format, args->dim);
  const float *w = (const float *)args->packed + first * RR_LANES * args->dim;
  const float *scales =
      (const float *)args->packed + vectors_of(args->queries) * RR_LANES * args->dim;
  vector most[RR_TILE_VECTORS];
  for (size_t v = 0; v < vectors; v++) {
    most[v] = (vector){0} - INFINITY;
  }
  for (size_t i = 0; i < args->rows; i += RR_TILE_ROWS) {
    const char *rows[RR_TILE_ROWS];
    for (size_t r = 0; r < RR_TILE_ROWS; r++) {
      size_t row = i + r < args->rows ? i + r : args->rows - 1;
      rows[r] = (const char *)args->tokens + row * row_size;
    }
    meet(format, vectors, args->dim, rows, w, most);
  }
  for (size_t v = 0; v < vectors; v++) {
    size_t at = (first + v) * RR_LANES;
    for (size_t lane = 0; lane < RR_LANES && at + lane < args->queries; lane++) {
      args->best[at + lane] = most[v][lane] * (format == RR_FORMAT_INT8 ? scales[at + lane] : 1.0f);
    }
  }
}

static inline __attribute__((always_inline)) void run(rr_format format,
                                                      const rr_maxsim_args *args) {
  size_t vectors = vectors_of(args->queries);
  size_t first = 0;
  for (; first + RR_TILE_VECTORS <= vectors; first += RR_TILE_VECTORS) {
    run_vectors(format, RR_TILE_VECTORS, first, args);
  }
  if (first < vectors) {
    run_vectors(format, 1, first, args);
  }
}

#define MAXSIM(kind, KIND)                                                                         \
  static size_t kind##_row_size(size_t dim) { return rr_maxsim_##kind##_row_size(dim); }           \
  static void kind##_store(size_t dim, const float *x, void *row) {                                \
    rr_maxsim_##kind##_store(dim, x, row);                                                         \
  }                                                                                                \
  static void kind##_pack(size_t queries, size_t dim, const void *rows, void *packed) {            \
    pack(RR_FORMAT_##KIND, queries, dim, rows, packed);                                            \
  }                                                                                                \
  static void kind##_run(const rr_maxsim_args *args) { run(RR_FORMAT_##KIND, args); }              \
  const rr_maxsim RR_ISA_NAME(rr_maxsim_##kind) = {                                                \
      .name = "maxsim-" #kind "-" RR_ISA_STRING,                                                   \
      .format = RR_FORMAT_##KIND,                                                                  \
      .row_size = kind##_row_size,                                                                 \
      .store = kind##_store,                                                                       \
      .packed_size = packed_size,                                                                  \
      .pack = kind##_pack,                                                                         \
      .run = kind##_run,                                                                           \
  }
MAXSIM(fp32, FP32);
MAXSIM(bf16, BF16);
MAXSIM(int8, INT8);
