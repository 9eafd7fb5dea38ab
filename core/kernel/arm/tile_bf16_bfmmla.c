/* bfmmla: two rows by two columns of sums, each over four k, an instruction. It rounds partial sums
 * to odd and takes denormals as zero: its results differ from other kernels' in the last bits. */
#include "core/kernel/arm/tile_neon.h"
#include "core/kernel/bf16.h"
#include "core/kernel/gemm.h"

/* 24 of the 32 registers hold sums, four the rows of a depth, one the weights of two columns. */
enum { ROWS = 8, COLS = 12, GROUP = 4, PAIRS = COLS / 2 };

static void convert(size_t rows, size_t k, size_t k_padded, const float *x, size_t ldx,
                    void *converted, size_t stride, rr_row_scale *scales) {
  (void)scales;
  for (size_t row = 0; row < rows; row++) {
    const float *from = x + row * ldx;
    uint16_t *to = (uint16_t *)(void *)((char *)converted + row * stride);
    size_t i = 0;
    for (; i + GROUP <= k; i += GROUP) {
      vst1_u16(to + i, vreinterpret_u16_bf16(vcvt_bf16_f32(vld1q_f32(from + i))));
    }
    for (; i < k_padded; i++) {
      to[i] = i < k ? rr_bf16_from_float(from[i]) : 0;
    }
  }
}

/* Inlined with a constant number of pairs of rows, so that all sums are registers. */
static inline __attribute__((always_inline)) void tile_of(const rr_tile_args *args,
                                                          size_t row_pairs) {
  float32x4_t sums[ROWS / 2][PAIRS];
  const uint16_t *x[ROWS];
  RR_UNROLL
  for (size_t p = 0; p < row_pairs; p++) {
    x[2 * p] = rr_row_neon(args, 2 * p);
    x[2 * p + 1] = rr_row_neon(args, 2 * p + 1);
    RR_UNROLL
    for (size_t c = 0; c < PAIRS; c++) {
      sums[p][c] = vdupq_n_f32(0.0f);
    }
  }
  const uint16_t *w = args->w;
  for (size_t k = 0; k < args->depth * GROUP; k += GROUP, w += GROUP * COLS) {
    bfloat16x8_t rows[ROWS / 2];
    RR_UNROLL
    for (size_t p = 0; p < row_pairs; p++) {
      uint16x8_t both = vcombine_u16(vld1_u16(x[2 * p] + k), vld1_u16(x[2 * p + 1] + k));
      rows[p] = vreinterpretq_bf16_u16(both);
    }
    RR_UNROLL
    for (size_t c = 0; c < PAIRS; c++) {
      bfloat16x8_t weights = vreinterpretq_bf16_u16(vld1q_u16(w + c * 2 * GROUP));
      RR_UNROLL
      for (size_t p = 0; p < row_pairs; p++) {
        sums[p][c] = vbfmmlaq_f32(sums[p][c], rows[p], weights);
      }
    }
  }
  float *out = args->sums;
  RR_UNROLL
  for (size_t c = 0; c < PAIRS; c += 2) {
    RR_UNROLL
    for (size_t p = 0; p < row_pairs; p++) {
      float *upper = out + 2 * p * COLS + 2 * c;
      vst1q_f32(upper, vcombine_f32(vget_low_f32(sums[p][c]), vget_low_f32(sums[p][c + 1])));
      vst1q_f32(upper + COLS,
                vcombine_f32(vget_high_f32(sums[p][c]), vget_high_f32(sums[p][c + 1])));
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
    .format = RR_FORMAT_BF16,
    .rows = ROWS,
    .cols = COLS,
    .group = GROUP,
    .k_multiple = GROUP,
    .x_bytes = sizeof(uint16_t),
    .tile = tile,
    .convert = convert,
};

RR_BLOCKED_GEMM(rr_gemm_bf16_bfmmla, "bf16-bfmmla", RR_FORMAT_BF16, ROWS, kernel);
