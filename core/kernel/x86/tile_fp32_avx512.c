/* float32 tiles of 14 rows and two vectors: 28 of the 32 registers hold sums. */
#include <immintrin.h>

#include "core/kernel/blocked.h"
#include "core/kernel/gemm.h"
#include "core/kernel/tile_fp32.h"

enum { ROWS = RR_FP32_AVX512_ROWS, COLS = RR_FP32_AVX512_COLS, LANES = 16, VECTORS = COLS / LANES };

/* Depths ahead of use that a panel is fetched into the first-level cache. */
enum { AHEAD = 12 };

/* Inlined with a constant number of rows, so that all sums are registers. */
static inline __attribute__((always_inline)) void tile_of(const rr_tile_args *args, size_t rows) {
  __m512 sums[ROWS][VECTORS];
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      sums[r][v] = _mm512_setzero_ps();
    }
  }
  const char *x = args->x;
  const float *w = args->w;
  size_t stride = args->x_stride;
  const char *next = args->next;
  for (size_t d = 0; d < args->depth; d++, x += sizeof(float), w += COLS, next += args->next_step) {
    _mm_prefetch(next, _MM_HINT_T1);
    __m512 weights[VECTORS];
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      weights[v] = _mm512_load_ps(w + v * LANES);
      _mm_prefetch((const char *)(w + AHEAD * COLS + v * LANES), _MM_HINT_T0);
    }
    RR_UNROLL
    for (size_t r = 0; r < rows; r++) {
      __m512 value = _mm512_set1_ps(*(const float *)(const void *)(x + r * stride));
      RR_UNROLL
      for (size_t v = 0; v < VECTORS; v++) {
        sums[r][v] = _mm512_fmadd_ps(value, weights[v], sums[r][v]);
      }
    }
  }
  float *out = args->sums;
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      _mm512_store_ps(out + r * COLS + v * LANES, sums[r][v]);
    }
  }
}

#define TILE(rows)                                                                                 \
  static void tile_##rows(const rr_tile_args *args) { tile_of(args, rows); }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
TILE(14)

void rr_tile_fp32_avx512(const rr_tile_args *args) {
  static void (*const tiles[ROWS])(const rr_tile_args *) = {
      tile_1, tile_2, tile_3,  tile_4,  tile_5,  tile_6,  tile_7,
      tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14};
  tiles[args->rows - 1](args);
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_FP32,
    .rows = ROWS,
    .cols = COLS,
    .group = 1,
    .k_multiple = 1,
    .x_bytes = sizeof(float),
    .tile = rr_tile_fp32_avx512,
};

RR_BLOCKED_GEMM(rr_gemm_fp32_avx512, "fp32-avx512", RR_FORMAT_FP32, ROWS, kernel);
