/* Rows by AVX-512; see quantize.h. For sources compiled with AVX-512 F and BW. */
#ifndef RR_CORE_KERNEL_X86_QUANTIZE_AVX512_H
#define RR_CORE_KERNEL_X86_QUANTIZE_AVX512_H

#include <immintrin.h>

#include "core/kernel/quantize.h"

enum { RR_QUANTIZE_AVX512_STEP = 64 };

/* Sixteen values from `at` on, as floats. `bf16` is a constant where this is inlined. */
static inline __attribute__((always_inline)) __m512 rr_quantize_load_avx512(const void *x,
                                                                            bool bf16, size_t at) {
  if (!bf16) {
    return _mm512_loadu_ps((const float *)x + at);
  }
  __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)((const uint16_t *)x + at));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* The same with zeros from k on. */
static inline __attribute__((always_inline)) __m512
rr_quantize_tail_avx512(const void *x, bool bf16, size_t at, size_t k) {
  size_t left = at < k ? k - at : 0;
  __mmask16 mask = (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1u);
  at = left == 0 ? 0 : at;
  if (!bf16) {
    return _mm512_maskz_loadu_ps(mask, (const float *)x + at);
  }
  __m256i halves = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)x + at);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* What rr_quantize_row_factors is given. Four accumulators of each kind: one alone would wait for
 * itself. */
static inline void rr_quantize_extremes_avx512(size_t k, const float *x, uint32_t *ret_signed,
                                               uint32_t *ret_unsigned) {
  __m512i as_signed[4];
  __m512i as_unsigned[4];
  RR_UNROLL
  for (size_t a = 0; a < 4; a++) {
    as_signed[a] = _mm512_set1_epi32(INT32_MIN);
    as_unsigned[a] = _mm512_setzero_si512();
  }
  size_t i = 0;
  for (; i + 64 <= k; i += 64) {
    RR_UNROLL
    for (size_t a = 0; a < 4; a++) {
      __m512i bits = _mm512_loadu_si512(x + i + 16 * a);
      as_signed[a] = _mm512_max_epi32(as_signed[a], bits);
      as_unsigned[a] = _mm512_max_epu32(as_unsigned[a], bits);
    }
  }
  for (; i < k; i += 16) {
    __m512i bits = _mm512_castps_si512(rr_quantize_tail_avx512(x, false, i, k));
    as_signed[0] = _mm512_max_epi32(as_signed[0], bits);
    as_unsigned[0] = _mm512_max_epu32(as_unsigned[0], bits);
  }
  __m512i signed_max = _mm512_max_epi32(_mm512_max_epi32(as_signed[0], as_signed[1]),
                                        _mm512_max_epi32(as_signed[2], as_signed[3]));
  __m512i unsigned_max = _mm512_max_epu32(_mm512_max_epu32(as_unsigned[0], as_unsigned[1]),
                                          _mm512_max_epu32(as_unsigned[2], as_unsigned[3]));
  *ret_signed = (uint32_t)_mm512_reduce_max_epi32(signed_max);
  *ret_unsigned = _mm512_reduce_max_epu32(unsigned_max);
}

/* The same of bfloat16, whose bits are in the same order, 32 at a time. */
static inline void rr_quantize_bf16_extremes_avx512(size_t k, const uint16_t *x,
                                                    uint32_t *ret_signed, uint32_t *ret_unsigned) {
  __m512i as_signed[2];
  __m512i as_unsigned[2];
  RR_UNROLL
  for (size_t a = 0; a < 2; a++) {
    as_signed[a] = _mm512_set1_epi16(INT16_MIN);
    as_unsigned[a] = _mm512_setzero_si512();
  }
  size_t i = 0;
  for (; i + 64 <= k; i += 64) {
    RR_UNROLL
    for (size_t a = 0; a < 2; a++) {
      __m512i bits = _mm512_loadu_si512(x + i + 32 * a);
      as_signed[a] = _mm512_max_epi16(as_signed[a], bits);
      as_unsigned[a] = _mm512_max_epu16(as_unsigned[a], bits);
    }
  }
  for (; i < k; i += 32) {
    size_t left = k - i;
    __mmask32 mask = left >= 32 ? 0xffffffffu : (1u << left) - 1u;
    __m512i bits = _mm512_maskz_loadu_epi16(mask, x + i);
    as_signed[0] = _mm512_max_epi16(as_signed[0], bits);
    as_unsigned[0] = _mm512_max_epu16(as_unsigned[0], bits);
  }
  /* As the upper halves of floats: the lower ones of pairs are moved up. */
  __m512i signed_max = _mm512_max_epi16(as_signed[0], as_signed[1]);
  __m512i unsigned_max = _mm512_max_epu16(as_unsigned[0], as_unsigned[1]);
  const __m512i upper = _mm512_set1_epi32((int32_t)0xffff0000u);
  signed_max =
      _mm512_max_epi32(_mm512_and_si512(signed_max, upper), _mm512_slli_epi32(signed_max, 16));
  unsigned_max =
      _mm512_max_epu32(_mm512_and_si512(unsigned_max, upper), _mm512_slli_epi32(unsigned_max, 16));
  *ret_signed = (uint32_t)_mm512_reduce_max_epi32(signed_max);
  *ret_unsigned = _mm512_reduce_max_epu32(unsigned_max);
}

