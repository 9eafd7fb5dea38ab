/* Rows by AVX-512; see quantize.h. For sources compiled with AVX-512 F and BW. */
#ifndef RR_CORE_KERNEL_QUANTIZE_AVX512_H
#define RR_CORE_KERNEL_QUANTIZE_AVX512_H

#include <immintrin.h>

#include "core/kernel/quantize.h"

enum { RR_QUANTIZE_AVX512_STEP = 64 };

/* Sixteen values from `at` on, zeros from k on. */
static inline __m512 rr_quantize_load_avx512(const float *x, size_t at, size_t k) {
  size_t left = at < k ? k - at : 0;
  __mmask16 mask = (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1u);
  return _mm512_maskz_loadu_ps(mask, x + (left == 0 ? 0 : at));
}

static inline rr_quantize_factors rr_quantize_factors_avx512(size_t k, const float *x,
                                                             rr_row_scale *ret_scale) {
  __m512i as_signed = _mm512_set1_epi32(INT32_MIN);
  __m512i as_unsigned = _mm512_setzero_si512();
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    __m512i bits = _mm512_loadu_si512(x + i);
    as_signed = _mm512_max_epi32(as_signed, bits);
    as_unsigned = _mm512_max_epu32(as_unsigned, bits);
  }
  if (i < k) {
    __m512i bits = _mm512_castps_si512(rr_quantize_load_avx512(x, i, k));
    as_signed = _mm512_max_epi32(as_signed, bits);
    as_unsigned = _mm512_max_epu32(as_unsigned, bits);
  }
  return rr_quantize_row_factors((uint32_t)_mm512_reduce_max_epi32(as_signed),
                                 _mm512_reduce_max_epu32(as_unsigned), ret_scale);
}

static inline __m512i rr_quantize_round_avx512(__m512 x, __m512 inverse, __m512 zero) {
  return _mm512_cvtps_epi32(_mm512_fmadd_ps(x, inverse, zero));
}

/* 64 values as 64 bytes. Packing works within 128-bit lanes: the last permutation puts the groups of
 * four bytes into order. */
static inline __m512i rr_quantize_pack_avx512(__m512 a, __m512 b, __m512 c, __m512 d, __m512 inverse,
                                              __m512 zero) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i ab = _mm512_packs_epi32(rr_quantize_round_avx512(a, inverse, zero),
                                  rr_quantize_round_avx512(b, inverse, zero));
  __m512i cd = _mm512_packs_epi32(rr_quantize_round_avx512(c, inverse, zero),
                                  rr_quantize_round_avx512(d, inverse, zero));
  return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd));
}

/* k_padded is a multiple of RR_QUANTIZE_AVX512_STEP; what is written beyond k meets weights of 0. */
static inline void rr_quantize_row_avx512(size_t k, size_t k_padded, const float *x, uint8_t *q,
                                          rr_row_scale *ret_scale) {
  rr_quantize_factors f = rr_quantize_factors_avx512(k, x, ret_scale);
  if (f.inverse == 0.0f) { /* there may be NaN */
    memset(q, 0, k_padded);
    return;
  }
  const __m512 inverse = _mm512_set1_ps(f.inverse);
  const __m512 zero = _mm512_set1_ps(f.zero);
  size_t i = 0;
  for (; i + RR_QUANTIZE_AVX512_STEP <= k; i += RR_QUANTIZE_AVX512_STEP) {
    __m512i packed = rr_quantize_pack_avx512(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i + 16),
                                             _mm512_loadu_ps(x + i + 32), _mm512_loadu_ps(x + i + 48),
                                             inverse, zero);
    _mm512_storeu_si512(q + i, packed);
  }
  for (; i < k_padded; i += RR_QUANTIZE_AVX512_STEP) {
    __m512i packed = rr_quantize_pack_avx512(
        rr_quantize_load_avx512(x, i, k), rr_quantize_load_avx512(x, i + 16, k),
        rr_quantize_load_avx512(x, i + 32, k), rr_quantize_load_avx512(x, i + 48, k), inverse, zero);
    _mm512_storeu_si512(q + i, packed);
  }
}

static inline void rr_quantize_rows_avx512(size_t rows, size_t k, size_t k_padded, const float *x,
                                           size_t ldx, void *converted, size_t stride,
                                           rr_row_scale *scales) {
  for (size_t row = 0; row < rows; row++) {
    rr_quantize_row_avx512(k, k_padded, x + row * ldx, (uint8_t *)converted + row * stride,
                           &scales[row]);
  }
}

/* Stores 16 columns, from `col` on, of row r as far as they are live. */
static inline __attribute__((always_inline)) void rr_store_int8_avx512(const rr_tile_args *args, size_t r,
                                                                       size_t col, __m512i sums) {
  size_t here = args->cols > col ? args->cols - col : 0;
  __mmask16 mask = (__mmask16)(here >= 16 ? 0xffffu : (1u << here) - 1u);
  __m512 w_scale = _mm512_loadu_ps(args->w_scale + col);
  __m512 w_sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(args->w_sum + col));
  __m512 offset = _mm512_fmadd_ps(_mm512_set1_ps(args->x_scale[r].low), _mm512_mul_ps(w_scale, w_sum),
                                  _mm512_loadu_ps(args->bias + col));
  __m512 scale = _mm512_mul_ps(_mm512_set1_ps(args->x_scale[r].scale), w_scale);
  __m512 out = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scale, offset);
  _mm512_mask_storeu_ps(args->out + r * args->ld_out + col, mask, out);
}

#endif
