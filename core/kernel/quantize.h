/* 8-bit quantisation, to nearest, halves to even.
 *
 * Weights, a column at a time, are signed and symmetric: q = round(w * (127 / max)), w about q *
 * scale with scale = max / 127, max the largest magnitude of the column.
 *
 * Values, a row at a time, are unsigned: q = round(fma(x, 255 / range, -low * (255 / range))), x
 * about low + q * scale with scale = range / 255. low is the least value of the row or 0 and range
 * reaches from there to the largest value or 0. Activations lean to one side, after GELU nearly all
 * the way: a symmetric range would waste up to half of the steps there.
 *
 * 1. A maximum or range below 2^-100 counts as zero: all q and the scale are 0 (255 / range would
 *    overflow).
 * 2. NaN, infinity or a range beyond float32 makes the scale NaN and all q 0, so that no product
 *    with them looks sound.
 * 3. Every implementation of rows gives the same bits, and all int8 products compute the same exact
 *    sums and the same epilogue,
 *      out = fma(sum, scale * w_scale, fma(low, w_scale * w_sum, bias)),
 *    w_sum being the sum of a column's q: their outputs before activation and norm are the same
 *    bits on every CPU (not so where x is taken in two parts). Sums fit 32 bits up to a k of 2^16.
 */
#ifndef RR_CORE_KERNEL_QUANTIZE_H
#define RR_CORE_KERNEL_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/kernel/blocked.h"

enum { RR_QUANTIZE_WEIGHT_MAX = 127, RR_QUANTIZE_VALUE_MAX = 255 };

/* What the values of a row are multiplied by and what is then added. Both 0: all q are 0. */
typedef struct rr_quantize_factors {
  float inverse;
  float zero;
} rr_quantize_factors;

/* From the bits of a row's values: the largest taken as signed integers and the largest taken as
 * unsigned. The former is the largest value unless all are negative, the latter the least one
 * unless none is; NaN lies beyond infinity in both, whatever the order of the values. */
static inline rr_quantize_factors
rr_quantize_row_factors(uint32_t signed_max, uint32_t unsigned_max, rr_row_scale *ret_scale) {
  const uint32_t infinity = 0x7f800000u;
  const uint32_t sign = 0x80000000u;
  const uint32_t not_a_number = 0x7fc00000u;
  float high = 0.0f;
  float low = 0.0f;
  if ((signed_max & sign) == 0) {
    memcpy(&high, &signed_max, sizeof high);
  }
  if ((unsigned_max & sign) != 0) {
    memcpy(&low, &unsigned_max, sizeof low);
  }
  float range = high - low;
  uint32_t range_bits;
  memcpy(&range_bits, &range, sizeof range_bits);
  *ret_scale = (rr_row_scale){0.0f, 0.0f};
  if ((range_bits & ~sign) >= infinity) { /* inf - inf cannot be: high is positive, low negative */
    memcpy(&ret_scale->scale, &not_a_number, sizeof ret_scale->scale);
    return (rr_quantize_factors){0.0f, 0.0f};
  }
  if (range < 0x1p-100f) {
    return (rr_quantize_factors){0.0f, 0.0f};
  }
  float inverse = (float)RR_QUANTIZE_VALUE_MAX / range;
  *ret_scale = (rr_row_scale){.scale = range / (float)RR_QUANTIZE_VALUE_MAX, .low = low};
  return (rr_quantize_factors){.inverse = inverse, .zero = -low * inverse};
}

/* One row of k values into k_padded (k or more) bytes. */
void rr_quantize_row(size_t k, size_t k_padded, const float *x, uint8_t *q,
                     rr_row_scale *ret_scale);

/* One column (output) of weights, k values, into its place in a panel (blocked.h): q of value i
 * lies at to[i / group * group * cols + i % group]; nothing else is written. ret_sum: of all q. */
void rr_quantize_column(size_t k, const float *w, size_t group, size_t cols, int8_t *to,
                        float *ret_scale, int32_t *ret_sum);

#endif
