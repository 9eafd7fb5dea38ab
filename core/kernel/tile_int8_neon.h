/* The end of an int8 tile by NEON. */
#ifndef RR_CORE_KERNEL_TILE_INT8_NEON_H
#define RR_CORE_KERNEL_TILE_INT8_NEON_H

#include "core/kernel/tile_neon.h"

/* Stores four columns of row r from their sums of (q - 128) w. */
static inline void rr_store_int8_neon(const rr_tile_args *args, size_t r, size_t col, int32x4_t sums) {
  float32x4_t w_scale = vld1q_f32(args->w_scale + col);
  int32x4_t w_sum = vld1q_s32(args->w_sum + col);
  float32x4_t offset = vfmaq_n_f32(vld1q_f32(args->bias + col), vmulq_f32(w_scale, vcvtq_f32_s32(w_sum)),
                                   args->x_scale[r].low);
  int32x4_t unsigned_sums = vaddq_s32(sums, vshlq_n_s32(w_sum, 7));
  float32x4_t value = vfmaq_f32(offset, vcvtq_f32_s32(unsigned_sums),
                                vmulq_n_f32(w_scale, args->x_scale[r].scale));
  vst1q_f32(args->out + r * args->ld_out + col, value);
}

#endif
