/* float32 tiles in plain C, for what has none of its own; the others are checked against them. */
#include <string.h>

#include "core/kernel/blocked.h"
#include "core/kernel/gemm.h"
#include "core/kernel/tile_fp32.h"

enum { ROWS = RR_FP32_PORTABLE_ROWS, COLS = RR_FP32_PORTABLE_COLS };

void rr_tile_fp32_portable(const rr_tile_args *args) {
  for (size_t r = 0; r < args->rows; r++) {
    const float *x = (const float *)(const void *)((const char *)args->x + r * args->x_stride);
    const float *w = args->w;
    float sums[COLS] = {0};
    for (size_t d = 0; d < args->depth; d++, w += COLS) {
      for (size_t j = 0; j < COLS; j++) {
        sums[j] += x[d] * w[j];
      }
    }
    memcpy((float *)args->sums + r * COLS, sums, sizeof sums);
  }
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_FP32,
    .rows = ROWS,
    .cols = COLS,
    .group = 1,
    .k_multiple = 1,
    .x_bytes = sizeof(float),
    .tile = rr_tile_fp32_portable,
};

RR_BLOCKED_GEMM(rr_gemm_fp32_portable, "fp32-portable", RR_FORMAT_FP32, ROWS, kernel);
