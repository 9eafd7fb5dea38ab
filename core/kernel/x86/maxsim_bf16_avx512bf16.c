/* Late interaction by AVX512_BF16: vdpbf16ps adds two products to each of 16 sums. Denormals count
 * as zero (bf16.h). */
#include "core/kernel/blocked.h"
#include "core/kernel/isa.h"
#include "core/kernel/maxsim_rows.h"

enum { GROUP = RR_MAXSIM_PAIR, FIX_BYTES = 0 };
#define ROW_SIZE(dim) rr_maxsim_bf16_row_size(dim)
#define sums_t __m512
#define ZERO_SUMS _mm512_setzero_ps()
#define DOT(sums, row, column) _mm512_dpbf16_ps(sums, (__m512bh)(row), (__m512bh)(column))
#define VALUES(sums, dim, row, fix) (sums)
#define FINAL(most, fix) (most)
#include "core/kernel/x86/maxsim_avx512.h"

static size_t row_size(size_t dim) { return rr_maxsim_bf16_row_size(dim); }
static void store(size_t dim, const float *x, void *row) { rr_maxsim_bf16_store(dim, x, row); }

static void pack(size_t queries, size_t dim, const void *rows, void *packed) {
  memset(packed, 0, packed_size(queries, dim));
  for (size_t q = 0; q < queries; q++) {
    const char *row = (const char *)rows + q * row_size(dim);
    char *to = (char *)packed + q / LANES * vector_bytes(dim) + q % LANES * sizeof(int32_t);
    for (size_t g = 0; g < groups_of(dim); g++) {
      memcpy(to + g * LINE, row + g * sizeof(int32_t), sizeof(int32_t));
    }
  }
}

const rr_maxsim rr_maxsim_bf16_avx512bf16 = {
    .name = "maxsim-bf16-avx512bf16",
    .format = RR_FORMAT_BF16,
    .row_size = row_size,
    .store = store,
    .packed_size = packed_size,
    .pack = pack,
    .run = run,
};
