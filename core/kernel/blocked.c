/* out = finish(x w^T): the loops around a tile kernel, after Goto and van de Geijn (2008) and BLIS.
 *
 *   for a block of rows of x             converted to the tile's format: second-level cache
 *     for a panel of w                   packed once, when the model is loaded: first-level cache
 *       for a tile of rows of the block  sums in registers over all of k
 *         finish: bias, activation, type of the result
 *     norm, if there is one, while the block of outputs is still in the second-level cache
 *
 * A panel is kernel->cols columns of the result, so rows of w; here cols is 4 and group is 2:
 *
 *   depth 0   w[0][0] w[0][1]   w[1][0] w[1][1]   w[2][0] w[2][1]   w[3][0] w[3][1]
 *   depth 1   w[0][2] w[0][3]   w[1][2] w[1][3]   w[2][2] w[2][3]   w[3][2] w[3][3]
 *   ...       up to a multiple of k_multiple, zero beyond k; then the next panel, on a new line
 *
 * int8 has a scale and a sum of each column in front of all panels.
 *
 * Not done: k is not cut into pieces as Goto does, since a sum would leave its register between two
 * of them and its bits would depend on the cut; so a panel is as deep as k, a few thousand at most
 * in the models served. A product uses one thread: those of the server take batches of their
 * own. */
#include "core/kernel/blocked.h"

#include <string.h>

#include "core/kernel/bf16.h"
#include "core/kernel/quantize.h"

enum { LINE = 64 };

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t divided_up(size_t a, size_t b) { return (a + b - 1) / b; }
static size_t rounded_up(size_t a, size_t b) { return divided_up(a, b) * b; }

/* Bytes of a packed weight. */
static size_t weight_size(const rr_tile_kernel *kernel) {
  switch (kernel->format) {
  case RR_FORMAT_FP32: return sizeof(float);
  case RR_FORMAT_BF16: return kernel->group == 1 ? sizeof(float) : sizeof(uint16_t);
  case RR_FORMAT_INT8: return sizeof(int8_t);
  }
  return 0;
}

static size_t padded_k(const rr_tile_kernel *kernel, size_t k) {
  return rounded_up(k, kernel->k_multiple);
}

/* Bytes of one panel. */
static size_t panel_size(const rr_tile_kernel *kernel, size_t k) {
  return rounded_up(padded_k(kernel, k) * kernel->cols * weight_size(kernel), LINE);
}

/* `offset` bytes from base, which is NULL where only sizes are asked for. */
static void *place(const void *base, size_t offset) { return (void *)((uintptr_t)base + offset); }

/* Where the pieces of packed weights lie: int8 has scales and sums of all columns in front. */
typedef struct packed_parts {
  size_t panels;
  size_t panel_size;
  float *scales; /* panels x cols */
  int32_t *sums; /* panels x cols */
  char *data;    /* panels x panel_size */
  size_t size;
} packed_parts;

static packed_parts parts_of(const rr_tile_kernel *kernel, size_t n, size_t k, const void *packed) {
  packed_parts p = {.panels = divided_up(n, kernel->cols), .panel_size = panel_size(kernel, k)};
  size_t columns = 0;
  if (kernel->format == RR_FORMAT_INT8) {
    columns = rounded_up(p.panels * kernel->cols * sizeof(float), LINE);
  }
  p.scales = place(packed, 0);
  p.sums = place(packed, columns);
  p.data = place(packed, 2 * columns);
  p.size = 2 * columns + p.panels * p.panel_size;
  return p;
}

size_t rr_blocked_packed_size(const rr_tile_kernel *kernel, size_t n, size_t k) {
  return parts_of(kernel, n, k, NULL).size;
}

