/* What the server tells of itself: GET /info and GET /v1/models. Pure functions, any thread. */
#ifndef RR_PROTO_INFO_H
#define RR_PROTO_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strings are borrowed. */
typedef struct rr_server_info {
  const char *model_id;
  const char *model_sha; /* the commit of a model from the hub, or NULL */
  const char *served_model_name;
  const char *model_dtype; /* "float32" */
  const char *dtype_note;  /* why that */
  const char *label;       /* a cross-encoder's one label; NULL for a bi-encoder */
  const char *pooling;     /* a bi-encoder's "mean" or "cls"; NULL for a cross-encoder, and where no
                              vector is pooled */
  const char *scoring;     /* "logit", "cosine", "maxsim", "hybrid" */
  size_t split_layers;     /* of a cross-encoder; 0: none, and not told */
  bool calibrated;         /* a bi-encoder's scores are probabilities unless raw */
  size_t max_concurrent_requests;
  size_t max_input_length; /* tokens */
  size_t max_batch_tokens;
  size_t max_client_batch_size;
  size_t tokenization_workers;
  bool auto_truncate;
  size_t cache_bytes;          /* of the score cache; 0: none */
  bool document_cache;         /* false: the model's documents have nothing to cache */
  size_t document_cache_bytes; /* 0: none */
  const char *version;
} rr_server_info;

/* The body of GET /info. Returns *ret_size bytes, terminated, freed by the caller with rr_free;
 * NULL when the heap is exhausted. */
char *rr_info_encode(const rr_server_info *info, size_t *ret_size);

/* The body of GET /v1/models: a list of one. created: seconds since 1970. Memory as above. */
char *rr_models_encode(const rr_server_info *info, int64_t created, size_t *ret_size);

#endif
