/* What computes: matrix products (rr_gemm), attention (rr_attention), late interaction (rr_maxsim)
 * and everything row by row (rr_rowops), each a descriptor chosen at run time. Tensors are
 * row-major, and float32 unless a type says otherwise; a leading dimension ("ld") is the distance
 * between two rows in elements.
 *
 * 1. Descriptors are constant and thread-safe; their functions allocate nothing and keep no state.
 * 2. A weight matrix is packed once by the descriptor that will run it; the packed form means
 *    nothing to any other descriptor.
 * 3. Rows are independent: no function reads or writes between cols and ld.
 * 4. NaN and infinity in the input reach the output; no function traps or hides them.
 */
#ifndef RR_CORE_KERNEL_KERNEL_H
#define RR_CORE_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

/* What an activation is stored as: float, or uint16_t as in bf16.h. */
typedef enum rr_type { RR_TYPE_FP32, RR_TYPE_BF16 } rr_type;

static inline size_t rr_type_size(rr_type type) {
  return type == RR_TYPE_FP32 ? sizeof(float) : sizeof(uint16_t);
}

/* What a product computes in. */
typedef enum rr_format {
  RR_FORMAT_FP32, /* float32 sums, an output's bits depend on its row of x alone */
  RR_FORMAT_BF16, /* x and w rounded to nearest even to bfloat16, float32 sums */
  RR_FORMAT_INT8, /* x (by row, at run time) and w (by column) in 8 bits, exact int32 sums */
} rr_format;
enum { RR_FORMATS = 3 };

typedef enum rr_activation {
  RR_ACTIVATION_NONE,
  RR_ACTIVATION_RELU,      /* max(x, 0) */
  RR_ACTIVATION_TANH,      /* tanh(x) */
  RR_ACTIVATION_GELU_ERF,  /* x / 2 * (1 + erf(x / sqrt(2))) */
  RR_ACTIVATION_GELU_TANH, /* x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) */
} rr_activation;

/* LayerNorm: (x - mean) / sqrt(variance + epsilon) * gamma + beta, variance over cols, biased. */
typedef struct rr_norm {
  const float *gamma; /* cols */
  const float *beta;  /* cols */
  float epsilon;
} rr_norm;

/* out = norm(x + bias + residual), one row at a time; out may be x or residual. */
typedef struct rr_norm_args {
  size_t rows;
  size_t cols;
  const float *x;
  size_t ldx;
  const float *bias;     /* cols, or NULL: none */
  const float *residual; /* rows x cols */
  size_t ld_residual;
  rr_norm norm;
  float *out;
  size_t ld_out;
} rr_norm_args;

/* out = norm(word[id] + position[0, 1, ...] + type[type_id]) for the tokens of one sequence. The
 * caller has checked ids, type ids and length against the tables. */
typedef struct rr_embed_args {
  size_t length;
  size_t cols;
  const int32_t *ids;
  const uint8_t *type_ids;
  const float *word;     /* vocabulary x cols */
  const float *position; /* positions x cols */
  const float *type;     /* types x cols */
  rr_norm norm;
  float *out;
  size_t ld_out;
} rr_embed_args;

/* One head of one sequence: out = softmax(scale * q k^T) v; all four of the descriptor's type. */
typedef struct rr_attention_args {
  size_t queries; /* 1 or more */
  size_t keys;    /* 1 or more */
  size_t head_size;
  const void *q; /* queries x head_size */
  size_t ldq;
  const void *k; /* keys x head_size */
  size_t ldk;
  const void *v; /* keys x head_size */
  size_t ldv;
  float scale; /* above 0 */
  void *out;   /* queries x head_size; overlaps none of the inputs */
  size_t ld_out;
  void *scratch; /* scratch_size bytes, 64-byte aligned */
} rr_attention_args;

typedef struct rr_attention {
  const char *name; /* "fp32-generic", "bf16-avx512bf16", ... */
  rr_type type;
  size_t head_multiple; /* head_size must be a multiple of this */
  /* Bytes of scratch for up to that many keys. */
  size_t (*scratch_size)(size_t keys, size_t head_size);
  void (*run)(const rr_attention_args *args);
} rr_attention;

