/* Matrix products by tiles: panels of packed weights times blocks of converted rows. What differs
 * between instruction sets and number formats is the tile kernel, which leaves sums in the
 * first-level cache; packing order, blocking and edges are common (blocked.c), and rr_rowops turns
 * a tile's sums into outputs (bias, activation, type) before the next tile begins.
 *
 * Packed weights: panel after panel of `cols` columns (outputs of w), each panel depth after depth,
 * and within a depth column after column of `group` consecutive k: what one load of the tile kernel
 * wants lies together. Columns beyond n and k beyond k are zero.
 */
#ifndef RR_CORE_KERNEL_BLOCKED_H
#define RR_CORE_KERNEL_BLOCKED_H

#include <stddef.h>
#include <stdint.h>

#include "core/kernel/kernel.h"

/* One tile: sums (kernel->rows x kernel->cols, dense) = x w^T, both in the kernel's format. */
typedef struct rr_tile_args {
  size_t rows;      /* 1 .. kernel->rows live rows; sums of rows beyond them may become anything */
  size_t depth;     /* padded k / group */
  const void *x;    /* converted rows */
  size_t x_stride;  /* bytes between two of them */
  const void *w;    /* one panel, 64-byte aligned */
  void *sums;       /* float, of int8 kernels int32_t; 64-byte aligned */
  const char *next; /* what the next tiles will read: worth fetching into the second-level cache */
  size_t next_step; /* bytes of it a depth */
} rr_tile_args;

typedef struct rr_tile_kernel {
  rr_format format;
  size_t rows; /* of a tile: an even number */
  size_t cols; /* of a tile, and so of a panel: a multiple of 4, up to RR_FINISH_COLS_MAX */
  /* k that lie together in a panel: 1 for fp32; for bf16 2, or 1: then a panel holds the rounded
   * weights as fp32; for int8 4 (AVX2: 2). */
  size_t group;
  size_t k_multiple;  /* k is padded to a multiple of this */
  size_t x_bytes;     /* of a converted element of x: 4 for fp32 and bf16 of group 1, 2 for bf16, 1
                       * (AVX2: 2) for int8 */
  int32_t zero_point; /* int8: what convert takes from each value, for products of signed bytes */
  void (*tile)(const rr_tile_args *args);
  /* Converts rows of fp32 x to the format, k_padded elements each, `stride` bytes apart; int8 also
   * writes a scale a row. NULL: x is used as it is (fp32). */
  void (*convert)(size_t rows, size_t k, size_t k_padded, const float *x, size_t ldx,
                  void *converted, size_t stride, rr_row_scale *scales);
  /* The same from bfloat16 x. NULL: x is made float32 first, a row at a time. (bf16 kernels of a
   * group of 2 or more read x where it lies if k needs no padding.) */
  void (*convert_bf16)(size_t rows, size_t k, size_t k_padded, const uint16_t *x, size_t ldx,
                       void *converted, size_t stride, rr_row_scale *scales);
  /* Before the first and after the last tile of a product on this thread (AMX tile configuration);
   * NULL where there is nothing to do. */
  void (*begin)(void);
  void (*end)(void);
} rr_tile_kernel;

size_t rr_blocked_packed_size(const rr_tile_kernel *kernel, size_t n, size_t k);
void rr_blocked_pack(const rr_tile_kernel *kernel, size_t n, size_t k, const float *w,
                     void *packed);
size_t rr_blocked_scratch_size(const rr_tile_kernel *kernel, size_t m, size_t n, size_t k);
void rr_blocked_run(const rr_tile_kernel *kernel, const rr_gemm_args *args);

/* Before a loop with a constant count over sums that are to stay in registers. Without it gcc
 * unrolls the last loop, the one that stores, too late and moves all sums through the stack; clang
 * needs no hint and takes this one for a limit. */
#if defined(__GNUC__) && !defined(__clang__)
#define RR_UNROLL _Pragma("GCC unroll 16")
#define RR_UNROLL_ALL _Pragma("GCC unroll 64") /* of longer loops */
#else
#define RR_UNROLL
#define RR_UNROLL_ALL
#endif

/* Defines `symbol`, the rr_gemm of a tile kernel, at the end of the kernel's source:
 * RR_BLOCKED_GEMM(rr_gemm_fp32_avx512, "fp32-avx512", RR_FORMAT_FP32, ROWS, kernel) */
#define RR_BLOCKED_GEMM(symbol, text, number_format, rows, kernel)                                 \
  static size_t symbol##_packed_size(size_t n, size_t k) {                                         \
    return rr_blocked_packed_size(&(kernel), n, k);                                                \
  }                                                                                                \
  static void symbol##_pack(size_t n, size_t k, const float *w, void *packed) {                    \
    rr_blocked_pack(&(kernel), n, k, w, packed);                                                   \
  }                                                                                                \
  static size_t symbol##_scratch_size(size_t m, size_t n, size_t k) {                              \
    return rr_blocked_scratch_size(&(kernel), m, n, k);                                            \
  }                                                                                                \
  static void symbol##_run(const rr_gemm_args *args) { rr_blocked_run(&(kernel), args); }          \
  const rr_gemm symbol = {                                                                         \
      .tile_rows = (rows),                                                                         \
      .name = (text),                                                                              \
      .format = (number_format),                                                                   \
      .packed_size = symbol##_packed_size,                                                         \
      .pack = symbol##_pack,                                                                       \
      .scratch_size = symbol##_scratch_size,                                                       \
      .run = symbol##_run,                                                                         \
  }

#endif
