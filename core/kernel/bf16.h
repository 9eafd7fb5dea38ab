/* bfloat16: the upper half of a float32, rounded to nearest, halves to even.
 *
 * 1. Infinities stay; what is nearer to 2^128 than to the largest bfloat16 becomes infinite.
 * 2. NaN stays NaN, made quiet, with the upper part of its payload.
 * 3. Denormals are rounded like any other number here. The instructions of AVX-512 (vcvtneps2bf16)
 *    and the products of AVX-512, AMX and bfmmla take them as zero instead: there, a value below
 *    2^-126 counts as 0, which moves a sum by less than k * 2^-126 * max|w|. So bf16 kernels agree
 *    bitwise only among those without such instructions.
 * 4. The product of two bfloat16 is exact in float32 (unless it leaves its range), so that a fused
 *    and an unfused multiply-add give the same bits.
 */
#ifndef RR_CORE_KERNEL_BF16_H
#define RR_CORE_KERNEL_BF16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The bits of the rounded number in the upper half, zeros in the lower. Free of branches, so that
 * loops over it vectorise. */
static inline uint32_t rr_bf16_rounded_bits(uint32_t bits) {
  uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  rounded = (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x00400000u : rounded;
  return rounded & 0xffff0000u;
}

/* The nearest bfloat16, as a float. */
static inline float rr_bf16_round(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  bits = rr_bf16_rounded_bits(bits);
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The conversion of kernels that compute in float32: rows of k values, rounded and still floats,
 * zeros up to k_padded; `stride` is in bytes. */
static inline void rr_bf16_round_rows(size_t rows, size_t k, size_t k_padded, const float *x,
                                      size_t ldx, void *converted, size_t stride) {
  for (size_t row = 0; row < rows; row++) {
    const float *from = x + row * ldx;
    float *restrict to = (float *)(void *)((char *)converted + row * stride);
    for (size_t i = 0; i < k; i++) {
      to[i] = rr_bf16_round(from[i]);
    }
    memset(to + k, 0, (k_padded - k) * sizeof *to);
  }
}

static inline uint16_t rr_bf16_from_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)(rr_bf16_rounded_bits(bits) >> 16);
}

static inline float rr_bf16_to_float(uint16_t bf16) {
  uint32_t bits = (uint32_t)bf16 << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* k of them as floats. */
static inline void rr_bf16_expand(size_t k, const uint16_t *from, float *restrict to) {
  for (size_t i = 0; i < k; i++) {
    to[i] = rr_bf16_to_float(from[i]);
  }
}

#endif
