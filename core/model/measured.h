/* Which models were measured in int8: `--dtype auto` takes what cost is known of, and for any other model it is
 * not. A model is known by its encoder's weights: their tensors' names and values, in a 128-bit hash, so that
 * another file of the same weights is the same model and a model trained further is another one.
 *
 * A line is added by `bench/accuracy` and `build/tests/tools/load_bench MODEL_DIR identity` (core/model/README.md). */
#ifndef RR_CORE_MODEL_MEASURED_H
#define RR_CORE_MODEL_MEASURED_H

#include <stdbool.h>
#include <stdint.h>

#include "core/model/safetensors.h"

enum { RR_IDENTITY_BYTES = 16, RR_IDENTITY_TEXT = 2 * RR_IDENTITY_BYTES + 1 };

/* The encoder's identity as lower-case hexadecimal digits. False: no memory, nothing that can be read, or
 * no encoder of at most 2^24 elements a tensor. */
bool rr_measured_identity(const rr_safetensors *weights, char ret_text[RR_IDENTITY_TEXT]);

/* Whether int8 is known to keep nDCG@10 on TREC DL 2019 within 0.002 of float32. */
bool rr_measured_int8_keeps(const rr_safetensors *weights);

#endif
