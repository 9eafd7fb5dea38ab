/* Rows by AVX2; see quantize.h. For sources compiled with AVX2 and FMA. */
#ifndef RR_CORE_KERNEL_X86_QUANTIZE_AVX2_H
#define RR_CORE_KERNEL_X86_QUANTIZE_AVX2_H

#include <immintrin.h>

#include "core/kernel/quantize.h"

enum { RR_QUANTIZE_AVX2_STEP = 32 };

static inline rr_quantize_factors rr_quantize_factors_avx2(size_t k, const float *x,
                                                           rr_row_scale *ret_scale) {
  __m256i as_signed = _mm256_set1_epi32(INT32_MIN);
  __m256i as_unsigned = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 8 <= k; i += 8) {
    __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(x + i));
    as_signed = _mm256_max_epi32(as_signed, bits);
    as_unsigned = _mm256_max_epu32(as_unsigned, bits);
  }
  int32_t signed_lanes[8];
  uint32_t unsigned_lanes[8];
  _mm256_storeu_si256((__m256i *)signed_lanes, as_signed);
  _mm256_storeu_si256((__m256i *)unsigned_lanes, as_unsigned);
  int32_t signed_max = INT32_MIN;
  uint32_t unsigned_max = 0;
  for (size_t lane = 0; lane < 8; lane++) {
    signed_max = signed_lanes[lane] > signed_max ? signed_lanes[lane] : signed_max;
    unsigned_max = unsigned_lanes[lane] > unsigned_max ? unsigned_lanes[lane] : unsigned_max;
  }
  for (; i < k; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    signed_max = (int32_t)bits > signed_max ? (int32_t)bits : signed_max;
    unsigned_max = bits > unsigned_max ? bits : unsigned_max;
  }
  return rr_quantize_row_factors((uint32_t)signed_max, unsigned_max, ret_scale);
}

/* Sixteen values as int16, in order. */
static inline __m256i rr_quantize_pack_avx2(const float *x, __m256 inverse, __m256 zero) {
  __m256i low = _mm256_cvtps_epi32(_mm256_fmadd_ps(_mm256_loadu_ps(x), inverse, zero));
  __m256i high = _mm256_cvtps_epi32(_mm256_fmadd_ps(_mm256_loadu_ps(x + 8), inverse, zero));
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
}

/* What stores 32 values' q at place i of a row. */
typedef void rr_quantize_store_avx2(void *q, size_t i, __m256i low, __m256i high);

/* k_padded is a multiple of RR_QUANTIZE_AVX2_STEP; what is written beyond k meets weights of 0. */
static inline __attribute__((always_inline)) void
rr_quantize_row_avx2(size_t k, size_t k_padded, const float *x, void *q,
                     rr_quantize_store_avx2 *store, rr_row_scale *ret_scale) {
  float tail[RR_QUANTIZE_AVX2_STEP];
  rr_quantize_factors f = rr_quantize_factors_avx2(k, x, ret_scale);
  const __m256 inverse = _mm256_set1_ps(f.inverse);
  const __m256 zero = _mm256_set1_ps(f.zero);
  for (size_t i = 0; i < k_padded; i += RR_QUANTIZE_AVX2_STEP) {
    const float *from = x + i;
    if (f.inverse == 0.0f || i + RR_QUANTIZE_AVX2_STEP > k) {
      /* No value where there are none, and none where NaN or infinity would become an integer. */
      size_t here = f.inverse == 0.0f || i >= k ? 0 : k - i;
      memset(tail, 0, sizeof tail);
      memcpy(tail, x + (here == 0 ? 0 : i),
             (here < RR_QUANTIZE_AVX2_STEP ? here : 0) * sizeof *tail);
      from = tail;
    }
    store(q, i, rr_quantize_pack_avx2(from, inverse, zero),
          rr_quantize_pack_avx2(from + 16, inverse, zero));
  }
}

#endif
