/* The end of a tile's row by AVX2. For sources compiled with AVX2 and FMA. */
#ifndef RR_CORE_KERNEL_TILE_INT8_AVX2_H
#define RR_CORE_KERNEL_TILE_INT8_AVX2_H

#include <immintrin.h>

#include "core/kernel/blocked.h"

/* Stores the live columns of row r, of which `sums` holds `vectors` vectors. */
static inline __attribute__((always_inline)) void rr_tile_store_avx2(const rr_tile_args *args, size_t r,
                                                                     const __m256i *sums,
                                                                     size_t vectors) {
  float *out = args->out + r * args->ld_out;
  const __m256 x_scale = _mm256_set1_ps(args->x_scale[r].scale);
  const __m256 x_low = _mm256_set1_ps(args->x_scale[r].low);
  for (size_t v = 0; v < vectors; v++) {
    size_t col = v * 8;
    __m256 w_scale = _mm256_loadu_ps(args->w_scale + col);
    __m256 w_sum = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(args->w_sum + col)));
    __m256 offset =
        _mm256_fmadd_ps(x_low, _mm256_mul_ps(w_scale, w_sum), _mm256_loadu_ps(args->bias + col));
    __m256 value =
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[v]), _mm256_mul_ps(x_scale, w_scale), offset);
    if (args->cols >= col + 8) {
      _mm256_storeu_ps(out + col, value);
    } else if (args->cols > col) {
      const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(args->cols - col)), lanes);
      _mm256_maskstore_ps(out + col, mask, value);
    }
  }
}

#endif
