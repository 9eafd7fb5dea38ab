/* Rows by NEON; see quantize.h. For sources compiled for aarch64. */
#ifndef RR_CORE_KERNEL_ARM_QUANTIZE_NEON_H
#define RR_CORE_KERNEL_ARM_QUANTIZE_NEON_H

#include <arm_neon.h>

#include "core/kernel/quantize.h"

enum { RR_QUANTIZE_NEON_STEP = 8, RR_QUANTIZE_NEON_ZERO = 128 };

static inline rr_quantize_factors rr_quantize_factors_neon(size_t k, const float *x,
                                                           rr_row_scale *ret_scale) {
  int32x4_t as_signed = vdupq_n_s32(INT32_MIN);
  uint32x4_t as_unsigned = vdupq_n_u32(0);
  size_t i = 0;
  for (; i + 4 <= k; i += 4) {
    float32x4_t values = vld1q_f32(x + i);
    as_signed = vmaxq_s32(as_signed, vreinterpretq_s32_f32(values));
    as_unsigned = vmaxq_u32(as_unsigned, vreinterpretq_u32_f32(values));
  }
  int32_t signed_max = vmaxvq_s32(as_signed);
  uint32_t unsigned_max = vmaxvq_u32(as_unsigned);
  for (; i < k; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    signed_max = (int32_t)bits > signed_max ? (int32_t)bits : signed_max;
    unsigned_max = bits > unsigned_max ? bits : unsigned_max;
  }
  return rr_quantize_row_factors((uint32_t)signed_max, unsigned_max, ret_scale);
}

static inline int16x4_t rr_quantize_four_neon(const float *x, rr_quantize_factors f) {
  float32x4_t scaled = vfmaq_n_f32(vdupq_n_f32(f.zero), vld1q_f32(x), f.inverse);
  return vqmovn_s32(vcvtnq_s32_f32(scaled));
}

/* As signed bytes, q - 128: these products take both sides signed. */
static inline int8x8_t rr_quantize_eight_neon(const float *x, rr_quantize_factors f) {
  uint8x8_t q =
      vqmovun_s16(vcombine_s16(rr_quantize_four_neon(x, f), rr_quantize_four_neon(x + 4, f)));
  return vreinterpret_s8_u8(veor_u8(q, vdup_n_u8(0x80)));
}

/* k_padded is a multiple of RR_QUANTIZE_NEON_STEP; what is written beyond k meets weights of 0.
 * With factors of 0 NaN and infinity become NaN, which converts to 0. */
static inline void rr_quantize_row_neon(size_t k, size_t k_padded, const float *x, int8_t *q,
                                        rr_row_scale *ret_scale) {
  rr_quantize_factors f = rr_quantize_factors_neon(k, x, ret_scale);
  size_t i = 0;
  for (; i + RR_QUANTIZE_NEON_STEP <= k; i += RR_QUANTIZE_NEON_STEP) {
    vst1_s8(q + i, rr_quantize_eight_neon(x + i, f));
  }
  for (; i < k_padded; i += RR_QUANTIZE_NEON_STEP) {
    float tail[RR_QUANTIZE_NEON_STEP] = {0};
    memcpy(tail, x + i, (i < k ? k - i : 0) * sizeof *tail);
    vst1_s8(q + i, rr_quantize_eight_neon(tail, f));
  }
}

static inline void rr_quantize_rows_neon(size_t rows, size_t k, size_t k_padded, const float *x,
                                         size_t ldx, void *converted, size_t stride,
                                         rr_row_scale *scales) {
  for (size_t row = 0; row < rows; row++) {
    rr_quantize_row_neon(k, k_padded, x + row * ldx, (int8_t *)converted + row * stride,
                         &scales[row]);
  }
}

#endif
