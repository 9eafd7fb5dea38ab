/* AMX: tdpbusd multiplies a tile of 16 rows of 64 unsigned bytes by signed ones of 16 depths by 16
 * columns, four k of a column lying together as in a panel, into 16 x 16 int32 sums. */
#define RR_AMX_PRODUCT(sums, x, w) _tile_dpbusd(sums, x, w)
#include "core/kernel/x86/tile_amx.h"

#include "core/kernel/gemm.h"
#include "core/kernel/x86/quantize_avx512.h"

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_INT8,
    .rows = RR_AMX_ROWS,
    .cols = RR_AMX_COLS,
    .group = 4,
    .k_multiple = RR_QUANTIZE_AVX512_STEP,
    .x_bytes = sizeof(uint8_t),
    .tile = rr_amx_multiply,
    .convert = rr_quantize_rows_avx512,
    .convert_bf16 = rr_quantize_bf16_rows_avx512,
    .begin = rr_amx_begin,
    .end = rr_amx_end,
};

RR_BLOCKED_GEMM(rr_gemm_int8_amx, "int8-amx", RR_FORMAT_INT8, RR_AMX_ROWS, kernel);
