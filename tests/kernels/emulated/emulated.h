/* Instructions that few CPUs have, in plain C with their documented results, so that the kernels
 * made of them run elsewhere: included before the kernel's source (meson.build), the names below
 * replace the intrinsics. It proves indexing, layouts, edges and the configuration of tiles;
 * neither speed nor that a CPU does as documented.
 *
 * What a CPU would fault on ends the program with a message: a register that is not configured,
 * shapes that do not fit each other.
 */
#ifndef RR_TESTS_KERNELS_EMULATED_H
#define RR_TESTS_KERNELS_EMULATED_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* sums[i] += a[2i + 1] * b[2i + 1], then += a[2i] * b[2i], each fused; denormals count as 0. */
void emulated_dpbf16(size_t lanes, float *sums, const uint16_t *a, const uint16_t *b);
/* To nearest even, denormals to 0. */
void emulated_to_bf16(size_t lanes, const float *values, uint16_t *ret_bf16);
/* sums[i] += four products of unsigned a and signed b, wrapping. */
void emulated_dpbusd(size_t lanes, int32_t *sums, const uint8_t *a, const int8_t *b);

void emulated_tile_loadconfig(const void *config);
void emulated_tile_release(void);
void emulated_tile_zero(int tile);
void emulated_tile_loadd(int tile, const void *base, size_t stride);
void emulated_tile_stored(int tile, void *base, size_t stride);
void emulated_tile_dpbf16ps(int sums, int a, int b);
void emulated_tile_dpbusd(int sums, int a, int b);

#ifdef __AVX512F__
static inline __m512 emulated_mm512_dpbf16_ps(__m512 sums, __m512bh a, __m512bh b) {
  emulated_dpbf16(16, (float *)&sums, (const uint16_t *)&a, (const uint16_t *)&b);
  return sums;
}

static inline __m512bh emulated_mm512_cvtne2ps_pbh(__m512 high, __m512 low) {
  __m512bh both;
  emulated_to_bf16(16, (const float *)&low, (uint16_t *)&both);
  emulated_to_bf16(16, (const float *)&high, (uint16_t *)&both + 16);
  return both;
}

static inline __m256bh emulated_mm512_cvtneps_pbh(__m512 values) {
  __m256bh half;
  emulated_to_bf16(16, (const float *)&values, (uint16_t *)&half);
  return half;
}

#define _mm512_cvtneps_pbh emulated_mm512_cvtneps_pbh
#define _mm512_dpbf16_ps emulated_mm512_dpbf16_ps
#define _mm512_cvtne2ps_pbh emulated_mm512_cvtne2ps_pbh
#endif

#ifdef __AVX2__
static inline __m256i emulated_mm256_dpbusd(__m256i sums, __m256i a, __m256i b) {
  emulated_dpbusd(8, (int32_t *)&sums, (const uint8_t *)&a, (const int8_t *)&b);
  return sums;
}

#define _mm256_dpbusd_avx_epi32 emulated_mm256_dpbusd
#endif

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbusd
#define _tile_loadconfig(config) emulated_tile_loadconfig(config)
#define _tile_release() emulated_tile_release()
#define _tile_zero(tile) emulated_tile_zero(tile)
#define _tile_loadd(tile, base, stride) emulated_tile_loadd(tile, base, stride)
#define _tile_stored(tile, base, stride) emulated_tile_stored(tile, base, stride)
#define _tile_dpbf16ps(sums, a, b) emulated_tile_dpbf16ps(sums, a, b)
#define _tile_dpbusd(sums, a, b) emulated_tile_dpbusd(sums, a, b)

#endif
