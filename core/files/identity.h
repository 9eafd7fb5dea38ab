/* Which weights these are, whatever the file is called and wherever it lies. */
#ifndef RR_CORE_FILES_IDENTITY_H
#define RR_CORE_FILES_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/files/safetensors.h"

enum { RR_IDENTITY_BYTES = 16 };

/* The size and a 128-bit hash of all bytes of the weights; of those in shards also of where one
 * ends, and of which shard each tensor is taken from. Not against somebody who looks for
 * collisions. False: no memory, or they cannot be read. */
bool rr_weights_identity(const rr_safetensors *weights, uint64_t *ret_size,
                         uint8_t ret_hash[RR_IDENTITY_BYTES]);

#endif
