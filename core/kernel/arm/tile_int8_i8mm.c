/* smmla: two rows by two columns of sums, each over eight k, an instruction. */
#include "core/kernel/arm/quantize_neon.h"
#include "core/kernel/arm/tile_neon.h"
#include "core/kernel/gemm.h"

/* 24 of the 32 registers hold sums, four the rows of a depth, one the weights of two columns. */
enum { ROWS = 8, COLS = 12, GROUP = 8, PAIRS = COLS / 2 };

/* Inlined with a constant number of pairs of rows, so that all sums are registers. */
static inline __attribute__((always_inline)) void tile_of(const rr_tile_args *args,
                                                          size_t row_pairs) {
  int32x4_t sums[ROWS / 2][PAIRS];
  const int8_t *x[ROWS];
  RR_UNROLL
  for (size_t p = 0; p < row_pairs; p++) {
    x[2 * p] = rr_row_neon(args, 2 * p);
    x[2 * p + 1] = rr_row_neon(args, 2 * p + 1);
    RR_UNROLL
    for (size_t c = 0; c < PAIRS; c++) {
      sums[p][c] = vdupq_n_s32(0);
    }
  }
  const int8_t *w = args->w;
  for (size_t k = 0; k < args->depth * GROUP; k += GROUP, w += GROUP * COLS) {
    int8x16_t rows[ROWS / 2];
    RR_UNROLL
    for (size_t p = 0; p < row_pairs; p++) {
      rows[p] = vcombine_s8(vld1_s8(x[2 * p] + k), vld1_s8(x[2 * p + 1] + k));
    }
    RR_UNROLL
    for (size_t c = 0; c < PAIRS; c++) {
      int8x16_t weights = vld1q_s8(w + c * 2 * GROUP);
      RR_UNROLL
      for (size_t p = 0; p < row_pairs; p++) {
        sums[p][c] = vmmlaq_s32(sums[p][c], rows[p], weights);
      }
    }
  }
  int32_t *out = args->sums;
  RR_UNROLL
  for (size_t c = 0; c < PAIRS; c += 2) {
    RR_UNROLL
    for (size_t p = 0; p < row_pairs; p++) {
      int32_t *upper = out + 2 * p * COLS + 2 * c;
      vst1q_s32(upper, vcombine_s32(vget_low_s32(sums[p][c]), vget_low_s32(sums[p][c + 1])));
      vst1q_s32(upper + COLS,
                vcombine_s32(vget_high_s32(sums[p][c]), vget_high_s32(sums[p][c + 1])));
    }
  }
}

#define TILE(pairs)                                                                                \
  static void tile_##pairs(const rr_tile_args *args) { tile_of(args, pairs); }
TILE(1)
TILE(2)
TILE(3)
TILE(4)

static void tile(const rr_tile_args *args) {
  static void (*const tiles[ROWS / 2])(const rr_tile_args *) = {tile_1, tile_2, tile_3, tile_4};
  tiles[(args->rows - 1) / 2](args);
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

RR_BLOCKED_GEMM(rr_gemm_int8_i8mm, "int8-i8mm", RR_FORMAT_INT8, ROWS, kernel);
