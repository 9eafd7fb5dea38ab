/* bf16 for CPUs with AVX-512 but without its bf16 instructions: the float32 tile on rounded
 * operands.
 *
 * Keeping the weights in 16 bits, as pairs that are widened by a shift and a mask in registers,
 * halves their memory and was slower: 85 to 89 % of the float32 peak against 91 to 95 % (Emerald
 * Rapids, all shapes of MiniLM), because shifts and products share ports. */
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
    .rows = RR_FP32_AVX512_ROWS,
    .cols = RR_FP32_AVX512_COLS,
    .group = 1,
    .k_multiple = 1,
    .x_bytes = sizeof(float),
    .tile = rr_tile_fp32_avx512,
    .convert = convert,
};

RR_BLOCKED_GEMM(rr_gemm_bf16_avx512, "bf16-avx512", RR_FORMAT_BF16, RR_FP32_AVX512_ROWS, kernel);
