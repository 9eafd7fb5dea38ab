/* A BERT model's weights, packed for the kernels that will compute it. */
#ifndef RR_CORE_MODEL_WEIGHTS_H
#define RR_CORE_MODEL_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/files/packs.h"
#include "core/kernel/kernel.h"
#include "core/model/config.h"

/* y = x w^T + bias, w of n x k. A layer that the model does not have is all zero. */
typedef struct rr_linear {
  const rr_gemm *gemm; /* what packed it and runs it */
  size_t n;
  size_t k;
  void *packed;
  float *bias; /* n */
} rr_linear;

/* The kinds of linear layers, each of which may compute in a format of its own. */
typedef enum rr_linear_kind {
  RR_LINEAR_QKV, /* queries, keys and values */
  RR_LINEAR_ATTENTION_OUTPUT,
  RR_LINEAR_INTERMEDIATE, /* feed-forward, up */
  RR_LINEAR_OUTPUT,       /* feed-forward, down */
  RR_LINEAR_HEAD,         /* pooler and classifier: a row a sequence, no time to win */
} rr_linear_kind;
enum { RR_LINEAR_KINDS = 5 };

typedef struct rr_formats {
  rr_format of[RR_LINEAR_KINDS]; /* by rr_linear_kind */
} rr_formats;

/* The arrays behind a norm. */
typedef struct rr_norm_weights {
  float *gamma; /* hidden_size */
  float *beta;  /* hidden_size */
} rr_norm_weights;

/* A layer reads its input into query, key and value by one product of 3 H rows (`qkv`, queries
 * first). The last layer of a model whose head needs [CLS] only has one query a sequence and needs
 * no keys and values of all tokens x: since q . (Wk x) = (Wk^T q) . x, `key_of_head` takes each
 * head's part of the query to H values that meet the tokens themselves, and since sum p (Wv x) = Wv
 * (sum p x), `value_of_head` is applied to what attention makes of them. The keys' bias adds the
 * same to all scores of a query: it is left out. */
typedef struct rr_layer {
  rr_linear qkv;
  rr_linear query;
  rr_linear *key_of_head;   /* heads; head_size -> H */
  rr_linear *value_of_head; /* heads; H -> head_size */
  rr_linear attention_output;
  rr_norm_weights attention_norm;
  rr_linear intermediate;
  rr_linear output;
  rr_norm_weights output_norm;
} rr_layer;

/* Immutable once loaded; any number of threads may read it. */
typedef struct rr_bert {
  rr_config config;
  rr_formats formats;
  const rr_rowops *rowops;
  const rr_attention *attention;
  const rr_maxsim *maxsim;           /* stores token vectors; NULL where none are wanted */
  size_t token_dim;                  /* of those */
  const rr_maxsim *seam;             /* makes a split model's residual; NULL where it needs none */
  const rr_attention *cls_attention; /* of a head size of H; see rr_layer */
  float *word;                       /* vocabulary_size x hidden_size */
  float *position;                   /* positions x hidden_size */
  float *type;                       /* types x hidden_size */
  rr_norm_weights embedding_norm;
  rr_layer *layers;
  rr_linear pooler;     /* a classifier head's that reads [CLS], else all zero */
  rr_linear classifier; /* n = 1; a classifier head's, else all zero */
  rr_linear projection; /* ColBERT's, to token_dim, else all zero */
  uint64_t parameters;
  uint64_t bytes; /* of memory that all of these take */
} rr_bert;

/* True if what is wanted, the head's output alone, reads only the [CLS] row of the last layer. */
bool rr_bert_cls_only(const rr_config *config);

/* What the values of a split model's document side are kept as. */
rr_type rr_bert_kept_type(const rr_bert *bert);

/* Loads config->folder/model.safetensors and packs it for the best product of each layer's format.
 * Tensors are looked up with and without the prefix "bert.", LayerNorm's also under their old names
 * gamma and beta; every shape is checked against the config. Where ret_packs is not NULL the packed
 * weights are taken from the pack cache (packs.h) or written to it; it says what came of that,
 * which is never an error. Errors: as rr_safetensors_open, and RR_ERR_FORMAT for a tensor that is
 * missing or of another shape. *ret_bert is freed by rr_bert_destroy. */
rr_status rr_bert_load(const rr_config *config, const rr_formats *formats, const rr_rowops *rowops,
                       rr_packs_report *ret_packs, rr_bert **ret_bert, rr_error *err);
void rr_bert_destroy(rr_bert *bert); /* NULL is allowed */

#endif
