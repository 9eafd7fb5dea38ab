/* exp, erf and tanh in float32, free of branches and calls, so that loops over them vectorise.
 *
 * The bounds below hold with and without fused multiply-add and are tested. The polynomials are
 * least-maximum-error fits (iteratively reweighted least squares in double precision).
 */
#ifndef RR_CORE_KERNEL_ROWOPS_MATH_H
#define RR_CORE_KERNEL_ROWOPS_MATH_H

#include <stdint.h>
#include <string.h>

/* exp(x), relative error below 2e-7 for x in [-87, 88]; x beyond that is taken as the bound, so
 * that the result is a normal number. NaN gives NaN.
 * x = n ln 2 + r with |r| <= ln(2) / 2; exp(r) = 1 + r + r^2 p(r), fit to 3e-9. Adding 1.5 * 2^23
 * rounds to an integer and leaves it in the low mantissa bits; with the exponent's bias of 127
 * added too, shifting them up makes the number 2^n. */
static inline float rr_math_exp(float x) {
  const float round = 0x1.8p23f + 127.0f;
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  float shifted = x * 0x1.715476p0f + round;
  float n = shifted - round;
  float r = x - n * 0x1.62e4p-1f; /* ln 2 in two parts, the first exact in any n * part */
  r = r - n * 0x1.7f7d1cp-20f;
  float p = 0x1.6a244cp-10f;
  p = p * r + 0x1.1239d4p-7f;
  p = p * r + 0x1.5558f2p-5f;
  p = p * r + 0x1.555492p-3f;
  p = p * r + 0x1.fffffcp-2f;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;
  float scale;
  memcpy(&scale, &bits, sizeof scale);
  return (p * (r * r) + r + 1.0f) * scale;
}

/* erf(x), absolute error below 4e-7 for all x; NaN gives NaN.
 * x P(t) with t = 2 x^2 / 3.7^2 - 1 on |x| < 3.7, fit to 1.5e-7; beyond it erf rounds to +-1 (off
 * by 1.7e-7). In t rather than x^2 no coefficient is large, so that rounding loses little. There is
 * no division, which would cost as much as ten of these steps. */
static inline float rr_math_erf(float x) {
  const float edge = 3.7f;
  float y = x > edge ? edge : x;
  y = y < -edge ? -edge : y;
  float t = (y * y) * 0x1.2b324ep-3f - 1.0f;
  float p = -0x1.8a7092p-10f;
  p = p * t + 0x1.016300p-8f;
  p = p * t - 0x1.de111ap-9f;
  p = p * t + 0x1.564f4cp-8f;
  p = p * t - 0x1.cfb8dap-7f;
  p = p * t + 0x1.9bfe90p-6f;
  p = p * t - 0x1.288d78p-5f;
  p = p * t + 0x1.a5afa6p-5f;
  p = p * t - 0x1.20822ap-4f;
  p = p * t + 0x1.733314p-4f;
  p = p * t - 0x1.cd6570p-4f;
  p = p * t + 0x1.205644p-3f;
  p = p * t - 0x1.8613f2p-3f;
  p = p * t + 0x1.874f10p-2f;
  float erf = y * p;
  erf = x >= edge ? 1.0f : erf;
  return x <= -edge ? -1.0f : erf;
}

/* tanh(x) = 1 - 2 / (1 + exp(2 x)), absolute error below 2.5e-7 for all x; NaN gives NaN. */
static inline float rr_math_tanh(float x) { return 1.0f - 2.0f / (1.0f + rr_math_exp(2.0f * x)); }

static inline float rr_math_gelu_erf(float x) {
  const float sqrt_half = 0x1.6a09e6p-1f;
  float half = 0.5f * x;
  return half + half * rr_math_erf(x * sqrt_half);
}

static inline float rr_math_gelu_tanh(float x) {
  const float sqrt_two_over_pi = 0x1.988454p-1f;
  float inner = sqrt_two_over_pi * (x + 0.044715f * (x * x * x));
  float half = 0.5f * x;
  return half + half * rr_math_tanh(inner);
}

#endif
