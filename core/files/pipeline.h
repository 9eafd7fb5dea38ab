/* sentence-transformers' modules.json: which folder holds the transformer, and how its rows are
 * pooled. */
#ifndef RR_CORE_FILES_PIPELINE_H
#define RR_CORE_FILES_PIPELINE_H

#include "core/base/file.h"
#include "core/base/status.h"

/* What the Pooling module makes of the last layer's rows. */
typedef enum rr_pipeline_pooling {
  RR_PIPELINE_NO_POOLING, /* there is no such module */
  RR_PIPELINE_CLS,
  RR_PIPELINE_MEAN, /* over all tokens */
} rr_pipeline_pooling;

typedef struct rr_pipeline {
  char folder[RR_PATH_MAX]; /* the transformer's files */
  rr_pipeline_pooling pooling;
} rr_pipeline;

/* Without a modules.json, and beside a ColBERT's artifact.metadata: the directory itself and no
 * pooling. Only the modules Transformer, Pooling and Normalize, in this order, and paths below the
 * directory are accepted. Errors: RR_ERR_IO, RR_ERR_FORMAT, RR_ERR_UNSUPPORTED, RR_ERR_MEMORY;
 * messages name the file. Any thread. */
rr_status rr_pipeline_load(const char *directory, rr_pipeline *ret_pipeline, rr_error *err);

#endif
