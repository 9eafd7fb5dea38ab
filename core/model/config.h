/* What a model directory's JSON files say about a model, checked and bounded. */
#ifndef RR_CORE_MODEL_CONFIG_H
#define RR_CORE_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/file.h"
#include "core/base/status.h"
#include "core/kernel/kernel.h"

enum { RR_LABEL_MAX = 128, RR_MARKER_MAX = 64 };

/* What turns the last layer's rows into a sequence's output. */
typedef enum rr_head {
  RR_HEAD_CLASSIFIER, /* tanh pooler over [CLS], then one logit; with split layers also otherwise
                         (split.h) */
  RR_HEAD_CLS,        /* [CLS] as a unit vector */
  RR_HEAD_MEAN,       /* mean over all tokens as a unit vector */
  RR_HEAD_TOKENS,     /* no one vector: ColBERT's, a vector a token */
} rr_head;

/* What a ColBERT checkpoint adds (colbert.h). */
typedef struct rr_colbert {
  uint32_t dim;          /* of its token vectors: rows of linear.weight */
  uint32_t query_length; /* tokens that every query is filled up to with [MASK]; 1 .. positions */
  uint32_t document_length;         /* tokens of a document, at most; 1 .. positions */
  bool attend_to_masks;             /* whether the filling is seen by the other tokens */
  bool skip_punctuation;            /* punctuation of a document has no vector */
  char query_marker[RR_MARKER_MAX]; /* the token behind [CLS] */
  char document_marker[RR_MARKER_MAX];
} rr_colbert;

typedef enum rr_split_residual {
  RR_SPLIT_NO_RESIDUAL,
  RR_SPLIT_COSINE,
  RR_SPLIT_MAXSIM
} rr_split_residual;

/* Of a classifier head: which layers keep a pair's sides apart (split.h). */
typedef struct rr_split {
  uint32_t layers; /* below the model's; 0: none, and the rest means nothing */
  bool joint_positions;
  bool mean_head;
  rr_split_residual residual;
  float weight; /* of the residual */
} rr_split;

typedef struct rr_config {
  rr_head head;
  rr_split split;
  /* Each token's vector is wanted, of unit length, beside the head's. Set by whoever loads the
   * weights; already true for RR_HEAD_TOKENS. */
  bool token_vectors;
  rr_colbert colbert;       /* of RR_HEAD_TOKENS */
  rr_activation activation; /* of the feed-forward layers */
  uint32_t hidden_size;     /* a multiple of heads */
  uint32_t layers;
  uint32_t heads;
  uint32_t intermediate_size;
  uint32_t positions; /* rows of the position embedding */
  uint32_t types;     /* 1 .. 256 */
  uint32_t vocabulary_size;
  float norm_epsilon;
  uint32_t max_input_length; /* 1 .. positions; the tokenizer may say less */
  char label[RR_LABEL_MAX];  /* of the classifier's one output; "" where there is none */
  char folder[RR_PATH_MAX];  /* where config.json, the weights and the tokenizer lie */
} rr_config;

/* Reads config.json and, where they are there, artifact.metadata, modules.json, the pooling
 * module's config.json and sentence_bert_config.json. Errors: RR_ERR_IO, RR_ERR_FORMAT,
 * RR_ERR_UNSUPPORTED (a model that this program does not compute; the message says what),
 * RR_ERR_MEMORY; messages name the file. */
rr_status rr_config_load(const char *directory, rr_config *ret_config, rr_error *err);

/* The same of a model whose weights are not there yet: what only they tell of a ColBERT is left
 * out, so that a BertModel
 * may turn out to be one. */
rr_status rr_config_peek(const char *directory, rr_config *ret_config, rr_error *err);

#endif