/* Places row `row` of w, a column of the product. */
static void pack_column(const rr_tile_kernel *kernel, const packed_parts *p, size_t row, size_t k,
                        const float *w) {
  size_t group = kernel->group;
  size_t depth_step = kernel->cols * group;
  char *panel = p->data + row / kernel->cols * p->panel_size;
  size_t first = row % kernel->cols * group;
  if (kernel->format == RR_FORMAT_INT8) {
    rr_quantize_column(k, w, group, kernel->cols, (int8_t *)panel + first, &p->scales[row],
                       &p->sums[row]);
    return;
  }
  for (size_t i = 0; i < k; i++) {
    size_t at = i / group * depth_step + first + i % group;
    if (kernel->format == RR_FORMAT_FP32) {
      ((float *)(void *)panel)[at] = w[i];
    } else if (group == 1) {
      ((float *)(void *)panel)[at] = rr_bf16_round(w[i]);
    } else {
      ((uint16_t *)(void *)panel)[at] = rr_bf16_from_float(w[i]);
    }
  }
}

void rr_blocked_pack(const rr_tile_kernel *kernel, size_t n, size_t k, const float *w,
                     void *packed) {
  packed_parts p = parts_of(kernel, n, k, packed);
  memset(packed, 0, p.size);
  for (size_t row = 0; row < n; row++) {
    pack_column(kernel, &p, row, k, w + row * k);
  }
}

/* Where the pieces of a run's scratch lie. */
typedef struct workspace {
  size_t block;         /* rows */
  size_t stride;        /* bytes between two converted rows */
  float *bias;          /* n, padded to whole panels */
  rr_row_scale *scales; /* block */
  void *sums;           /* of a tile */
  float *row;           /* k: a row as float32 */
  char *converted;
  size_t size;
} workspace;

/* Rows of a block, at most: RR_GEMM_BLOCK_ROWS, in whole tiles. More would no longer fit the
 * second-level cache with their outputs; with fewer, w would have to come from further away more
 * often. */
static size_t most_rows(const rr_tile_kernel *kernel) {
  return rounded_up(RR_GEMM_BLOCK_ROWS, kernel->rows);
}

static workspace arrange(const rr_tile_kernel *kernel, size_t m, size_t n, size_t k,
                         void *scratch) {
  workspace s;
  size_t blocks = divided_up(m, most_rows(kernel));
  s.block = blocks == 0 ? 0 : rounded_up(divided_up(m, blocks), kernel->rows);
  /* An odd number of lines, or rows would meet in few sets of the cache. */
  s.stride = (divided_up(padded_k(kernel, k) * kernel->x_bytes, LINE) | 1) * LINE;
  size_t bias = rounded_up(divided_up(n, kernel->cols) * kernel->cols * sizeof(float), LINE);
  size_t scales = rounded_up(s.block * sizeof *s.scales, LINE);
  size_t sums = rounded_up(kernel->rows * kernel->cols * sizeof(float), LINE);
  size_t row = kernel->convert != NULL ? rounded_up(k * sizeof(float), LINE) : 0;
  s.bias = scratch;
  s.scales = place(scratch, bias);
  s.sums = place(scratch, bias + scales);
  s.row = place(scratch, bias + scales + sums);
  s.converted = place(scratch, bias + scales + sums + row);
  s.size = bias + scales + sums + row + (kernel->convert != NULL ? s.block * s.stride : 0);
  return s;
}

/* A smaller m may come in fewer blocks of more rows; precise rows count twice. */
size_t rr_blocked_scratch_size(const rr_tile_kernel *kernel, size_t m, size_t n, size_t k) {
  return arrange(kernel, smaller(2 * m, most_rows(kernel)), n, k, NULL).size;
}

static void normalise(const rr_gemm_args *args, size_t first, size_t rows) {
  float *out = (float *)args->out + first * args->ld_out;
  rr_norm_args norm = {
      .rows = rows,
      .cols = args->n,
      .x = out,
      .ldx = args->ld_out,
      .residual = args->residual + first * args->ld_residual,
      .ld_residual = args->ld_residual,
      .norm = *args->norm,
      .out = out,
      .ld_out = args->ld_out,
  };
  args->rowops->norm(&norm);
}

/* The rows of a block as the kernel reads them. */
typedef struct operand {
  const char *rows;
  size_t stride; /* bytes */
} operand;

