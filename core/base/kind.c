#include "core/base/kind.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/base/file.h"

static const struct {
  const char *bytes;
  size_t size;
  const char *words;
} beginnings[] = {
    {"version https://git-lfs", 23,
     "is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder"},
    {"GGUF", 4,
     "is a GGUF file, which is not read: take model.safetensors, config.json and tokenizer.json of "
     "the original model"},
    {"PK\3\4", 4,
     "is a zip archive, as PyTorch's .bin and .pt files are: convert the weights to safetensors, "
     "or unpack it"},
    {"\x80\2", 2,
     "is a Python pickle, as old PyTorch files are: convert the weights to safetensors"},
    {"\x89HDF\r\n", 6, "is an HDF5 file, as TensorFlow's weights are: convert them to safetensors"},
    {"\x1f\x8b", 2, "is compressed with gzip: unpack it"},
    {"\x28\xb5\x2f\xfd", 4, "is compressed with zstd: unpack it"},
    {"\xfd"
     "7zXZ",
     5, "is compressed with xz: unpack it"},
    {"\xef\xbb\xbf", 3, "begins with a byte order mark: save it as UTF-8 without one"},
    {"\xff\xfe", 2, "is UTF-16: save it as UTF-8"},
    {"\xfe\xff", 2, "is UTF-16: save it as UTF-8"},
};

/* A protobuf of ir_version, field 1, then of the producer's name, the graph or the like. */
static bool is_onnx(const unsigned char *bytes, size_t size) {
  return size >= 3 && bytes[0] == 0x08 && bytes[1] >= 3 && bytes[1] < 32 &&
         (bytes[2] == 0x12 || bytes[2] == 0x1a || bytes[2] == 0x3a || bytes[2] == 0x42);
}

static bool is_markup(const char *bytes, size_t size) {
  size_t at = 0;
  while (at < size && memchr(" \t\r\n", bytes[at], 4) != NULL) {
    at++;
  }
  return at + 1 < size && bytes[at] == '<' &&
         (bytes[at + 1] == '!' || bytes[at + 1] == '?' || (bytes[at + 1] | 0x20) == 'h');
}

const char *rr_kind_of_bytes(const void *bytes, size_t size) {
  static const unsigned char zeros[16];
  if (size == 0) {
    return "is empty: download it again";
  }
  if (is_onnx(bytes, size)) {
    return "is an ONNX model, which is not read: take model.safetensors of the original model";
  }
  for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
    if (size >= beginnings[i].size && memcmp(bytes, beginnings[i].bytes, beginnings[i].size) == 0) {
      return beginnings[i].words;
    }
  }
  if (size >= sizeof zeros && memcmp(bytes, zeros, sizeof zeros) == 0) {
    return "begins with zero bytes, as an unfinished download does: download it again";
  }
  return is_markup(bytes, size) ? "is HTML or XML, such as an error page: download it again" : NULL;
}

const char *rr_kind_of_file(const char *path) {
  char bytes[RR_KIND_BYTES];
  int descriptor;
  if (rr_file_open(path, O_RDONLY, 0, &descriptor, NULL, NULL) != RR_OK) {
    return NULL;
  }
  ssize_t got = read(descriptor, bytes, sizeof bytes);
  (void)close(descriptor);
  return got < 0 ? NULL : rr_kind_of_bytes(bytes, (size_t)got);
}

static const char to_safetensors[] = "convert them to safetensors: model.save_pretrained(DIR, "
                                     "safe_serialization=True) of transformers, or the hub's "
                                     "space safetensors/convert";
static const char original[] =
    "only model.safetensors is read: take it, config.json and tokenizer.json of the original model";

/* Of several the first is told of, since it is the easiest to go on from. */
static const struct {
  const char *begin;
  const char *end;
  const char *what_to_do;
} weights[] = {
    {"pytorch_model", ".bin", to_safetensors},
    {"pytorch_model", ".bin.index.json", to_safetensors},
    {"model-0", ".safetensors",
     "shards, without their index: download model.safetensors.index.json too"},
    {"adapter_model", "", "an adapter: merge it into its base model, and save that as safetensors"},
    {"", ".safetensors", "name the file of the whole model model.safetensors"},
    {"openvino", ".bin", original},
    {"", ".bin", to_safetensors},
    {"", ".pt", to_safetensors},
    {"", ".pth", to_safetensors},
    {"", ".ckpt", to_safetensors},
    {"", ".h5",
     "load them with from_tf=True in transformers, and save_pretrained(DIR) as safetensors"},
    {"", ".msgpack",
     "load them with from_flax=True in transformers, and save_pretrained(DIR) as safetensors"},
    {"", ".onnx", original},
    {"", ".gguf", original},
    {"", ".ggml", original},
    {"openvino", ".xml", original},
    {"", ".tflite", original},
    {"", ".mlmodel", original},
    {"", ".incomplete", "an unfinished download: download it again"},
    {"", ".part", "an unfinished download: download it again"},
    {"", ".crdownload", "an unfinished download: download it again"},
};

/* What training leaves beside them. */
static const char *const no_weights[] = {"training_args", "optimizer", "scheduler",
                                         "rng_state",     "scaler",    "trainer_state"};

enum { WEIGHTS = sizeof weights / sizeof weights[0] };

static bool matches(const char *name, const char *begin, const char *end) {
  size_t size = strlen(name);
  size_t head = strlen(begin);
  size_t tail = strlen(end);
  return size >= head + tail && size > 0 && strncasecmp(name, begin, head) == 0 &&
         strcasecmp(name + size - tail, end) == 0;
}

void rr_weights_look(rr_weights_seen *seen, const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash == NULL ? path : slash + 1;
  for (size_t i = 0; i < sizeof no_weights / sizeof no_weights[0]; i++) {
    if (strncasecmp(name, no_weights[i], strlen(no_weights[i])) == 0) {
      return;
    }
  }
  for (int rank = WEIGHTS; rank > 0; rank--) { /* the higher, the earlier in the table */
    int at = WEIGHTS - rank;
    if (matches(name, weights[at].begin, weights[at].end)) {
      if (rank > seen->rank) {
        seen->rank = rank;
        (void)snprintf(seen->name, sizeof seen->name, "%s", path);
      }
      return;
    }
  }
}

bool rr_weights_say(const rr_weights_seen *seen, char text[RR_WEIGHTS_TEXT_MAX]) {
  text[0] = '\0';
  if (seen->rank > 0) {
    (void)snprintf(text, RR_WEIGHTS_TEXT_MAX, "has its weights as %s only; %s", seen->name,
                   weights[WEIGHTS - seen->rank].what_to_do);
  }
  return seen->rank > 0;
}
