/* Late interaction by AVX-512 VNNI: vpdpbusd adds four products of an unsigned and a signed byte to
 * each of 16 sums. Rows are unsigned as they are stored, q + 128; queries are packed signed, so
 * that what the 128 add is the same for all rows: 128 times the sum of the query's values, kept
 * behind them beside its scale. */
#include "core/kernel/blocked.h"
#include "core/kernel/isa.h"
#include "core/kernel/maxsim_rows.h"

enum { GROUP = RR_MAXSIM_FOUR, FIX_BYTES = 2 * 64 };
#define ROW_SIZE(dim) rr_maxsim_int8_row_size(dim)
#define sums_t __m512i
#define ZERO_SUMS _mm512_setzero_si512()
#define DOT(sums, row, column) _mm512_dpbusd_epi32(sums, row, column)
#define VALUES(sums, dim, row, fix)                                                                \
  _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums, _mm512_load_si512(fix))),                \
                _mm512_set1_ps(rr_maxsim_int8_scale(dim, row)))
#define FINAL(most, fix) _mm512_mul_ps(most, _mm512_load_ps((fix) + 64))
#include "core/kernel/x86/maxsim_avx512.h"

static size_t row_size(size_t dim) { return rr_maxsim_int8_row_size(dim); }
static void store(size_t dim, const float *x, void *row) { rr_maxsim_int8_store(dim, x, row); }

static void pack(size_t queries, size_t dim, const void *rows, void *packed) {
  memset(packed, 0, packed_size(queries, dim));
  for (size_t q = 0; q < queries; q++) {
    const uint8_t *row = (const uint8_t *)rows + q * row_size(dim);
    char *vector = (char *)packed + q / LANES * vector_bytes(dim);
    char *fix = vector + groups_of(dim) * LINE + q % LANES * sizeof(int32_t);
    int32_t sum = 0;
    for (size_t d = 0; d < groups_of(dim) * GROUP; d++) { /* rows are padded with zeros: 128 */
      int8_t value = (int8_t)(row[d] - RR_MAXSIM_ZERO);
      vector[d / GROUP * LINE + q % LANES * GROUP + d % GROUP] = value;
      sum += value;
    }
    sum *= RR_MAXSIM_ZERO;
    float scale = rr_maxsim_int8_scale(dim, row);
    memcpy(fix, &sum, sizeof sum);
    memcpy(fix + LINE, &scale, sizeof scale);
  }
}

const rr_maxsim rr_maxsim_int8_vnni512 = {
    .name = "maxsim-int8-vnni512",
    .format = RR_FORMAT_INT8,
    .row_size = row_size,
    .store = store,
    .packed_size = packed_size,
    .pack = pack,
    .run = run,
};