static void convert_bf16(const rr_tile_kernel *kernel, const rr_gemm_args *args, const workspace *s,
                         const uint16_t *x, size_t rows, rr_row_scale *scales) {
  size_t k_padded = padded_k(kernel, args->k);
  if (kernel->convert_bf16 != NULL) {
    kernel->convert_bf16(rows, args->k, k_padded, x, args->ldx, s->converted, s->stride, scales);
    return;
  }
  for (size_t i = 0; i < rows; i++) {
    rr_bf16_expand(args->k, x + i * args->ldx, s->row);
    kernel->convert(1, args->k, k_padded, s->row, args->k, s->converted + i * s->stride, s->stride,
                    scales == NULL ? NULL : &scales[i]);
  }
}

/* Two converted rows a row: what it rounds to, and what that loses. */
static operand convert_parts(const rr_tile_kernel *kernel, const rr_gemm_args *args,
                             const workspace *s, size_t first, size_t rows) {
  size_t k_padded = padded_k(kernel, args->k);
  bool int8 = kernel->format == RR_FORMAT_INT8;
  for (size_t i = 0; i < rows; i++) {
    if (args->x_type == RR_TYPE_BF16) {
      rr_bf16_expand(args->k, (const uint16_t *)args->x + (first + i) * args->ldx, s->row);
    } else {
      memcpy(s->row, (const float *)args->x + (first + i) * args->ldx, args->k * sizeof *s->row);
    }
    for (size_t part = 2 * i; part < 2 * i + 2; part++) {
      kernel->convert(1, args->k, k_padded, s->row, args->k, s->converted + part * s->stride,
                      s->stride, int8 ? &s->scales[part] : NULL);
      args->rowops->residue(int8, args->k, s->row);
    }
  }
  return (operand){s->converted, s->stride};
}

/* One row of two parts. Sums of int8 are scaled here (quantize.h). */
static void join_row(const rr_tile_kernel *kernel, const rr_finish_args *finish,
                     const rr_row_scale *x, const char *sums, float *joined) {
  size_t size = finish->width * sizeof(float);
  if (kernel->format != RR_FORMAT_INT8) {
    float parts[2 * RR_FINISH_COLS_MAX];
    memcpy(parts, sums, 2 * size);
    for (size_t j = 0; j < finish->width; j++) {
      joined[j] = parts[j] + parts[finish->width + j];
    }
    return;
  }
  int32_t parts[2 * RR_FINISH_COLS_MAX];
  memcpy(parts, sums, 2 * size);
  for (size_t j = 0; j < finish->width; j++) {
    float w_sum = (float)finish->w_sum[j];
    int32_t shift = kernel->zero_point * finish->w_sum[j];
    float upper = (float)(parts[j] + shift) * x[0].scale + x[0].low * w_sum;
    float lower = (float)(parts[finish->width + j] + shift) * x[1].scale + x[1].low * w_sum;
    joined[j] = (upper + lower) * finish->w_scale[j];
  }
}

/* In place: rows of two parts become half as many of float. */
static void join_parts(const rr_tile_kernel *kernel, const rr_finish_args *finish, char *sums) {
  size_t size = finish->width * sizeof(float);
  for (size_t i = 0; i < finish->rows; i++) {
    float joined[RR_FINISH_COLS_MAX];
    const rr_row_scale *x = finish->x_scale == NULL ? NULL : &finish->x_scale[2 * i];
    join_row(kernel, finish, x, sums + 2 * i * size, joined);
    memcpy(sums + i * size, joined, size);
  }
}

/* bfloat16 leaves nothing of bfloat16 for a second part. */
static bool takes_parts(const rr_tile_kernel *kernel, const rr_gemm_args *args) {
  bool exact = kernel->format == RR_FORMAT_FP32 ||
               (kernel->format == RR_FORMAT_BF16 && args->x_type == RR_TYPE_BF16);
  return args->precise && !exact;
}

