/* The weights of a model directory: model.safetensors, or the shards that
 * model.safetensors.index.json names. Of the index nothing is believed: its size and counts are
 * bounded, a shard's name is a plain file name, and every tensor must lie in the shard that the
 * index says. */
#ifndef RR_CORE_FILES_SHARDS_H
#define RR_CORE_FILES_SHARDS_H

#include <stddef.h>

#include "core/base/arena.h"
#include "core/base/status.h"
#include "core/files/safetensors.h"

/* Opens a directory's weights as if they were one file; model.safetensors goes before an index.
 * Errors as rr_safetensors_open, and RR_ERR_UNSUPPORTED where there is only a pytorch_model.bin.
 * *ret_file is freed by rr_safetensors_close. */
rr_status rr_weights_open(const char *directory, rr_safetensors **ret_file, rr_error *err);

/* The shards that an index names, sorted, each once. The names and the array live in the arena.
 * Errors: RR_ERR_IO, RR_ERR_FORMAT, RR_ERR_MEMORY; messages begin with the path. */
rr_status rr_shards_of_index(const char *path, rr_arena *arena, const char *const **ret_names,
                             size_t *ret_count, rr_error *err);

#endif
