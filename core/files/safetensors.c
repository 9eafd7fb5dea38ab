#include "core/files/safetensors.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/kind.h"

enum {
  LENGTH_BYTES = 8,
  HEADER_BYTES_MAX = 100000000,
  HEADER_VALUES_MAX = 4000000, /* about ten a tensor */
  TENSORS_MAX = 200000,
  PIECE = 16384, /* elements read at once for conversion */
  SCALE_NAME_MAX = 256
};

struct rr_safetensors {
  char *path;
  int descriptor; /* -1: none */
  size_t size;
  struct timespec changed;
  size_t data_at; /* where the data region begins */
  json_t *header; /* owns the names and dtypes that tensors point to */
  rr_tensor *tensors;
  size_t n_tensors;
  rr_safetensors **shards; /* of joined files; they have neither descriptor nor header */
  size_t n_shards;
};

static const struct {
  const char *name;
  size_t size;
} dtypes[] = {
    {"F32", 4},     {"F16", 2},     {"BF16", 2}, {"F64", 8}, {"I64", 8},
    {"I32", 4},     {"I16", 2},     {"I8", 1},   {"U8", 1},  {"BOOL", 1},
    {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U16", 2},  {"U32", 4}, {"U64", 8},
};

static size_t dtype_size(const char *name) {
  for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
    if (strcmp(dtypes[i].name, name) == 0) {
      return dtypes[i].size;
    }
  }
  return 0;
}

static rr_status open_file(rr_safetensors *file, rr_error *err) {
  struct stat about;
  rr_status status = rr_file_open(file->path, O_RDONLY, 0, &file->descriptor, &about, err);
  if (status != RR_OK) {
    return status;
  }
  if ((uintmax_t)about.st_size > SIZE_MAX) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: too large", file->path);
  }
  file->size = (size_t)about.st_size;
  file->changed = about.st_mtim;
  return RR_OK;
}

/* Bytes that lay in the file when it was opened. */
static rr_status read_at(const rr_safetensors *file, size_t offset, void *to, size_t size,
                         rr_error *err) {
  for (size_t done = 0; done < size;) {
    ssize_t got = pread(file->descriptor, (char *)to + done, size - done, (off_t)(offset + done));
    if (got <= 0 && (got == 0 || errno != EINTR)) {
      return rr_fail(err, RR_ERR_IO, "%s: %s", file->path,
                     got == 0 ? "was cut while it was read" : strerror(errno));
    }
    done += got < 0 ? 0 : (size_t)got;
  }
  return RR_OK;
}

/* An error for a file that is none of safetensors: what it is, where that is known, else the words.
 */
static rr_status not_safetensors(const rr_safetensors *file, const char *words, rr_error *err) {
  char bytes[RR_KIND_BYTES];
  size_t size = file->size < sizeof bytes ? file->size : sizeof bytes;
  rr_status status = read_at(file, 0, bytes, size, err);
  if (status != RR_OK) {
    return status;
  }
  const char *kind = rr_kind_of_bytes(bytes, size);
  if (kind == NULL && size > 0 && bytes[0] == '{') {
    kind = "is JSON, such as an error of a server that it was downloaded from: download it again";
  }
  return kind != NULL ? rr_fail(err, RR_ERR_FORMAT, "%s %s", file->path, kind)
                      : rr_fail(err, RR_ERR_FORMAT, "%s: %s", file->path, words);
}

/* An error for a file that ends before its data does. */
static rr_status cut_short(const rr_safetensors *file, const char *tensor, rr_error *err) {
  const char *name;
  json_t *entry;
  size_t most = 0;
  json_object_foreach(file->header, name, entry) {
    const json_t *end = json_array_get(json_object_get(entry, "data_offsets"), 1);
    size_t at =
        json_is_integer(end) && json_integer_value(end) > 0 ? (size_t)json_integer_value(end) : 0;
    most = at > most ? at : most;
  }
  size_t all = most > SIZE_MAX - file->data_at ? SIZE_MAX : most + file->data_at;
  return rr_fail(
      err, RR_ERR_FORMAT,
      "%s is cut: it has %zu bytes and should have %zu (tensor %.60s lies beyond); download it "
      "again",
      file->path, file->size, all, tensor);
}