/* How a row of x was quantised (quantize.h): x is about low + q * scale. */
typedef struct rr_row_scale {
  float scale;
  float low;
} rr_row_scale;

enum { RR_FINISH_COLS_MAX = 64 };

/* The end of a product's tile: out = activation(value + bias), value being sum or, where x_scale is
 * set, what the int32 sum stands for,
 *   fma(sum + zero_point * w_sum, x_scale * w_scale, fma(x_low, w_scale * w_sum, bias))
 *   (quantize.h).
 * An activation whose output becomes bfloat16 may be off by 1.5e-4 before it is rounded. */
typedef struct rr_finish_args {
  size_t rows;
  size_t cols;  /* of out; up to width */
  size_t width; /* of sums, bias, w_scale and w_sum: a multiple of 4, up to RR_FINISH_COLS_MAX */
  const void
      *sums; /* rows x width, dense, 64-byte aligned: float, or int32_t where x_scale is set */
  const float *bias;
  const rr_row_scale *x_scale; /* rows, or NULL: then the next three mean nothing */
  const float *w_scale;
  const int32_t *w_sum;
  int32_t zero_point; /* what was taken from each unsigned value of x */
  rr_activation activation;
  rr_type out_type;
  void *out; /* rows x cols */
  size_t ld_out;
} rr_finish_args;

typedef struct rr_rowops {
  const char *name; /* "generic", "avx2", "avx512", "avx512bf16" */
  /* x = activation(x + bias); bias (cols) may be NULL. */
  void (*activate)(rr_activation activation, const float *bias, size_t rows, size_t cols, float *x,
                   size_t ldx);
  void (*norm)(const rr_norm_args *args);
  void (*embed)(const rr_embed_args *args);
  void (*finish)(const rr_finish_args *args);
  /* x (k) becomes what is lost of it by bfloat16 (bf16.h) or, if `int8`, by a row's eight bits
   * (quantize.h); 0 where x is NaN or infinite. */
  void (*residue)(bool int8, size_t k, float *x);
  /* out = x as bfloat16 (bf16.h), denormals kept; finish may take them as 0. */
  void (*round)(size_t rows, size_t cols, const float *x, size_t ldx, uint16_t *out, size_t ld_out);
  /* out (cols) = mean of the rows of x; rows is 1 or more. */
  void (*mean)(size_t rows, size_t cols, const float *x, size_t ldx, float *out);
  /* out = x / max(|x|, 1e-12), |x| the Euclidean length; out may be x. */
  void (*unit)(size_t cols, const float *x, float *out);
} rr_rowops;

/* out = epilogue(x w^T); m, n and k are 1 or more. The epilogue adds the bias, then applies the
 * activation or, where norm is set, adds the residual and normalises. */
typedef struct rr_gemm_args {
  size_t m;
  size_t n;
  size_t k;
  rr_type x_type;
  const void *x; /* m x k */
  size_t ldx;
  /* x is taken in two parts of the format, the second being what rounding loses of the first; twice
   * the work. No effect on RR_FORMAT_FP32. */
  bool precise;
  const void *packed; /* w (n x k) as this descriptor's pack left it */
  const float *bias;  /* n, or NULL: none */
  rr_activation activation;
  const rr_norm *norm;   /* NULL: none; otherwise activation is RR_ACTIVATION_NONE */
  const float *residual; /* m x n, used with norm; must not overlap out */
  size_t ld_residual;
  rr_type out_type; /* RR_TYPE_FP32 with norm */
  void *out;        /* m x n; must not overlap x */
  size_t ld_out;
  const rr_rowops *rowops;
  void *scratch; /* scratch_size bytes, 64-byte aligned; may be NULL if that is 0 */
} rr_gemm_args;

/* best[q] = max over the rows of query q . row. The products are never stored: of each query its
 * maximum so far stays in a register. */
typedef struct rr_maxsim_args {
  size_t queries;     /* 1 or more */
  size_t rows;        /* 1 or more */
  size_t dim;         /* 1 or more */
  const void *packed; /* the queries, as this descriptor's pack left them */
  const void *tokens; /* rows of row_size(dim) bytes, as store left them */
  float *best;        /* queries */
} rr_maxsim_args;

