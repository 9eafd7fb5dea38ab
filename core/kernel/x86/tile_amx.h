/* What the AMX tiles share: 32 rows by 32 columns of 4-byte sums, two by two tile registers of 16 x
 * 16, over operands of 64 bytes a row of a register. The including file says which product with
 * RR_AMX_PRODUCT(sums, x, w), all literals.
 *
 * Tested on a CPU that has AMX, but not timed against a peer. On other CPUs tests run this code
 * with the intrinsics in plain C (tests/kernels/emulated). */
#ifndef RR_CORE_KERNEL_X86_TILE_AMX_H
#define RR_CORE_KERNEL_X86_TILE_AMX_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "core/kernel/blocked.h"

enum {
  RR_AMX_ROWS = 32,
  RR_AMX_COLS = 32,
  RR_AMX_HALF = 16,                      /* rows and 4-byte columns of a register */
  RR_AMX_BYTES = 64,                     /* of a register's row */
  RR_AMX_DEPTHS = RR_AMX_BYTES / 4,      /* depths that one product takes */
  RR_AMX_PANEL_STRIDE = RR_AMX_COLS * 4, /* bytes between two depths of a panel */
  RR_AMX_SUMS_STRIDE = RR_AMX_COLS * 4,  /* bytes between two rows of sums */
};

/* Tile registers; the instructions take them as literals. The first number is the half of rows, the
 * second that of columns. */
#define RR_AMX_SUMS_00 0
#define RR_AMX_SUMS_01 1
#define RR_AMX_SUMS_10 2
#define RR_AMX_SUMS_11 3
#define RR_AMX_X_0 4
#define RR_AMX_X_1 5
#define RR_AMX_W_0 6
#define RR_AMX_W_1 7

/* What ldtilecfg reads (palette 1). */
typedef struct rr_amx_config {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} rr_amx_config;

_Static_assert(sizeof(rr_amx_config) == 64, "ldtilecfg reads 64 bytes");

/* `upper` and `lower`: live rows of the two halves, 1 to 16. */
static void rr_amx_configure(size_t upper, size_t lower) {
  const size_t rows[8] = {
      [RR_AMX_SUMS_00] = upper,   [RR_AMX_SUMS_01] = upper,   [RR_AMX_SUMS_10] = lower,
      [RR_AMX_SUMS_11] = lower,   [RR_AMX_X_0] = upper,       [RR_AMX_X_1] = lower,
      [RR_AMX_W_0] = RR_AMX_HALF, [RR_AMX_W_1] = RR_AMX_HALF,
  };
  _Alignas(64) rr_amx_config config = {.palette = 1};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    config.row_bytes[i] = RR_AMX_BYTES;
    config.rows[i] = (uint8_t)rows[i];
  }
  /* Some compilers' _tile_loadconfig says that it reads 8 bytes, and so what is stored into the
   * others is left out: this reads all. */
  __asm__ volatile("" : : "m"(config));
  _tile_loadconfig(&config);
}

static void rr_amx_begin(void) { rr_amx_configure(RR_AMX_HALF, RR_AMX_HALF); }

static void rr_amx_end(void) { _tile_release(); }

/* Stores the sums of more than 16 rows. */
static void rr_amx_multiply_both(const rr_tile_args *args) {
  const char *x = args->x;
  const char *w = args->w;
  char *sums = args->sums;
  _tile_zero(RR_AMX_SUMS_00);
  _tile_zero(RR_AMX_SUMS_01);
  _tile_zero(RR_AMX_SUMS_10);
  _tile_zero(RR_AMX_SUMS_11);
  for (size_t d = 0; d < args->depth; d += RR_AMX_DEPTHS) {
    _tile_loadd(RR_AMX_W_0, w, RR_AMX_PANEL_STRIDE);
    _tile_loadd(RR_AMX_W_1, w + RR_AMX_BYTES, RR_AMX_PANEL_STRIDE);
    _tile_loadd(RR_AMX_X_0, x, args->x_stride);
    RR_AMX_PRODUCT(RR_AMX_SUMS_00, RR_AMX_X_0, RR_AMX_W_0);
    RR_AMX_PRODUCT(RR_AMX_SUMS_01, RR_AMX_X_0, RR_AMX_W_1);
    _tile_loadd(RR_AMX_X_1, x + RR_AMX_HALF * args->x_stride, args->x_stride);
    RR_AMX_PRODUCT(RR_AMX_SUMS_10, RR_AMX_X_1, RR_AMX_W_0);
    RR_AMX_PRODUCT(RR_AMX_SUMS_11, RR_AMX_X_1, RR_AMX_W_1);
    x += RR_AMX_BYTES;
    w += RR_AMX_DEPTHS * RR_AMX_PANEL_STRIDE;
  }
  _tile_stored(RR_AMX_SUMS_00, sums, RR_AMX_SUMS_STRIDE);
  _tile_stored(RR_AMX_SUMS_01, sums + RR_AMX_BYTES, RR_AMX_SUMS_STRIDE);
  _tile_stored(RR_AMX_SUMS_10, sums + RR_AMX_HALF * RR_AMX_SUMS_STRIDE, RR_AMX_SUMS_STRIDE);
  _tile_stored(RR_AMX_SUMS_11, sums + RR_AMX_HALF * RR_AMX_SUMS_STRIDE + RR_AMX_BYTES,
               RR_AMX_SUMS_STRIDE);
}

/* As above for up to 16 rows. */
static void rr_amx_multiply_upper(const rr_tile_args *args) {
  const char *x = args->x;
  const char *w = args->w;
  char *sums = args->sums;
  _tile_zero(RR_AMX_SUMS_00);
  _tile_zero(RR_AMX_SUMS_01);
  for (size_t d = 0; d < args->depth; d += RR_AMX_DEPTHS) {
    _tile_loadd(RR_AMX_X_0, x, args->x_stride);
    _tile_loadd(RR_AMX_W_0, w, RR_AMX_PANEL_STRIDE);
    _tile_loadd(RR_AMX_W_1, w + RR_AMX_BYTES, RR_AMX_PANEL_STRIDE);
    RR_AMX_PRODUCT(RR_AMX_SUMS_00, RR_AMX_X_0, RR_AMX_W_0);
    RR_AMX_PRODUCT(RR_AMX_SUMS_01, RR_AMX_X_0, RR_AMX_W_1);
    x += RR_AMX_BYTES;
    w += RR_AMX_DEPTHS * RR_AMX_PANEL_STRIDE;
  }
  _tile_stored(RR_AMX_SUMS_00, sums, RR_AMX_SUMS_STRIDE);
  _tile_stored(RR_AMX_SUMS_01, sums + RR_AMX_BYTES, RR_AMX_SUMS_STRIDE);
}

/* The sums of args->rows rows. Registers configured for fewer rows read and write only
 * those: nothing beyond the live rows of x is touched. */
static void rr_amx_multiply(const rr_tile_args *args) {
  size_t upper = args->rows < RR_AMX_HALF ? args->rows : RR_AMX_HALF;
  size_t lower = args->rows - upper;
  if (args->rows < RR_AMX_ROWS) {
    rr_amx_configure(upper, lower > 0 ? lower : RR_AMX_HALF);
  }
  if (lower > 0) {
    rr_amx_multiply_both(args);
  } else {
    rr_amx_multiply_upper(args);
  }
  if (args->rows < RR_AMX_ROWS) {
    rr_amx_begin();
  }
}

#endif
