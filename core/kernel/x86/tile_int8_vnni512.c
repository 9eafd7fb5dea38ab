/* AVX-512 VNNI: vpdpbusd adds four products of an unsigned and a signed byte to each of 16 sums. */
#include <immintrin.h>

#include "core/kernel/blocked.h"
#include "core/kernel/gemm.h"
#include "core/kernel/x86/quantize_avx512.h"

/* 24 of the 32 registers hold sums; two panels' widths of weights and a row's value take three. Two
 * vectors rather than four keep a panel of 1,536 k in half of the level-1 cache. */
enum { ROWS = 12, VECTORS = 2, LANES = 16, COLS = VECTORS * LANES, GROUP = 4 };

static inline __m512i four_bytes(const uint8_t *x) {
  int32_t four;
  memcpy(&four, x, sizeof four);
  return _mm512_set1_epi32(four);
}

/* Inlined with a constant number of rows, so that all sums are registers. */
static inline __attribute__((always_inline)) void tile_of(const rr_tile_args *args, size_t rows) {
  __m512i sums[ROWS][VECTORS];
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      sums[r][v] = _mm512_setzero_si512();
    }
  }
  const uint8_t *x = args->x;
  const int8_t *w = args->w;
  size_t stride = args->x_stride;
  for (size_t d = 0; d < args->depth; d++, x += GROUP, w += GROUP * COLS) {
    __m512i weights[VECTORS];
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      weights[v] = _mm512_load_si512(w + v * GROUP * LANES);
    }
    RR_UNROLL
    for (size_t r = 0; r < rows; r++) {
      __m512i values = four_bytes(x + r * stride);
      RR_UNROLL
      for (size_t v = 0; v < VECTORS; v++) {
        sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], values, weights[v]);
      }
    }
  }
  int32_t *out = args->sums;
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      _mm512_store_si512(out + r * COLS + v * LANES, sums[r][v]);
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

static void tile(const rr_tile_args *args) {
  static void (*const tiles[ROWS])(const rr_tile_args *) = {tile_1, tile_2,  tile_3,  tile_4,
                                                            tile_5, tile_6,  tile_7,  tile_8,
                                                            tile_9, tile_10, tile_11, tile_12};
  tiles[args->rows - 1](args);
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_INT8,
    .rows = ROWS,
    .cols = COLS,
    .group = GROUP,
    .k_multiple = RR_QUANTIZE_AVX512_STEP,
    .x_bytes = sizeof(uint8_t),
    .tile = tile,
    .convert = rr_quantize_rows_avx512,
    .convert_bf16 = rr_quantize_bf16_rows_avx512,
};

RR_BLOCKED_GEMM(rr_gemm_int8_vnni512, "int8-vnni512", RR_FORMAT_INT8, ROWS, kernel);
