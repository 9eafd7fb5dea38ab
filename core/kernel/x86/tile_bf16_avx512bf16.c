/* AVX-512 bf16: vdpbf16ps adds two products to each of 16 float32 sums, the one of the odd k first.
 *
 * Where the CPU has none, tests run this code with the intrinsics in plain C
 * (tests/kernels/emulated). */
#include <immintrin.h>
#include <string.h>

#include "core/kernel/blocked.h"
#include "core/kernel/gemm.h"
#include "core/kernel/x86/bf16_avx512.h"

/* 24 of the 32 registers hold sums, four a depth's weights, one a pair of a row. */
enum { ROWS = 6, VECTORS = 4, LANES = 16, COLS = VECTORS * LANES, GROUP = 2 };

static void convert(size_t rows, size_t k, size_t k_padded, const float *x, size_t ldx,
                    void *converted, size_t stride, rr_row_scale *scales) {
  (void)scales;
  rr_bf16_convert_avx512(rows, k, k_padded, x, ldx, converted, stride);
}

static inline __m512bh pair_of(const uint16_t *x) {
  int32_t pair;
  memcpy(&pair, x, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

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
  const uint16_t *w = args->w;
  size_t stride = args->x_stride;
  for (size_t d = 0; d < args->depth; d++, x += GROUP * sizeof *w, w += GROUP * COLS) {
    __m512bh weights[VECTORS];
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      weights[v] = (__m512bh)_mm512_load_si512(w + v * GROUP * LANES);
    }
    RR_UNROLL
    for (size_t r = 0; r < rows; r++) {
      __m512bh pair = pair_of((const uint16_t *)(const void *)(x + r * stride));
      RR_UNROLL
      for (size_t v = 0; v < VECTORS; v++) {
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], pair, weights[v]);
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

static void tile(const rr_tile_args *args) {
  static void (*const tiles[ROWS])(const rr_tile_args *) = {tile_1, tile_2, tile_3,
                                                            tile_4, tile_5, tile_6};
  tiles[args->rows - 1](args);
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_BF16,
    .rows = ROWS,
    .cols = COLS,
    .group = GROUP,
    .k_multiple = RR_BF16_AVX512_STEP,
    .x_bytes = sizeof(uint16_t),
    .tile = tile,
    .convert = convert,
};

RR_BLOCKED_GEMM(rr_gemm_bf16_avx512bf16, "bf16-avx512bf16", RR_FORMAT_BF16, ROWS, kernel);
