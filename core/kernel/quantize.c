#include "core/kernel/quantize.h"

#include <math.h>

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

void rr_quantize_row(size_t k, size_t k_padded, const float *x, uint8_t *q,
                     rr_row_scale *ret_scale) {
  int32_t signed_max = INT32_MIN;
  uint32_t unsigned_max = 0;
  for (size_t i = 0; i < k; i++) {
    uint32_t bits = bits_of(x[i]);
    signed_max = (int32_t)bits > signed_max ? (int32_t)bits : signed_max;
    unsigned_max = bits > unsigned_max ? bits : unsigned_max;
  }
  rr_quantize_factors f = rr_quantize_row_factors((uint32_t)signed_max, unsigned_max, ret_scale);
  for (size_t i = 0; i < k; i++) {
    /* With factors of 0 a value may still be NaN or infinite: not for lrintf. */
    q[i] = f.inverse == 0.0f ? 0 : (uint8_t)lrintf(fmaf(x[i], f.inverse, f.zero));
  }
  memset(q + k, 0, k_padded - k);
}

void rr_quantize_column(size_t k, const float *w, size_t group, size_t cols, int8_t *to,
                        float *ret_scale, int32_t *ret_sum) {
  float max = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < k; i++) {
    finite = finite && isfinite(w[i]);
    max = fmaxf(max, fabsf(w[i]));
  }
  bool counts = finite && max >= 0x1p-100f;
  float inverse = counts ? (float)RR_QUANTIZE_WEIGHT_MAX / max : 0.0f;
  int32_t sum = 0;
  for (size_t i = 0; i < k; i++) {
    int8_t q = counts ? (int8_t)lrintf(w[i] * inverse) : 0;
    to[i / group * group * cols + i % group] = q;
    sum += q;
  }
  *ret_sum = sum;
  *ret_scale = !finite ? NAN : counts ? max / (float)RR_QUANTIZE_WEIGHT_MAX : 0.0f;
}
