/* sdot: adds four products of signed bytes to each of four sums. */
#include "core/kernel/arm/quantize_neon.h"
#include "core/kernel/arm/tile_neon.h"
#include "core/kernel/gemm.h"

/* 24 of the 32 registers hold sums, three a depth's weights, one four k of a row. */
enum { ROWS = 8, VECTORS = 3, LANES = 4, COLS = VECTORS * LANES, GROUP = 4 };

static inline int8x16_t four_of(const int8_t *x) {
  int32_t four;
  memcpy(&four, x, sizeof four);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* Inlined with a constant number of rows, so that all sums are registers. */
static inline __attribute__((always_inline)) void tile_of(const rr_tile_args *args, size_t rows) {
  int32x4_t sums[ROWS][VECTORS];
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      sums[r][v] = vdupq_n_s32(0);
    }
  }
  const int8_t *x = args->x;
  const int8_t *w = args->w;
  for (size_t d = 0; d < args->depth; d++, x += GROUP, w += GROUP * COLS) {
    int8x16_t weights[VECTORS];
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      weights[v] = vld1q_s8(w + v * GROUP * LANES);
    }
    RR_UNROLL
    for (size_t r = 0; r < rows; r++) {
      int8x16_t values = four_of(x + r * args->x_stride);
      RR_UNROLL
      for (size_t v = 0; v < VECTORS; v++) {
        sums[r][v] = vdotq_s32(sums[r][v], values, weights[v]);
      }
    }
  }
  int32_t *out = args->sums;
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      vst1q_s32(out + r * COLS + v * LANES, sums[r][v]);
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

static void tile(const rr_tile_args *args) {
  static void (*const tiles[ROWS])(const rr_tile_args *) = {tile_1, tile_2, tile_3, tile_4,
                                                            tile_5, tile_6, tile_7, tile_8};
  tiles[args->rows - 1](args);
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_INT8,
    .rows = ROWS,
    .cols = COLS,
    .group = GROUP,
    .k_multiple = RR_QUANTIZE_NEON_STEP,
    .x_bytes = sizeof(int8_t),
    .zero_point = RR_QUANTIZE_NEON_ZERO,
    .tile = tile,
    .convert = rr_quantize_rows_neon,
};

RR_BLOCKED_GEMM(rr_gemm_int8_dotprod, "int8-dotprod", RR_FORMAT_INT8, ROWS, kernel);
