/* The float32 tiles, which bf16 without bf16 instructions uses too: on operands that are rounded to
 * bf16 but kept as float32 (blocked.h: group 1). Sums run over ascending k, one accumulator an
 * output. */
#ifndef RR_CORE_KERNEL_TILE_FP32_H
#define RR_CORE_KERNEL_TILE_FP32_H

#include "core/kernel/blocked.h"

enum {
  RR_FP32_PORTABLE_ROWS = 4,
  RR_FP32_PORTABLE_COLS = 16,
  RR_FP32_AVX2_ROWS = 6,
  RR_FP32_AVX2_COLS = 16,
  RR_FP32_AVX512_ROWS = 14,
  RR_FP32_AVX512_COLS = 32,
  RR_FP32_NEON_ROWS = 8,
  RR_FP32_NEON_COLS = 12,
};

void rr_tile_fp32_portable(const rr_tile_args *args);
void rr_tile_fp32_avx2(const rr_tile_args *args);
void rr_tile_fp32_avx512(const rr_tile_args *args);
void rr_tile_fp32_neon(const rr_tile_args *args);

#endif
