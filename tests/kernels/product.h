/* One matrix product for the tests: operands of chosen kinds at the very end of readable memory, so
 * that reading or writing beyond a buffer stops the program, canaries in every gap, and what the
 * product should be in double precision with a bound on what it may differ by. */
#ifndef RR_TESTS_KERNELS_PRODUCT_H
#define RR_TESTS_KERNELS_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/kernel/kernel.h"

typedef enum rr_fill {
  RR_FILL_UNIFORM,  /* -1 .. 1 */
  RR_FILL_LARGE,    /* sums up to 10^37 */
  RR_FILL_TINY,     /* products below the smallest normal number */
  RR_FILL_DENORMAL, /* x denormal, w up to 1 */
  RR_FILL_ZERO,     /* all of x */
  RR_FILL_MIXED,    /* magnitudes from 10^-6 to 10^3 within a row, every seventh 0 */
} rr_fill;
enum { RR_FILLS = 6 };

typedef enum rr_epilogue {
  RR_EPILOGUE_NONE,
  RR_EPILOGUE_BIAS,
  RR_EPILOGUE_RELU,
  RR_EPILOGUE_TANH,
  RR_EPILOGUE_GELU_ERF,
  RR_EPILOGUE_GELU_TANH,
  RR_EPILOGUE_NORM,
  RR_EPILOGUE_NORM_WITHOUT_BIAS,
} rr_epilogue;
enum { RR_EPILOGUES = 8 };

typedef struct rr_product {
  size_t m;
  size_t n;
  size_t k;
  size_t ldx;    /* k and a gap */
  size_t ld_out; /* n and a gap; residual's too */
  float *x;
  float *w;
  float *bias;
  float *residual;
  float *gamma;
  float *beta;
  float *out;
} rr_product;

rr_product rr_product_make(size_t m, size_t n, size_t k, rr_fill fill, uint32_t seed);
void rr_product_free(rr_product *product);

/* Runs it on rows first .. first + rows - 1 as if there were no others, into `out` (rows x ld_out,
 * or less by the last row's gap). Fails the test if anything but the outputs changed. */
void rr_product_run(const rr_product *product, const rr_gemm *gemm, const rr_rowops *rowops,
                    rr_epilogue epilogue, size_t first, size_t rows, float *out);

/* Runs it with one epilogue after the other, of those that suit the fill, and fails the test where
 * an output is further from the truth than its format allows. */
void rr_product_check(const rr_product *product, const rr_gemm *gemm, const rr_rowops *rowops,
                      rr_fill fill);

/* size bytes, 64-byte aligned if `aligned`, the page behind which cannot be touched; filled with
 * canaries. Freed by rr_guarded_free, which fails the test if bytes outside of the size changed. */
void *rr_guarded(size_t size, bool aligned);
void rr_guarded_free(void *data, size_t size, bool aligned);

#endif
