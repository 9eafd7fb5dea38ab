/* Conversion of rows with AVX-512 bf16; for files compiled with it. */
#ifndef RR_CORE_KERNEL_X86_BF16_AVX512_H
#define RR_CORE_KERNEL_X86_BF16_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* k_padded is a multiple of this. */
enum { RR_BF16_AVX512_STEP = 32 };

static inline __m512i rr_bf16_pack_avx512(__m512 low, __m512 high) {
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

static inline void rr_bf16_convert_avx512(size_t rows, size_t k, size_t k_padded, const float *x,
                                          size_t ldx, void *converted, size_t stride) {
  for (size_t row = 0; row < rows; row++) {
    const float *from = x + row * ldx;
    uint16_t *to = (uint16_t *)(void *)((char *)converted + row * stride);
    size_t i = 0;
    for (; i + RR_BF16_AVX512_STEP <= k; i += RR_BF16_AVX512_STEP) {
      __m512 low = _mm512_loadu_ps(from + i);
      __m512 high = _mm512_loadu_ps(from + i + 16);
      _mm512_storeu_si512(to + i, rr_bf16_pack_avx512(low, high));
    }
    for (; i < k_padded; i += RR_BF16_AVX512_STEP) {
      uint32_t live = i < k ? (1u << (k - i)) - 1u : 0u;
      __m512 low = _mm512_maskz_loadu_ps((__mmask16)live, from + i);
      __m512 high = _mm512_maskz_loadu_ps((__mmask16)(live >> 16), from + i + 16);
      _mm512_storeu_si512(to + i, rr_bf16_pack_avx512(low, high));
    }
  }
}

#endif
