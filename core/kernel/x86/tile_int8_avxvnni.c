/* AVX-VNNI: vpdpbusd on 256 bits, for CPUs that have it without AVX-512.
 *
 * Not timed on such a CPU; tests run this code with the instruction in plain C
 * (tests/kernels/emulated). */
#include <immintrin.h>

#include "core/kernel/blocked.h"
#include "core/kernel/gemm.h"
#include "core/kernel/x86/quantize_avx2.h"

enum { ROWS = 6, VECTORS = 2, LANES = 8, COLS = VECTORS * LANES, GROUP = 4 };

static inline void store(void *q, size_t i, __m256i low, __m256i high) {
  __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xd8);
  _mm256_storeu_si256((__m256i *)((uint8_t *)q + i), packed);
}

static void convert(size_t rows, size_t k, size_t k_padded, const float *x, size_t ldx,
                    void *converted, size_t stride, rr_row_scale *scales) {
  uint8_t *to = converted;
  for (size_t row = 0; row < rows; row++) {
    rr_quantize_row_avx2(k, k_padded, x + row * ldx, to + row * stride, store, &scales[row]);
  }
}

/* Inlined with a constant number of rows, so that all sums are registers. */
static inline __attribute__((always_inline)) void tile_of(const rr_tile_args *args, size_t rows) {
  __m256i sums[ROWS][VECTORS];
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      sums[r][v] = _mm256_setzero_si256();
    }
  }
  const uint8_t *x = args->x;
  const int8_t *w = args->w;
  size_t stride = args->x_stride;
  for (size_t d = 0; d < args->depth; d++, x += GROUP, w += GROUP * COLS) {
    __m256i weights[VECTORS];
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      weights[v] = _mm256_load_si256((const __m256i *)(w + v * GROUP * LANES));
    }
    RR_UNROLL
    for (size_t r = 0; r < rows; r++) {
      int32_t four;
      memcpy(&four, x + r * stride, sizeof four);
      __m256i values = _mm256_set1_epi32(four);
      RR_UNROLL
      for (size_t v = 0; v < VECTORS; v++) {
        sums[r][v] = _mm256_dpbusd_avx_epi32(sums[r][v], values, weights[v]);
      }
    }
  }
  int32_t *out = args->sums;
  RR_UNROLL
  for (size_t r = 0; r < rows; r++) {
    RR_UNROLL
    for (size_t v = 0; v < VECTORS; v++) {
      _mm256_store_si256((__m256i *)(void *)(out + r * COLS + v * LANES), sums[r][v]);
    }
  }
}

#define TILE(rows)                                                                                 \
  static void tile_##rows(const rr_tile_args *args) { tile_of(args, rows); }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

static void tile(const rr_tile_args *args) {
  static void (*const tiles[ROWS])(const rr_tile_args *) = {tile_1, tile_2, tile_3,
                                                            tile_4, tile_5, tile_6};
  tiles[args->rows - 1](args);
}

static const rr_tile_kernel kernel = {
    .format = RR_FORMAT_INT8,
    .rows = ROWS,
    .cols = COLS,
    .group = GROUP,
    .k_multiple = RR_QUANTIZE_AVX2_STEP,
    .x_bytes = sizeof(uint8_t),
    .tile = tile,
    .convert = convert,
};

RR_BLOCKED_GEMM(rr_gemm_int8_avxvnni, "int8-avxvnni", RR_FORMAT_INT8, ROWS, kernel);
