#include "core/score/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/file.h"
#include "core/files/identity.h"
#include "core/files/shards.h"

enum { PIECE = 1 << 14 };

static const uint32_t version = 1; /* of what is hashed, and of what kept state is made of */

/* A file as it lies there; one that is absent is told apart from an empty one. */
static rr_status hash_file(const char *folder, const char *name, XXH3_state_t *state,
                           rr_error *err) {
  char path[RR_PATH_MAX];
  char piece[PIECE];
  rr_status status = rr_path_join(folder, name, path, err);
  if (status != RR_OK) {
    return status;
  }
  (void)XXH3_128bits_update(state, name, strlen(name) + 1);
  bool there = false;
  int file = -1;
  status = rr_file_find(path, &there, err);
  if (status == RR_OK && there) {
    status = rr_file_open(path, O_RDONLY, 0, &file, NULL, err);
  }
  if (status != RR_OK || !there) {
    return status;
  }
  uint64_t size = 0;
  ssize_t got;
  while ((got = read(file, piece, sizeof piece)) > 0 || (got < 0 && errno == EINTR)) {
    (void)XXH3_128bits_update(state, piece, got < 0 ? 0 : (size_t)got);
    size += got < 0 ? 0 : (size_t)got;
  }
  status = got < 0 ? rr_fail(err, RR_ERR_IO, "%s: cannot be read", path) : RR_OK;
  (void)close(file);
  (void)XXH3_128bits_update(state, &size, sizeof size);
  return status;
}

static rr_status hash_weights(const char *folder, XXH3_state_t *state, rr_error *err) {
  rr_safetensors *weights = NULL;
  rr_status status = rr_weights_open(folder, &weights, err);
  if (status != RR_OK) {
    return status;
  }
  uint64_t size = 0;
  uint8_t hash[RR_IDENTITY_BYTES] = {0};
  if (!rr_weights_identity(weights, &size, hash)) {
    status = rr_fail(err, RR_ERR_IO, "%s: cannot be read", rr_safetensors_path(weights));
  }
  rr_safetensors_close(weights);
  (void)XXH3_128bits_update(state, &size, sizeof size);
  (void)XXH3_128bits_update(state, hash, sizeof hash);
  return status;
}

rr_status rr_identify_model(const char *folder, const char *const *choices, size_t n_choices,
                            const uint32_t *numbers, size_t n_numbers,
                            uint8_t ret_fingerprint[RR_FINGERPRINT_BYTES], rr_error *err) {
  static const char *const files[] = {
      "config.json",      "tokenizer.json",          "tokenizer_config.json",
      "vocab.txt",        "special_tokens_map.json", "added_tokens.json",
      "artifact.metadata"};
  XXH3_state_t *state = XXH3_createState();
  if (state == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  (void)XXH3_128bits_reset(state);
  (void)XXH3_128bits_update(state, &version, sizeof version);
  rr_status status = hash_weights(folder, state, err);
  for (size_t i = 0; status == RR_OK && i < sizeof files / sizeof files[0]; i++) {
    status = hash_file(folder, files[i], state, err);
  }
  for (size_t i = 0; i < n_choices; i++) {
    (void)XXH3_128bits_update(state, choices[i], strlen(choices[i]) + 1);
  }
  (void)XXH3_128bits_update(state, numbers, n_numbers * sizeof *numbers);
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(state));
  (void)XXH3_freeState(state);
  if (status == RR_OK) {
    memcpy(ret_fingerprint, bytes.digest, RR_FINGERPRINT_BYTES);
  }
  return status;
}