static operand converted(const rr_tile_kernel *kernel, const rr_gemm_args *args, const workspace *s,
                         size_t first, size_t rows) {
  if (takes_parts(kernel, args)) {
    return convert_parts(kernel, args, s, first, rows);
  }
  size_t k_padded = padded_k(kernel, args->k);
  size_t stride = args->ldx * rr_type_size(args->x_type);
  const char *x = (const char *)args->x + first * stride;
  bool as_it_is = args->x_type == RR_TYPE_BF16
                      ? kernel->x_bytes == sizeof(uint16_t) && kernel->format == RR_FORMAT_BF16 &&
                            k_padded == args->k
                      : kernel->convert == NULL;
  if (as_it_is) {
    return (operand){x, stride};
  }
  rr_row_scale *scales = kernel->format == RR_FORMAT_INT8 ? s->scales : NULL;
  if (args->x_type == RR_TYPE_BF16) {
    convert_bf16(kernel, args, s, (const uint16_t *)(const void *)x, rows, scales);
  } else {
    kernel->convert(rows, args->k, k_padded, (const float *)(const void *)x, args->ldx,
                    s->converted, s->stride, scales);
  }
  return (operand){s->converted, s->stride};
}

static void run_panel(const rr_tile_kernel *kernel, const rr_gemm_args *args, const packed_parts *p,
                      const workspace *s, const operand *x, size_t panel, size_t first,
                      size_t rows) {
  bool int8 = kernel->format == RR_FORMAT_INT8;
  size_t col = panel * kernel->cols;
  size_t out_size = rr_type_size(args->out_type);
  rr_tile_args tile = {
      .depth = padded_k(kernel, args->k) / kernel->group,
      .x_stride = x->stride,
      .w = p->data + panel * p->panel_size,
      .sums = s->sums,
  };
  tile.next = (const char *)tile.w + (panel + 1 < p->panels ? p->panel_size : 0);
  tile.next_step = divided_up(p->panel_size, tile.depth * divided_up(rows, kernel->rows));
  rr_finish_args finish = {
      .cols = smaller(args->n - col, kernel->cols),
      .width = kernel->cols,
      .sums = s->sums,
      .bias = s->bias + col,
      .w_scale = int8 ? p->scales + col : NULL,
      .w_sum = int8 ? p->sums + col : NULL,
      .zero_point = kernel->zero_point,
      .activation = args->activation,
      .out_type = args->out_type,
      .ld_out = args->ld_out,
  };
  size_t parts = takes_parts(kernel, args) ? 2 : 1;
  for (size_t row = 0; row < rows * parts; row += kernel->rows) {
    tile.rows = smaller(rows * parts - row, kernel->rows);
    tile.x = x->rows + row * x->stride;
    kernel->tile(&tile);
    finish.rows = tile.rows / parts;
    finish.x_scale = int8 ? s->scales + row : NULL;
    if (parts == 2) {
      join_parts(kernel, &finish, s->sums);
      finish.x_scale = NULL;
    }
    finish.out = (char *)args->out + ((first + row / parts) * args->ld_out + col) * out_size;
    args->rowops->finish(&finish);
    tile.next += tile.next_step * tile.depth;
  }
}

static void run_block(const rr_tile_kernel *kernel, const rr_gemm_args *args, const packed_parts *p,
                      const workspace *s, size_t first, size_t rows) {
  operand x = converted(kernel, args, s, first, rows);
  for (size_t panel = 0; panel < p->panels; panel++) {
    run_panel(kernel, args, p, s, &x, panel, first, rows);
  }
  if (args->norm != NULL) {
    normalise(args, first, rows);
  }
}

void rr_blocked_run(const rr_tile_kernel *kernel, const rr_gemm_args *args) {
  packed_parts p = parts_of(kernel, args->n, args->k, args->packed);
  size_t rows = takes_parts(kernel, args) ? 2 * args->m : args->m;
  workspace s = arrange(kernel, rows, args->n, args->k, args->scratch);
  size_t bias = 0;
  if (args->bias != NULL) {
    memcpy(s.bias, args->bias, args->n * sizeof *s.bias);
    bias = args->n;
  }
  memset(s.bias + bias, 0, (p.panels * kernel->cols - bias) * sizeof *s.bias);
  if (kernel->begin != NULL) {
    kernel->begin();
  }
  size_t block = takes_parts(kernel, args) ? s.block / 2 : s.block;
  for (size_t first = 0; first < args->m; first += block) {
    run_block(kernel, args, &p, &s, first, smaller(args->m - first, block));
  }
  if (kernel->end != NULL) {
    kernel->end();
  }
}