/* Vectors are kept in the descriptor's format, row by row; the bytes of a row mean the same to
 * every descriptor of that format, so that those who write rows need not be the one that reads
 * them. int8: a row's values are symmetric, q = round(x * 127 / max|x|), each stored as q + 128,
 * and behind them is the scale max|x| / 127. */
typedef struct rr_maxsim {
  const char *name; /* "maxsim-fp32-generic", "maxsim-int8-vnni512", ... */
  rr_format format;
  /* Bytes of a stored vector; a multiple of 4. */
  size_t (*row_size)(size_t dim);
  /* x (dim) as a stored vector; row needs an alignment of 4. */
  void (*store)(size_t dim, const float *x, void *row);
  /* Bytes of packed queries; pack takes stored vectors, row_size apart, and writes to 64-byte
   * aligned memory. */
  size_t (*packed_size)(size_t queries, size_t dim);
  void (*pack)(size_t queries, size_t dim, const void *rows, void *packed);
  void (*run)(const rr_maxsim_args *args);
} rr_maxsim;

/* Rows that a product takes through all of w at once, so that they and their outputs stay in cache.
 * Who feeds one product's output to the next does well to do it in so many rows. */
enum { RR_GEMM_BLOCK_ROWS = 112 };

typedef struct rr_gemm {
  size_t tile_rows; /* a number of rows that is no multiple of it wastes part of a tile */
  const char *name; /* "openblas", "fp32-portable", "fp32-avx512", "int8-vnni512", ... */
  rr_format format;
  /* Called by rr_gemm_best and rr_gemm_find, any number of times; may be NULL. It may set what
   * holds for the whole process: call those before other threads use the same library. */
  void (*prepare)(void);
  /* Bytes of a packed w of n x k. */
  size_t (*packed_size)(size_t n, size_t k);
  /* Packs w (n x k, dense) into packed_size bytes at packed, 64-byte aligned. */
  void (*pack)(size_t n, size_t k, const float *w, void *packed);
  /* Bytes of scratch that run needs for up to m rows; 0 for none. */
  size_t (*scratch_size)(size_t m, size_t n, size_t k);
  /* Of RR_FORMAT_FP32: x and out must be float32. */
  void (*run)(const rr_gemm_args *args);
} rr_gemm;

/* Keeps only the features that text names (cpu_features.h) for what is chosen from now on: call it
 * before anything is. NULL: all. RR_ERR_INPUT for a name that means nothing; then nothing
 * changes. */
rr_status rr_kernels_set_mask(const char *text, rr_error *err);

/* The best descriptor for this CPU and mask that has not failed a self-check; there always is
 * one. */
const rr_gemm *rr_gemm_best(rr_format format);
const rr_rowops *rr_rowops_best(void);
/* Of bfloat16 for that head size, if there is one for this CPU and `reduced`; else of float32. */
const rr_attention *rr_attention_best(bool reduced, size_t head_size);
const rr_maxsim *rr_maxsim_best(rr_format format);

/* A descriptor by name, whatever the mask; NULL if it is not built in or this CPU cannot run it. */
const rr_gemm *rr_gemm_find(const char *name);
const rr_rowops *rr_rowops_find(const char *name);
const rr_attention *rr_attention_find(const char *name);
const rr_maxsim *rr_maxsim_find(const char *name);

/* All products that are built in, the best of a format last; NULL from `index` on that is too
 * large. *ret_missing: the features that this CPU lacks to run it (cpu_features.h), 0 if it can. */
const rr_gemm *rr_gemm_entry(size_t index, uint32_t *ret_missing);

/* The same of late interaction: NULL from `index` on that is too large. */
const rr_maxsim *rr_maxsim_entry(size_t index, uint32_t *ret_missing);

/* False of bfloat16 that is computed as float32, at float32's speed. */
bool rr_gemm_is_native(const rr_gemm *gemm);

/* Takes one out of what the above choose, for the rest of the process or until it is restored. */
void rr_gemm_reject(const rr_gemm *gemm);
void rr_rowops_reject(const rr_rowops *rowops);
void rr_attention_reject(const rr_attention *attention);
void rr_maxsim_reject(const rr_maxsim *maxsim);
void rr_kernels_restore(void);

/* The core the matrix library runs as ("SkylakeX"), for people. */
const char *rr_gemm_core(const rr_gemm *gemm);

#endif
