#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel/bf16.h"
#include "tests/kernels/emulated/emulated.h"

enum { TILES = 8, TILE_ROWS = 16, TILE_BYTES = 64 };

typedef struct tile {
  size_t rows;
  size_t row_bytes;
  unsigned char data[TILE_ROWS][TILE_BYTES];
} tile;

static _Thread_local tile tiles[TILES];

/* Where a CPU would raise an exception. */
static void require(bool met, const char *what) {
  if (!met) {
    (void)fprintf(stderr, "emulated CPU: %s\n", what);
    abort();
  }
}

static float without_denormals(float value) {
  return fpclassify(value) == FP_SUBNORMAL ? copysignf(0.0f, value) : value;
}

static float operand(uint16_t bf16) { return without_denormals(rr_bf16_to_float(bf16)); }

static float fused(uint16_t a, uint16_t b, float sum) {
  return without_denormals(fmaf(operand(a), operand(b), without_denormals(sum)));
}

void emulated_dpbf16(size_t lanes, float *sums, const uint16_t *a, const uint16_t *b) {
  for (size_t i = 0; i < lanes; i++) {
    float first = fused(a[2 * i + 1], b[2 * i + 1], sums[i]);
    sums[i] = fused(a[2 * i], b[2 * i], first);
  }
}

void emulated_to_bf16(size_t lanes, const float *values, uint16_t *ret_bf16) {
  for (size_t i = 0; i < lanes; i++) {
    ret_bf16[i] = rr_bf16_from_float(without_denormals(values[i]));
  }
}

void emulated_dpbusd(size_t lanes, int32_t *sums, const uint8_t *a, const int8_t *b) {
  for (size_t i = 0; i < lanes; i++) {
    uint32_t sum = (uint32_t)sums[i];
    for (size_t j = 4 * i; j < 4 * i + 4; j++) {
      sum += (uint32_t)((int32_t)a[j] * (int32_t)b[j]);
    }
    sums[i] = (int32_t)sum;
  }
}

/* Byte 0: the palette, 1: a restart row, 16 and on: bytes of a row, 48 and on: rows. */
void emulated_tile_loadconfig(const void *config) {
  const unsigned char *bytes = config;
  require(bytes[0] == 1, "the palette is not 1");
  for (size_t i = 1; i < 16; i++) {
    require(bytes[i] == 0, "reserved bytes of the configuration are set");
  }
  memset(tiles, 0, sizeof tiles);
  for (size_t t = 0; t < 16; t++) {
    uint16_t row_bytes;
    memcpy(&row_bytes, bytes + 16 + 2 * t, sizeof row_bytes);
    size_t rows = bytes[48 + t];
    require(row_bytes <= TILE_BYTES && rows <= TILE_ROWS, "a register is configured too large");
    require((row_bytes == 0) == (rows == 0), "a register has rows or columns alone");
    require(t < TILES || rows == 0, "a register that does not exist is configured");
    if (t < TILES) {
      tiles[t].rows = rows;
      tiles[t].row_bytes = row_bytes;
    }
  }
}

void emulated_tile_release(void) { memset(tiles, 0, sizeof tiles); }

static tile *configured(int index) {
  require(index >= 0 && index < TILES && tiles[index].rows > 0, "a register is not configured");
  return &tiles[index];
}

void emulated_tile_zero(int index) {
  tile *t = configured(index);
  memset(t->data, 0, sizeof t->data);
}

void emulated_tile_loadd(int index, const void *base, size_t stride) {
  tile *t = configured(index);
  memset(t->data, 0, sizeof t->data);
  for (size_t row = 0; row < t->rows; row++) {
    memcpy(t->data[row], (const char *)base + row * stride, t->row_bytes);
  }
}

void emulated_tile_stored(int index, void *base, size_t stride) {
  const tile *t = configured(index);
  for (size_t row = 0; row < t->rows; row++) {
    memcpy((char *)base + row * stride, t->data[row], t->row_bytes);
  }
}

/* sums: m x n of four bytes; a: m x 4 k bytes; b: k x 4 n bytes. */
static void require_shapes(const tile *sums, const tile *a, const tile *b) {
  require(sums != a && sums != b && a != b, "a product's registers are not different");
  require(sums->rows == a->rows && sums->row_bytes == b->row_bytes && a->row_bytes == 4 * b->rows,
          "a product's registers do not fit each other");
}

/* Even and odd k are summed apart and then added. */
void emulated_tile_dpbf16ps(int sums_index, int a_index, int b_index) {
  tile *sums = configured(sums_index);
  const tile *a = configured(a_index);
  const tile *b = configured(b_index);
  require_shapes(sums, a, b);
  for (size_t m = 0; m < sums->rows; m++) {
    for (size_t n = 0; n < sums->row_bytes / 4; n++) {
      float sum[2] = {0.0f, 0.0f};
      float before;
      for (size_t k = 0; k < b->rows; k++) {
        uint16_t x[2];
        uint16_t w[2];
        memcpy(x, a->data[m] + 4 * k, sizeof x);
        memcpy(w, b->data[k] + 4 * n, sizeof w);
        sum[0] = fused(x[0], w[0], sum[0]);
        sum[1] = fused(x[1], w[1], sum[1]);
      }
      memcpy(&before, sums->data[m] + 4 * n, sizeof before);
      float both = without_denormals(sum[0] + sum[1]);
      float after = without_denormals(without_denormals(before) + both);
      memcpy(sums->data[m] + 4 * n, &after, sizeof after);
    }
  }
}

void emulated_tile_dpbusd(int sums_index, int a_index, int b_index) {
  tile *sums = configured(sums_index);
  const tile *a = configured(a_index);
  const tile *b = configured(b_index);
  require_shapes(sums, a, b);
  for (size_t m = 0; m < sums->rows; m++) {
    for (size_t n = 0; n < sums->row_bytes / 4; n++) {
      uint32_t sum;
      memcpy(&sum, sums->data[m] + 4 * n, sizeof sum);
      for (size_t i = 0; i < 4 * b->rows; i++) {
        int32_t x = (uint8_t)a->data[m][i];
        int32_t w = (int8_t)b->data[i / 4][4 * n + i % 4];
        sum += (uint32_t)(x * w);
      }
      memcpy(sums->data[m] + 4 * n, &sum, sizeof sum);
    }
  }
}