/* What was read is of one state of the file, as far as its times tell. */
static rr_status check_unchanged(const rr_safetensors *file, rr_error *err) {
  struct stat about;
  if (fstat(file->descriptor, &about) != 0 || (size_t)about.st_size != file->size ||
      about.st_mtim.tv_sec != file->changed.tv_sec ||
      about.st_mtim.tv_nsec != file->changed.tv_nsec) {
    return rr_fail(err, RR_ERR_IO, "%s: was changed while it was read", file->path);
  }
  return RR_OK;
}

/* A JSON integer of 0 or more, as a size. */
static bool size_of_json(const json_t *value, size_t *ret_size) {
  if (!json_is_integer(value) || json_integer_value(value) < 0) {
    return false;
  }
  *ret_size = (size_t)json_integer_value(value);
  return true;
}

static rr_status tensor_shape(const rr_safetensors *file, const json_t *shape, rr_tensor *tensor,
                              rr_error *err) {
  if (!json_is_array(shape) || json_array_size(shape) > RR_TENSOR_RANK_MAX) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%s: tensor %.100s: shape must be an array of at most %d sizes", file->path,
                   tensor->name, RR_TENSOR_RANK_MAX);
  }
  tensor->rank = json_array_size(shape);
  tensor->count = 1;
  for (size_t i = 0; i < tensor->rank; i++) {
    if (!size_of_json(json_array_get(shape, i), &tensor->shape[i]) ||
        __builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count)) {
      return rr_fail(err, RR_ERR_FORMAT, "%s: tensor %.100s: invalid shape", file->path,
                     tensor->name);
    }
  }
  return RR_OK;
}

static rr_status tensor_entry(const rr_safetensors *file, size_t data_size, const char *name,
                              const json_t *entry, rr_tensor *ret_tensor, rr_error *err) {
  const json_t *dtype = json_object_get(entry, "dtype");
  rr_tensor tensor = {.name = name, .dtype = json_string_value(dtype)};
  if (tensor.dtype == NULL || strlen(tensor.dtype) != json_string_length(dtype)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: tensor %.100s: dtype must be a string", file->path,
                   name);
  }
  size_t element = dtype_size(tensor.dtype);
  if (element == 0) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: tensor %.100s: unknown dtype %.30s", file->path,
                   name, tensor.dtype);
  }
  rr_status status = tensor_shape(file, json_object_get(entry, "shape"), &tensor, err);
  if (status != RR_OK) {
    return status;
  }
  const json_t *offsets = json_object_get(entry, "data_offsets");
  if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
      !size_of_json(json_array_get(offsets, 0), &tensor.begin) ||
      !size_of_json(json_array_get(offsets, 1), &tensor.end)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: tensor %.100s: data_offsets must be two offsets",
                   file->path, name);
  }
  if (tensor.begin <= tensor.end && tensor.end > data_size) {
    return cut_short(file, name, err);
  }
  if (tensor.begin > tensor.end) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: tensor %.100s: data_offsets [%zu, %zu] leave the data",
                   file->path, name, tensor.begin, tensor.end);
  }
  size_t bytes;
  if (__builtin_mul_overflow(tensor.count, element, &bytes) || bytes != tensor.end - tensor.begin) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%s: tensor %.100s: %zu bytes do not fit its shape and dtype", file->path, name,
                   tensor.end - tensor.begin);
  }
  *ret_tensor = tensor;
  return RR_OK;
}

