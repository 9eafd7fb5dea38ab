/* Whether a matrix product computes what its format asks for; needs no test library, so that it
 * also runs where there is none. Float formats are held against sums in double precision over the
 * rounded operands, int8 against the portable product, bit by bit. Odd sizes, tails of every tile,
 * leading dimensions with gaps, canaries behind every buffer. */
#ifndef RR_TESTS_KERNELS_AGREE_H
#define RR_TESTS_KERNELS_AGREE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/kernel/kernel.h"

enum { AGREE_TEXT_MAX = 200 };

/* Each returns whether all is well; otherwise `why` says what is not. */
bool agree_on_all_sizes(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]);
/* Values from the smallest to the largest that the format can multiply. */
bool agree_on_extremes(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]);
/* A row's bits depend neither on the number of rows nor on its place and neighbours. */
bool agree_by_row(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]);
/* A NaN or an infinity reaches all outputs of its row, as NaN or infinity, and no other row's. */
bool agree_on_nan(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]);
/* The same bits as bf16-portable. */
bool agree_bitwise_bf16(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]);

#endif
