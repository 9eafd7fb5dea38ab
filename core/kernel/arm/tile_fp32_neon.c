/* float32 tiles of 8 rows and three vectors: 24 of the 32 registers hold sums. */
#include "core/kernel/arm/tile_neon.h"
#include "core/kernel/gemm.h"
#include "core/kernel/tile_fp32.h"

enum { ROWS = RR_FP32_NEON_ROWS, COLS = RR_FP32_NEON_COLS, LANES = 4, VECTORS = COLS / LANES };

/* Inlined with a constant number of rows, so that all sums are registers. */
static inline __attribute__((always_inline)) void tile_of(const rr_tile_args *args, size_t rows) {
  float32x4_t sums[ROWS][VECTORS];
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      sums[r][v] = vdupq_n_f32(0.0f);
    }
  }
  const char *x = args->x;
  const float *w = args->w;
  size_t stride = args->x_stride;
  for (size_t d = 0; d < args->depth; d++, x += sizeof(float), w += COLS) {
    float32x4_t weights[VECTORS];
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      weights[v] = vld1q_f32(w + v * LANES);
    }
    RR_UNROLL
    for (size_t r = 0; r < rows; r++) {
      float32x4_t value = vld1q_dup_f32((const float *)(const void *)(x + r * stride));
      RR_UNROLL
      for (size_t v = 0; v < VECTORS; v++) {
        sums[r][v] = vfmaq_f32(sums[r][v], value, weights[v]);
      }
    }
  }
  float *out = args->sums;
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      vst1q_f32(out + r * COLS + v * LANES, sums[r][v]);
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

void rr_tile_fp32_neon(const rr_tile_args *args) {
  static void (*const tiles[ROWS])(const rr_tile_args *) = {tile_1, tile_2, tile_3, tile_4,
                                                            tile_5, tile_6, tile_7, tile_8};
  tiles[args->rows - 1](args);
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_FP32,
    .rows = ROWS,
    .cols = COLS,
    .group = 1,
    .k_multiple = 1,
    .x_bytes = sizeof(float),
    .tile = rr_tile_fp32_neon,
};

RR_BLOCKED_GEMM(rr_gemm_fp32_neon, "fp32-neon", RR_FORMAT_FP32, ROWS, kernel);
