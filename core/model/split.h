/* Split layers (Pyramid): a cross-encoder whose first layers keep a pair's two sides apart, so that
 * what they make of a side depends on nothing else and may be kept. What config.json says of them:
 *
 *   "split_layers"           L, 0 < L < num_hidden_layers. In the first L layers a token attends
 *                            to its own side only; in the rest to the whole pair. Absent: no
 *                            layer is split, and no other member may be there.
 *   "split_positions"        "restart" (default): the document side's positions begin at 0 again,
 *                            so that it does not depend on the query. "joint": positions run on
 *                            through the pair.
 *   "split_head"             "cls" (default): tanh pooler over [CLS], then the classifier. "mean":
 *                            the classifier over the mean of all rows of the pair, no pooler.
 *   "split_residual"         "none" (default), "cosine" or "maxsim", of the rows that layer L has
 *                            made of the two sides: the cosine of the means over a side's rows;
 *                            or the mean over the query side's rows q of the largest q . d over
 *                            the document side's rows d, all of unit length.
 *   "split_residual_weight"  w, -1000 to 1000, 1 if absent; only with a residual. The logit is the
 *                            classifier's plus w times the residual.
 *
 * The query side is all that the tokenizer's template for pairs puts before the document's first
 * token ([CLS] query [SEP]), the document side the rest (document [SEP]); all of a side's rows
 * count, special tokens included. Token types are the template's. The document side's rows are
 * rounded to bfloat16 behind layer L unless the model computes in float32. A single text has one
 * side and no residual: 0. */
#ifndef RR_CORE_MODEL_SPLIT_H
#define RR_CORE_MODEL_SPLIT_H

#include <jansson.h>
#include <stdbool.h>

#include "core/base/status.h"
#include "core/model/config.h"

/* Reads the members that begin with "split_" into config->split; layers is known already. `path` is
 * config.json's, for messages. Errors: RR_ERR_FORMAT, RR_ERR_UNSUPPORTED. */
rr_status rr_split_read(const char *path, const json_t *object, rr_config *config, rr_error *err);

#endif
