/* What late interaction by AVX512_BF16 and by VNNI share: a loop over blocks of rows and vectors of
 * 16 queries. The algorithm is that of ../maxsim.c, but rows are multiplied as they are stored.
 * Packed queries, with a GROUP of 4:
 *
 *   q[0][0..3] q[1][0..3] .. q[15][0..3]     a line a group of dimensions
 *   q[0][4..7] q[1][4..7] .. q[15][4..7]     zero beyond dim
 *   ...  FIX_BYTES                           then the next 16 queries
 *
 * A source defines, before it includes this,
 *   GROUP                        dimensions that one instruction takes of a row, four bytes
 *   FIX_BYTES                    what pack leaves behind the values of 16 queries
 *   ROW_SIZE(dim)                bytes of a stored row
 *   sums_t, ZERO_SUMS            a vector of sums, and one of zeros
 *   DOT(sums, row, column)       sums + the products of a group: four bytes of the row in every
 *                                lane, a packed vector
 *   VALUES(sums, dim, row, fix)  the sums as floats
 *   FINAL(most, fix)             the maxima as they are returned
 */
#include <immintrin.h>

enum { LANES = 16, VECTORS = 2, ROWS = 8, LINE = 64 };

static size_t vectors_of(size_t queries) { return (queries + LANES - 1) / LANES; }
static size_t groups_of(size_t dim) { return (dim + GROUP - 1) / GROUP; }

/* Bytes of 16 packed queries: a line a group, and what VALUES wants. */
static size_t vector_bytes(size_t dim) { return groups_of(dim) * LINE + FIX_BYTES; }
static size_t packed_size(size_t queries, size_t dim) {
  return vectors_of(queries) * vector_bytes(dim);
}

static inline __m512i four_bytes(const char *at) {
  int32_t four;
  memcpy(&four, at, sizeof four);
  return _mm512_set1_epi32(four);
}

/* The larger one; NaN once it is met. */
static inline __m512 larger(__m512 most, __m512 sum) {
  __mmask16 take =
      _mm512_cmp_ps_mask(sum, most, _CMP_GT_OQ) | _mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q);
  return _mm512_mask_mov_ps(most, take, sum);
}

/* A block of rows, of which the last may repeat; `vectors` is a constant where this is inlined. */
static inline __attribute__((always_inline)) void
meet(size_t vectors, size_t dim, const char *const *rows, const char *w, __m512 most[VECTORS]) {
  sums_t sums[ROWS][VECTORS];
  RR_UNROLL
  for (size_t r = 0; r < ROWS; r++) {
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      sums[r][v] = ZERO_SUMS;
    }
  }
  size_t groups = groups_of(dim);
  for (size_t g = 0; g < groups; g++) {
    __m512i columns[VECTORS];
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      columns[v] = _mm512_load_si512(w + v * vector_bytes(dim) + g * LINE);
    }
    RR_UNROLL
    for (size_t r = 0; r < ROWS; r++) {
      __m512i values = four_bytes(rows[r] + g * sizeof(int32_t));
      RR_UNROLL
      for (size_t v = 0; v < vectors; v++) {
        sums[r][v] = DOT(sums[r][v], values, columns[v]);
      }
    }
  }
  RR_UNROLL
  for (size_t r = 0; r < ROWS; r++) {
    RR_UNROLL
    for (size_t v = 0; v < vectors; v++) {
      most[v] = larger(most[v],
                       VALUES(sums[r][v], dim, rows[r], w + v * vector_bytes(dim) + groups * LINE));
    }
  }
}

/* All rows meet the queries from vector `first` on. */
static inline __attribute__((always_inline)) void run_vectors(size_t vectors, size_t first,
                                                              const rr_maxsim_args *args) {
  const char *w = (const char *)args->packed + first * vector_bytes(args->dim);
  size_t row_size = ROW_SIZE(args->dim);
  __m512 most[VECTORS];
  for (size_t v = 0; v < vectors; v++) {
    most[v] = _mm512_set1_ps(-INFINITY);
  }
  for (size_t i = 0; i < args->rows; i += ROWS) {
    const char *rows[ROWS];
    for (size_t r = 0; r < ROWS; r++) {
      size_t row = i + r < args->rows ? i + r : args->rows - 1;
      rows[r] = (const char *)args->tokens + row * row_size;
    }
    meet(vectors, args->dim, rows, w, most);
  }
  for (size_t v = 0; v < vectors; v++) {
    size_t left = args->queries - (first + v) * LANES;
    __mmask16 live = (__mmask16)(left >= LANES ? 0xffffu : (1u << left) - 1u);
    __m512 best = FINAL(most[v], w + v * vector_bytes(args->dim) + groups_of(args->dim) * LINE);
    _mm512_mask_storeu_ps(args->best + (first + v) * LANES, live, best);
  }
}

static void run(const rr_maxsim_args *args) {
  size_t vectors = vectors_of(args->queries);
  size_t first = 0;
  for (; first + VECTORS <= vectors; first += VECTORS) {
    run_vectors(VECTORS, first, args);
  }
  if (first < vectors) {
    run_vectors(1, first, args);
  }
}
