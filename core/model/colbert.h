/* ColBERT checkpoints as they are published: a BERT with a projection, linear.weight without bias,
 * and artifact.metadata. */
#ifndef RR_CORE_MODEL_COLBERT_H
#define RR_CORE_MODEL_COLBERT_H

#include "core/base/status.h"
#include "core/model/config.h"

/* Takes config, read so far, for a ColBERT's if its architecture says so (RR_HEAD_TOKENS) or if its
 * weights hold linear.weight, and fills config->colbert; where artifact.metadata is silent, as
 * ColBERT has it. Otherwise config stays as it is. Errors: RR_ERR_IO, RR_ERR_FORMAT,
 * RR_ERR_UNSUPPORTED (another similarity than cosine), RR_ERR_MEMORY; messages name the file. */
rr_status rr_colbert_load(rr_config *config, rr_error *err);

#endif
