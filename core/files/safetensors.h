/* Reader of the safetensors format: an 8-byte little-endian header length, a JSON header that
 * places every tensor in the data region behind it, the data. Nothing of the file is believed
 * unchecked:
 *
 * 1. The header lies in the file and is at most 100 MB; its tensors cover the data region without
 *    holes or overlaps, and each one's size is its shape times its type's size.
 * 2. The file stays open while an rr_safetensors lives, and is read, not mapped: a mapping that
 *    somebody truncates would kill the process. A file that is cut or written to meanwhile is an
 *    error.
 * 3. An open rr_safetensors is immutable; any number of threads may read it.
 */
#ifndef RR_CORE_FILES_SAFETENSORS_H
#define RR_CORE_FILES_SAFETENSORS_H

#include <stddef.h>

#include "core/base/status.h"

enum { RR_TENSOR_RANK_MAX = 8 };

typedef struct rr_safetensors rr_safetensors;

typedef struct rr_tensor {
  const char *name;
  const char *dtype; /* the format's name: "F32", "BF16", ... */
  size_t rank;
  size_t shape[RR_TENSOR_RANK_MAX];
  size_t count; /* elements */
  size_t begin; /* offset in the data region, of any alignment */
  size_t end;
  size_t shard; /* which of a joined file's shards holds it; else 0 */
} rr_tensor;

/* Opens and checks a file. Errors: RR_ERR_IO, RR_ERR_FORMAT, RR_ERR_UNSUPPORTED (an unknown dtype),
 * RR_ERR_MEMORY; messages name the file and, where there is one, the tensor. *ret_file is freed by
 * rr_safetensors_close. */
rr_status rr_safetensors_open(const char *path, rr_safetensors **ret_file, rr_error *err);
void rr_safetensors_close(rr_safetensors *file); /* NULL is allowed */

/* Makes one of several: n_tensors different tensors (1 or more) of the n_shards open files. On
 * success the new file owns both arrays (of rr_malloc's kin) and the shards; on failure
 * (RR_ERR_MEMORY) the caller still does. `path` is what messages name. */
rr_status rr_safetensors_join(const char *path, rr_safetensors **shards, size_t n_shards,
                              rr_tensor *tensors, size_t n_tensors, rr_safetensors **ret_file,
                              rr_error *err);

/* The path it was opened by. */
const char *rr_safetensors_path(const rr_safetensors *file);

/* The files on disk behind it: one, or a joined file's shards in their order. size is one's size in
 * bytes, file_path the path that it was opened by; bytes reads `size` of its bytes from `offset`
 * on, which must lie in it (RR_ERR_IO). */
size_t rr_safetensors_n_files(const rr_safetensors *file);
size_t rr_safetensors_size(const rr_safetensors *file, size_t index);
rr_status rr_safetensors_bytes(const rr_safetensors *file, size_t index, size_t offset, void *to,
                               size_t size, rr_error *err);
const char *rr_safetensors_file_path(const rr_safetensors *file, size_t index);

/* All tensors, sorted by name; owned by the file. */
const rr_tensor *rr_safetensors_tensors(const rr_safetensors *file, size_t *ret_count);

/* A tensor by name, owned by the file; NULL if there is none. */
const rr_tensor *rr_safetensors_find(const rr_safetensors *file, const char *name);

/* Converts all elements of an F32, F16, BF16 or I8 tensor into to[tensor->count]. Of I8 each row
 * (the first dimension) is multiplied by its scale, in the tensor NAME_scale of rows or rows x 1
 * floats, as the compressed-tensors format has it. RR_ERR_UNSUPPORTED for other dtypes,
 * RR_ERR_FORMAT for an I8 tensor without fitting scales, RR_ERR_MEMORY, RR_ERR_IO where the file
 * has changed since it was opened. */
rr_status rr_safetensors_read(const rr_safetensors *file, const rr_tensor *tensor, float *to,
                              rr_error *err);

#endif