static inline __m512i rr_quantize_round_avx512(__m512 x, __m512 inverse, __m512 zero) {
  return _mm512_cvtps_epi32(_mm512_fmadd_ps(x, inverse, zero));
}

/* 64 values as 64 bytes. Packing works within 128-bit lanes: the last permutation puts the groups
 * of four bytes into order. */
static inline __m512i rr_quantize_pack_avx512(__m512 a, __m512 b, __m512 c, __m512 d,
                                              __m512 inverse, __m512 zero) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i ab = _mm512_packs_epi32(rr_quantize_round_avx512(a, inverse, zero),
                                  rr_quantize_round_avx512(b, inverse, zero));
  __m512i cd = _mm512_packs_epi32(rr_quantize_round_avx512(c, inverse, zero),
                                  rr_quantize_round_avx512(d, inverse, zero));
  return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd));
}

/* k_padded is a multiple of RR_QUANTIZE_AVX512_STEP; what is written beyond k meets weights of
 * 0. */
static inline __attribute__((always_inline)) void rr_quantize_row_avx512(size_t k, size_t k_padded,
                                                                         const void *x, bool bf16,
                                                                         uint8_t *q,
                                                                         rr_row_scale *ret_scale) {
  uint32_t signed_max;
  uint32_t unsigned_max;
  if (bf16) {
    rr_quantize_bf16_extremes_avx512(k, x, &signed_max, &unsigned_max);
  } else {
    rr_quantize_extremes_avx512(k, x, &signed_max, &unsigned_max);
  }
  rr_quantize_factors f = rr_quantize_row_factors(signed_max, unsigned_max, ret_scale);
  if (f.inverse == 0.0f) { /* there may be NaN */
    memset(q, 0, k_padded);
    return;
  }
  const __m512 inverse = _mm512_set1_ps(f.inverse);
  const __m512 zero = _mm512_set1_ps(f.zero);
  size_t i = 0;
  for (; i + RR_QUANTIZE_AVX512_STEP <= k; i += RR_QUANTIZE_AVX512_STEP) {
    __m512i packed = rr_quantize_pack_avx512(
        rr_quantize_load_avx512(x, bf16, i), rr_quantize_load_avx512(x, bf16, i + 16),
        rr_quantize_load_avx512(x, bf16, i + 32), rr_quantize_load_avx512(x, bf16, i + 48), inverse,
        zero);
    _mm512_storeu_si512(q + i, packed);
  }
  for (; i < k_padded; i += RR_QUANTIZE_AVX512_STEP) {
    __m512i packed = rr_quantize_pack_avx512(
        rr_quantize_tail_avx512(x, bf16, i, k), rr_quantize_tail_avx512(x, bf16, i + 16, k),
        rr_quantize_tail_avx512(x, bf16, i + 32, k), rr_quantize_tail_avx512(x, bf16, i + 48, k),
        inverse, zero);
    _mm512_storeu_si512(q + i, packed);
  }
}

/* What int8 tile kernels have as convert and convert_bf16. */
static void rr_quantize_rows_avx512(size_t rows, size_t k, size_t k_padded, const float *x,
                                    size_t ldx, void *converted, size_t stride,
                                    rr_row_scale *scales) {
  for (size_t row = 0; row < rows; row++) {
    rr_quantize_row_avx512(k, k_padded, x + row * ldx, false, (uint8_t *)converted + row * stride,
                           &scales[row]);
  }
}

static void rr_quantize_bf16_rows_avx512(size_t rows, size_t k, size_t k_padded, const uint16_t *x,
                                         size_t ldx, void *converted, size_t stride,
                                         rr_row_scale *scales) {
  for (size_t row = 0; row < rows; row++) {
    rr_quantize_row_avx512(k, k_padded, x + row * ldx, true, (uint8_t *)converted + row * stride,
                           &scales[row]);
  }
}

#endif
