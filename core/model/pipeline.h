/* sentence-transformers' modules.json: which folder holds the transformer, and how its rows are
 * pooled. */
#ifndef RR_CORE_MODEL_PIPELINE_H
#define RR_CORE_MODEL_PIPELINE_H

#include <stdbool.h>

#include "core/base/status.h"
#include "core/model/config.h"

typedef struct rr_pipeline {
  char folder[RR_PATH_MAX]; /* the transformer's files */
  bool has_pooling;
  rr_head pooling; /* RR_HEAD_CLS or RR_HEAD_MEAN, if has_pooling */
} rr_pipeline;

/* Without a modules.json, and beside an artifact.metadata (colbert.h): the directory itself and no
 * pooling. Only the modules Transformer, Pooling and Normalize, in this order, and paths below the
 * directory are accepted. Errors as rr_config_load. */
rr_status rr_pipeline_load(const char *directory, rr_pipeline *ret_pipeline, rr_error *err);

#endif
