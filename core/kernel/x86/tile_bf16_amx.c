/* AMX: tdpbf16ps multiplies a tile of 16 rows of 32 bf16 by one of 16 depths by 16 columns, two k
 * of a column lying together as in a panel, into 16 x 16 float32 sums.
 *
 * Rows are converted with AVX-512 bf16, which every CPU with AMX has: counting
 * instructions, plain AVX-512 would take about a third of a narrow product's time (not
 * measured). */
#define RR_AMX_PRODUCT(sums, x, w) _tile_dpbf16ps(sums, x, w)
#include "core/kernel/x86/tile_amx.h"

#include "core/kernel/gemm.h"
#include "core/kernel/x86/bf16_avx512.h"

static void convert(size_t rows, size_t k, size_t k_padded, const float *x, size_t ldx,
                    void *converted, size_t stride, rr_row_scale *scales) {
  (void)scales;
  rr_bf16_convert_avx512(rows, k, k_padded, x, ldx, converted, stride);
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_BF16,
    .rows = RR_AMX_ROWS,
    .cols = RR_AMX_COLS,
    .group = 2,
    .k_multiple = RR_BF16_AVX512_STEP,
    .x_bytes = sizeof(uint16_t),
    .tile = rr_amx_multiply,
    .convert = convert,
    .begin = rr_amx_begin,
    .end = rr_amx_end,
};

RR_BLOCKED_GEMM(rr_gemm_bf16_amx, "bf16-amx", RR_FORMAT_BF16, RR_AMX_ROWS, kernel);
