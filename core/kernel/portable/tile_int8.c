#include <string.h>

#include "core/kernel/blocked.h"
#include "core/kernel/gemm.h"
#include "core/kernel/quantize.h"

enum { ROWS = 4, COLS = 16, GROUP = 4 };

static void convert(size_t rows, size_t k, size_t k_padded, const float *x, size_t ldx,
                    void *converted, size_t stride, rr_row_scale *scales) {
  uint8_t *to = converted;
  for (size_t row = 0; row < rows; row++) {
    rr_quantize_row(k, k_padded, x + row * ldx, to + row * stride, &scales[row]);
  }
}

static void tile(const rr_tile_args *args) {
  for (size_t row = 0; row < args->rows; row++) {
    const uint8_t *x = (const uint8_t *)args->x + row * args->x_stride;
    const int8_t *w = args->w;
    int32_t sums[COLS] = {0};
    for (size_t d = 0; d < args->depth; d++, x += GROUP, w += GROUP * COLS) {
      for (size_t col = 0; col < COLS; col++) {
        for (size_t i = 0; i < GROUP; i++) {
          sums[col] += x[i] * w[col * GROUP + i];
        }
      }
    }
    memcpy((int32_t *)args->sums + row * COLS, sums, sizeof sums);
  }
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_INT8,
    .rows = ROWS,
    .cols = COLS,
    .group = GROUP,
    .k_multiple = GROUP,
    .x_bytes = sizeof(uint8_t),
    .tile = tile,
    .convert = convert,
};

RR_BLOCKED_GEMM(rr_gemm_int8_portable, "int8-portable", RR_FORMAT_INT8, ROWS, kernel);