static int by_offset(const void *a, const void *b) {
  const rr_tensor *x = a;
  const rr_tensor *y = b;
  if (x->begin != y->begin) {
    return x->begin < y->begin ? -1 : 1;
  }
  return (x->end > y->end) - (x->end < y->end);
}

static rr_status check_cover(rr_safetensors *file, size_t data_size, rr_error *err) {
  qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_offset);
  size_t at = 0;
  for (size_t i = 0; i < file->n_tensors; i++) {
    if (file->tensors[i].begin != at) {
      return rr_fail(err, RR_ERR_FORMAT, "%s: tensor %.100s: %s at offset %zu", file->path,
                     file->tensors[i].name,
                     file->tensors[i].begin < at ? "overlaps" : "leaves a hole", at);
    }
    at = file->tensors[i].end;
  }
  if (at != data_size) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: %zu bytes of data, but its tensors take %zu",
                   file->path, data_size, at);
  }
  return RR_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const rr_tensor *)a)->name, ((const rr_tensor *)b)->name);
}

static rr_status parse_header(rr_safetensors *file, rr_error *err) {
  uint64_t length;
  char words[200];
  if (file->size < LENGTH_BYTES) {
    (void)snprintf(words, sizeof words, "%zu bytes cannot be a safetensors file: download it again",
                   file->size);
    return not_safetensors(file, words, err);
  }
  rr_status status = read_at(file, 0, &length, sizeof length, err);
  if (status != RR_OK) {
    return status;
  }
  length = le64toh(length);
  if (length > HEADER_BYTES_MAX || length > file->size - LENGTH_BYTES) {
    bool cut = length <= HEADER_BYTES_MAX;
    (void)snprintf(
        words, sizeof words, "a header of %llu bytes is too long%s", (unsigned long long)length,
        cut ? " for the file, which is cut: download it again" : ": this is no safetensors file");
    return not_safetensors(file, words, err);
  }
  file->data_at = LENGTH_BYTES + (size_t)length;
  char *header = rr_malloc((size_t)length);
  if (header == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", file->path);
  }
  status = read_at(file, LENGTH_BYTES, header, (size_t)length, err);
  if (status == RR_OK) {
    rr_error inner = {.status = RR_OK, .message = ""};
    status = rr_json_parse_unique(header, (size_t)length, HEADER_VALUES_MAX, &file->header, &inner);
    if (status != RR_OK) {
      (void)snprintf(words, sizeof words, "header: %.150s", inner.message);
      status = status == RR_ERR_MEMORY ? rr_fail(err, status, "%s: %s", file->path, words)
                                       : not_safetensors(file, words, err);
    }
  }
  rr_free(header);
  return status;
}

static rr_status read_header(rr_safetensors *file, rr_error *err) {
  rr_status status = parse_header(file, err);
  if (status != RR_OK) {
    return status;
  }
  size_t data_size = file->size - file->data_at;
  if (!json_is_object(file->header) || json_object_size(file->header) > TENSORS_MAX) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: header must be an object of at most %d tensors",
                   file->path, TENSORS_MAX);
  }
  file->tensors = rr_calloc(json_object_size(file->header), sizeof *file->tensors);
  if (file->tensors == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", file->path);
  }
  const char *name;
  json_t *entry;
  json_object_foreach(file->header, name, entry) {
    if (strcmp(name, "__metadata__") == 0) {
      continue;
    }
    status = tensor_entry(file, data_size, name, entry, &file->tensors[file->n_tensors], err);
    if (status != RR_OK) {
      return status;
    }
    file->n_tensors++;
  }
  status = check_cover(file, data_size, err);
  if (status == RR_OK) {
    qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_name);
  }
  return status;
}

