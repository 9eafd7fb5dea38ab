/* bf16 for CPUs without bf16 instructions: the float32 tile on rounded operands. */
#include "core/kernel/bf16.h"
#include "core/kernel/gemm.h"
#include "core/kernel/tile_fp32.h"

static void convert(size_t rows, size_t k, size_t k_padded, const float *x, size_t ldx,
                    void *converted, size_t stride, rr_row_scale *scales) {
  (void)scales;
  rr_bf16_round_rows(rows, k, k_padded, x, ldx, converted, stride);
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_BF16,
    .rows = RR_FP32_NEON_ROWS,
    .cols = RR_FP32_NEON_COLS,
    .group = 1,
    .k_multiple = 1,
    .x_bytes = sizeof(float),
    .tile = rr_tile_fp32_neon,
    .convert = convert,
};

RR_BLOCKED_GEMM(rr_gemm_bf16_neon, "bf16-neon", RR_FORMAT_BF16, RR_FP32_NEON_ROWS, kernel);
