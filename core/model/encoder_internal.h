/* What encoder.c (the forward pass), encoder_cls.c (what [CLS] rows have of their own),
 * encoder_head.c (what is made of the last layer) and encoder_split.c (pairs whose sides are
 * computed apart) share. */
#ifndef RR_CORE_MODEL_ENCODER_INTERNAL_H
#define RR_CORE_MODEL_ENCODER_INTERNAL_H

#include <stdbool.h>

#include "core/model/encoder.h"

enum {
  RR_ENCODER_ALIGNMENT = 64,
  RR_CLS_GROUP = 8,   /* sequences that a [CLS] layer's products of a head take at once */
  RR_LEAD_GROUP = 32, /* sequences whose [CLS] rows are computed once more at once */
};

/* Rows of hidden at which a pair's sides begin. */
typedef struct rr_pair_rows {
  uint32_t query;
  uint32_t document;
} rr_pair_rows;

/* H = hidden_size, I = intermediate_size, T = max_tokens, B = RR_GEMM_BLOCK_ROWS in whole tiles.
 * What is added up from layer to layer (hidden, middle) stays float32. */
struct rr_encoder {
  const rr_bert *bert;
  size_t max_tokens;
  float *hidden; /* T x H: a layer's input and, in the end, its output */
  float *middle; /* a block's rows, B x H: between attention and feed-forward. T x H: [CLS] rows */
  void *wide;  /* T x 4 H: query, key, value and context, in attention's type; or a [CLS] layer's */
  void *block; /* B x I: intermediate activations */
  void *scratch;           /* one attention head's, or a product's */
  float *lead;             /* rr_encoder_lead_bytes: [CLS] rows that are computed once more */
  float *residuals;        /* T: of a split model, what is added to a pair's logit */
  rr_input *sides;         /* T: of a split model, what its split layers run over */
  rr_pair_rows *pair_rows; /* T: and where they leave a pair's sides */
  char *memory;            /* all of the above */
  size_t bytes;            /* of it */
};

/* Sequences whose rows lie one behind the other in hidden. */
typedef struct rr_run {
  const rr_input *inputs;
  size_t n;
  size_t tokens;
  bool apart; /* a pair's sides do not see each other */
} rr_run;

/* A matrix of activations. */
typedef struct rr_matrix {
  void *data;
  rr_type type;
  size_t ld;
} rr_matrix;

static inline rr_matrix rr_matrix_floats(float *data, size_t ld) {
  return (rr_matrix){data, RR_TYPE_FP32, ld};
}

/* From row `row` and column `col` on. */
static inline void *rr_matrix_at(const rr_matrix *m, size_t row, size_t col) {
  return (char *)m->data + (row * m->ld + col) * rr_type_size(m->type);
}

static inline size_t rr_larger(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t rr_rounded_up(size_t size, size_t to) { return (size + to - 1) / to * to; }
static inline size_t rr_encoder_aligned(size_t bytes) {
  return rr_rounded_up(bytes, RR_ENCODER_ALIGNMENT);
}

/* What a product gets beside its operands. */
typedef struct rr_product_options {
  rr_activation activation;
  const rr_norm_weights *norm; /* NULL: none */
  const float *residual;       /* dense; with norm */
  bool precise;                /* rr_gemm_args.precise */
} rr_product_options;

/* out (rows x linear->n) = activation(x w^T + bias) or norm(x w^T + bias + residual). */
void rr_encoder_apply(rr_encoder *encoder, const rr_linear *linear,
                      const rr_product_options *options, size_t rows, const rr_matrix *x,
                      const rr_matrix *out);

/* hidden (rows x H) = the layer's output, from its input, which is there, and attention's context
 * (rows x H). */
void rr_encoder_finish_layer(rr_encoder *encoder, const rr_layer *layer, size_t rows,
                             const rr_matrix *context);

/* hidden (run->tokens x H) = the embeddings; the layer's output; and what is left from layer
 * `first` on, down to the outputs. */
void rr_encoder_embed(rr_encoder *encoder, const rr_run *run);
void rr_encoder_run_layer(rr_encoder *encoder, size_t index, const rr_run *run);
void rr_encoder_finish(rr_encoder *encoder, size_t first, const rr_run *run);

/* encoder_head.c */

/* Outputs and vectors, from the last layer's rows. Hidden does not stay as it is. */
void rr_encoder_write(rr_encoder *encoder, const rr_run *run);

/* encoder_split.c */

/* Everything, of a split model. */
void rr_encoder_forward_split(rr_encoder *encoder, const rr_input *inputs, size_t n);
/* Bytes of encoder->wide that takes. */
size_t rr_encoder_seam_bytes(const rr_bert *bert, size_t tokens);
/* after_side: the input before is a document side. RR_ERR_INPUT. */
rr_status rr_encoder_check_part(const rr_config *config, const rr_input *input, bool after_side,
                                rr_error *err);

/* encoder_cls.c */

/* The last layer of a model of whose output only [CLS] rows are wanted: hidden becomes n x H. */
void rr_encoder_run_cls_layer(rr_encoder *encoder, const rr_layer *layer, const rr_input *inputs,
                              size_t n, size_t tokens);
/* Bytes of encoder->wide that takes. */
size_t rr_encoder_cls_bytes(const rr_bert *bert, size_t tokens);

/* Whether a layer's [CLS] rows are computed once more, in twice the format's precision: they are
 * what such a model's head reads in the end, and what their own rounding does to them no averaging
 * over tokens makes good. Not so in the first third of the layers: what happens to them there the
 * rest of the layers hardly hand on. */
static inline bool rr_encoder_begins_with_cls(const rr_input *input) {
  return input->part != RR_PART_DOCUMENT;
}
bool rr_encoder_has_lead(const rr_bert *bert, size_t layer);
size_t rr_encoder_lead_bytes(const rr_bert *bert, size_t tokens);
/* Replaces the [CLS] rows of qkv, which was computed from hidden. */
void rr_encoder_lead_qkv(rr_encoder *encoder, const rr_layer *layer, const rr_input *inputs,
                         size_t n, const rr_matrix *qkv);
/* Computes the [CLS] rows from attention's context on, from hidden as it was before the layer
 * ... */
void rr_encoder_lead_rest(rr_encoder *encoder, const rr_layer *layer, const rr_input *inputs,
                          size_t n, const rr_matrix *context);
/* ... and puts them into hidden as it is after it. */
void rr_encoder_lead_store(rr_encoder *encoder, const rr_input *inputs, size_t n);

#endif
