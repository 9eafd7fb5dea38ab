#include "core/files/identity.h"

#include <string.h>
#include <xxhash.h>

#include "core/base/alloc.h"

enum { HASH_PIECE = 1 << 18 };

/* Which tensor is taken from which shard: two shards may both hold it, and differ. */
static void hash_choice(const rr_safetensors *weights, XXH3_state_t *state) {
  size_t count;
  const rr_tensor *tensors = rr_safetensors_tensors(weights, &count);
  for (size_t i = 0; i < count; i++) {
    const uint64_t shard = tensors[i].shard;
    (void)XXH3_128bits_update(state, &shard, sizeof shard);
    (void)XXH3_128bits_update(state, tensors[i].name, strlen(tensors[i].name) + 1);
  }
}

/* One file, into the hash. False: no memory, or it cannot be read. */
static bool hash_file(const rr_safetensors *weights, size_t index, XXH3_state_t *state) {
  size_t size = rr_safetensors_size(weights, index);
  char *piece = rr_malloc(HASH_PIECE);
  bool good = piece != NULL;
  for (size_t at = 0; good && at < size; at += HASH_PIECE) {
    size_t n = size - at < HASH_PIECE ? size - at : HASH_PIECE;
    good = rr_safetensors_bytes(weights, index, at, piece, n, NULL) == RR_OK;
    if (good) {
      (void)XXH3_128bits_update(state, piece, n);
    }
  }
  rr_free(piece);
  return good;
}

bool rr_weights_identity(const rr_safetensors *weights, uint64_t *ret_size,
                         uint8_t ret_hash[RR_IDENTITY_BYTES]) {
  XXH3_state_t *state = XXH3_createState();
  if (state == NULL) {
    return false;
  }
  size_t files = rr_safetensors_n_files(weights);
  uint64_t sum = 0;
  (void)XXH3_128bits_reset(state);
  bool good = true;
  for (size_t i = 0; good && i < files; i++) {
    sum += rr_safetensors_size(weights, i);
    good = hash_file(weights, i, state);
  }
  for (size_t i = 0; files > 1 && i < files; i++) { /* where one ends and the next begins */
    const uint64_t length = rr_safetensors_size(weights, i);
    (void)XXH3_128bits_update(state, &length, sizeof length);
  }
  if (files > 1) {
    hash_choice(weights, state);
  }
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(state));
  memcpy(ret_hash, bytes.digest, RR_IDENTITY_BYTES);
  *ret_size = sum;
  (void)XXH3_freeState(state);
  return good;
}