rr_status rr_safetensors_open(const char *path, rr_safetensors **ret_file, rr_error *err) {
  rr_safetensors *file = rr_calloc(1, sizeof *file);
  if (file == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", path);
  }
  rr_status status = RR_OK;
  file->descriptor = -1;
  file->path = rr_strdup(path);
  if (file->path == NULL) {
    status = rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", path);
  }
  if (status == RR_OK) {
    status = open_file(file, err);
  }
  if (status == RR_OK) {
    status = read_header(file, err);
  }
  if (status != RR_OK) {
    rr_safetensors_close(file);
    return status;
  }
  *ret_file = file;
  return RR_OK;
}

rr_status rr_safetensors_join(const char *path, rr_safetensors **shards, size_t n_shards,
                              rr_tensor *tensors, size_t n_tensors, rr_safetensors **ret_file,
                              rr_error *err) {
  rr_safetensors *file = rr_calloc(1, sizeof *file);
  char *copy = rr_strdup(path);
  if (file == NULL || copy == NULL) {
    rr_free(copy);
    rr_free(file);
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", path);
  }
  *file = (rr_safetensors){.path = copy,
                           .descriptor = -1,
                           .tensors = tensors,
                           .n_tensors = n_tensors,
                           .shards = shards,
                           .n_shards = n_shards};
  qsort(tensors, n_tensors, sizeof *tensors, by_name);
  *ret_file = file;
  return RR_OK;
}

void rr_safetensors_close(rr_safetensors *file) {
  if (file == NULL) {
    return;
  }
  for (size_t i = 0; i < file->n_shards; i++) {
    rr_safetensors_close(file->shards[i]);
  }
  rr_free(file->shards);
  rr_free(file->tensors);
  json_decref(file->header);
  if (file->descriptor >= 0) {
    (void)close(file->descriptor);
  }
  rr_free(file->path);
  rr_free(file);
}

const char *rr_safetensors_path(const rr_safetensors *file) { return file->path; }

/* The file on disk with this index: a shard, or the file itself. */
static const rr_safetensors *on_disk(const rr_safetensors *file, size_t index) {
  return file->n_shards > 0 ? file->shards[index] : file;
}

size_t rr_safetensors_n_files(const rr_safetensors *file) {
  return file->n_shards > 0 ? file->n_shards : 1;
}

size_t rr_safetensors_size(const rr_safetensors *file, size_t index) {
  return on_disk(file, index)->size;
}

rr_status rr_safetensors_bytes(const rr_safetensors *file, size_t index, size_t offset, void *to,
                               size_t size, rr_error *err) {
  return read_at(on_disk(file, index), offset, to, size, err);
}

const char *rr_safetensors_file_path(const rr_safetensors *file, size_t index) {
  return on_disk(file, index)->path;
}

const rr_tensor *rr_safetensors_tensors(const rr_safetensors *file, size_t *ret_count) {
  *ret_count = file->n_tensors;
  return file->tensors;
}

const rr_tensor *rr_safetensors_find(const rr_safetensors *file, const char *name) {
  rr_tensor key = {.name = name};
  return bsearch(&key, file->tensors, file->n_tensors, sizeof *file->tensors, by_name);
}

static float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* IEEE half precision: 1 sign, 5 exponent and 10 mantissa bits. */
static float float_of_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
  uint32_t exponent = (half >> 10) & 0x1fu;
  uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) { /* zero and subnormals: mantissa * 2^-24, exact in a float */
    float value = (float)mantissa * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  if (exponent == 0x1f) {
    return float_of_bits(sign | 0x7f800000u | mantissa << 13);
  }
  return float_of_bits(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}

/* count elements of 4 bytes, in place. */
static void floats_of_le32(float *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], sizeof bits);
    values[i] = float_of_bits(le32toh(bits));
  }
}

static rr_status read_halves(const rr_safetensors *file, size_t offset, float *to, size_t count,
                             bool bf16, rr_error *err) {
  uint16_t piece[PIECE];
  rr_status status = RR_OK;
  for (size_t at = 0; status == RR_OK && at < count; at += PIECE) {
    size_t n = count - at < PIECE ? count - at : PIECE;
    status = read_at(file, offset + at * sizeof piece[0], piece, n * sizeof piece[0], err);
    for (size_t i = 0; status == RR_OK && i < n; i++) {
      uint16_t bits = le16toh(piece[i]);
      to[at + i] = bf16 ? float_of_bits((uint32_t)bits << 16) : float_of_half(bits);
    }
  }
  return status;
}

