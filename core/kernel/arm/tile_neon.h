/* What the NEON tiles share; for files compiled for aarch64. */
#ifndef RR_CORE_KERNEL_ARM_TILE_NEON_H
#define RR_CORE_KERNEL_ARM_TILE_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "core/kernel/blocked.h"

/* Row r of the operand; the matrix products take rows in pairs, where the last one stands twice if
 * their number is odd. */
static inline const void *rr_row_neon(const rr_tile_args *args, size_t r) {
  return (const char *)args->x + (r < args->rows ? r : args->rows - 1) * args->x_stride;
}

#endif
