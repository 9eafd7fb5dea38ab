/* What the NEON tiles share; for files compiled for aarch64. */
#ifndef RR_CORE_KERNEL_TILE_NEON_H
#define RR_CORE_KERNEL_TILE_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "core/kernel/blocked.h"

/* Runs a tile that always stores `width` columns; where fewer are live it does so in the scratch
 * (width x rows floats) and the live ones are copied. */
static inline void rr_run_neon(const rr_tile_args *args, size_t width,
                               void (*tile)(const rr_tile_args *args)) {
  if (args->cols == width) {
    tile(args);
    return;
  }
  rr_tile_args whole = *args;
  whole.cols = width;
  whole.out = args->scratch;
  whole.ld_out = width;
  tile(&whole);
  for (size_t r = 0; r < args->rows; r++) {
    memcpy(args->out + r * args->ld_out, whole.out + r * width, args->cols * sizeof(float));
  }
}

/* Row r of the operand; the matrix products take rows in pairs, where the last one stands twice if
 * their number is odd. */
static inline const void *rr_row_neon(const rr_tile_args *args, size_t r) {
  return (const char *)args->x + (r < args->rows ? r : args->rows - 1) * args->x_stride;
}

#endif