/* The scale of each row: a tensor of rows or rows x 1 floats. NULL, with an error, where there is
 * none. */
static const rr_tensor *find_scale(const rr_safetensors *file, const rr_tensor *tensor,
                                   rr_error *err) {
  char name[SCALE_NAME_MAX];
  int length = snprintf(name, sizeof name, "%s_scale", tensor->name);
  const rr_tensor *scale = length < (int)sizeof name ? rr_safetensors_find(file, name) : NULL;
  bool fits = scale != NULL && tensor->rank > 0 && scale->count == tensor->shape[0] &&
              scale->rank >= 1 && scale->rank <= 2 && scale->shape[0] == tensor->shape[0] &&
              strcmp(scale->dtype, "I8") != 0;
  if (!fits) {
    (void)rr_fail(err, RR_ERR_FORMAT,
                  "%s: tensor %.100s of dtype I8 needs %.100s_scale, one float a row", file->path,
                  tensor->name, tensor->name);
  }
  return fits ? scale : NULL;
}

static rr_status read_int8(const rr_safetensors *file, size_t offset, const rr_tensor *tensor,
                           const float *scales, float *to, rr_error *err) {
  const rr_safetensors *from = on_disk(file, tensor->shard);
  int8_t piece[PIECE];
  size_t row_size = tensor->count / tensor->shape[0];
  rr_status status = RR_OK;
  for (size_t at = 0; status == RR_OK && at < tensor->count; at += PIECE) {
    size_t n = tensor->count - at < PIECE ? tensor->count - at : PIECE;
    status = read_at(from, offset + at, piece, n, err);
    for (size_t i = 0; status == RR_OK && i < n; i++) {
      to[at + i] = (float)piece[i] * scales[(at + i) / row_size];
    }
  }
  return status;
}

/* As a whole, with its scales from wherever they are. */
static rr_status read_scaled(const rr_safetensors *file, size_t offset, const rr_tensor *tensor,
                             float *to, rr_error *err) {
  const rr_tensor *scale = find_scale(file, tensor, err);
  if (scale == NULL) {
    return RR_ERR_FORMAT;
  }
  if (tensor->count == 0) {
    return RR_OK;
  }
  float *scales = rr_calloc(scale->count, sizeof *scales);
  if (scales == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", file->path);
  }
  rr_status status = rr_safetensors_read(file, scale, scales, err);
  if (status == RR_OK) {
    status = read_int8(file, offset, tensor, scales, to, err);
  }
  rr_free(scales);
  return status;
}

rr_status rr_safetensors_read(const rr_safetensors *file, const rr_tensor *tensor, float *to,
                              rr_error *err) {
  const rr_safetensors *from = on_disk(file, tensor->shard);
  size_t offset = from->data_at + tensor->begin;
  bool bf16 = strcmp(tensor->dtype, "BF16") == 0;
  rr_status status;
  if (strcmp(tensor->dtype, "F32") == 0) {
    status = read_at(from, offset, to, tensor->count * sizeof *to, err);
    if (status == RR_OK) {
      floats_of_le32(to, tensor->count);
    }
  } else if (bf16 || strcmp(tensor->dtype, "F16") == 0) {
    status = read_halves(from, offset, to, tensor->count, bf16, err);
  } else if (strcmp(tensor->dtype, "I8") == 0) {
    status = read_scaled(file, offset, tensor, to, err);
  } else {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: tensor %.100s: dtype %s is no float that is read",
                   file->path, tensor->name, tensor->dtype);
  }
  return status == RR_OK ? check_unchanged(from, err) : status;
}
