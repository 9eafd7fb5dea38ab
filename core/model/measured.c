#include "core/model/measured.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "core/base/alloc.h"

enum { TENSOR_MAX = 1 << 24 }; /* elements */

/* Models, and what int8 changed. */
static const struct {
  const char *identity;
  size_t elements; /* of the encoder: other models need no hash */
} kept_by_int8[] = {
    {"5fcdbf82ad3253c970dde69076018d78", 10646784}, /* all-MiniLM-L6-v2: +0.0017 */
};

/* A tensor's name from where the encoder's begin, as there may be a prefix; NULL for any other. */
static const char *encoder_name(const rr_tensor *tensor) { return strstr(tensor->name, "encoder.layer."); }

static size_t count_elements(const rr_safetensors *weights, size_t *ret_largest) {
  size_t count;
  size_t elements = 0;
  const rr_tensor *tensors = rr_safetensors_tensors(weights, &count);
  *ret_largest = 0;
  for (size_t i = 0; i < count; i++) {
    if (encoder_name(&tensors[i]) != NULL) {
      elements += tensors[i].count;
      *ret_largest = tensors[i].count > *ret_largest ? tensors[i].count : *ret_largest;
    }
  }
  return elements;
}

static bool hash_encoder(const rr_safetensors *weights, float *values, XXH3_state_t *state) {
  size_t count;
  const rr_tensor *tensors = rr_safetensors_tensors(weights, &count);
  bool good = true;
  (void)XXH3_128bits_reset(state);
  for (size_t i = 0; good && i < count; i++) {
    const char *name = encoder_name(&tensors[i]);
    if (name != NULL) {
      good = rr_safetensors_read(weights, &tensors[i], values, NULL) == RR_OK;
      (void)XXH3_128bits_update(state, name, strlen(name) + 1);
      (void)XXH3_128bits_update(state, values, good ? tensors[i].count * sizeof *values : 0);
    }
  }
  return good;
}

bool rr_measured_identity(const rr_safetensors *weights, char ret_text[RR_IDENTITY_TEXT]) {
  size_t largest;
  if (count_elements(weights, &largest) == 0 || largest > TENSOR_MAX) {
    return false;
  }
  XXH3_state_t *state = XXH3_createState();
  float *values = rr_malloc(largest * sizeof *values);
  bool good = state != NULL && values != NULL && hash_encoder(weights, values, state);
  if (good) {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(state));
    for (size_t i = 0; i < RR_IDENTITY_BYTES; i++) {
      (void)snprintf(ret_text + 2 * i, 3, "%02x", bytes.digest[i]);
    }
  }
  rr_free(values);
  (void)XXH3_freeState(state);
  return good;
}

bool rr_measured_int8_keeps(const rr_safetensors *weights) {
  size_t largest;
  size_t elements = count_elements(weights, &largest);
  for (size_t i = 0; i < sizeof kept_by_int8 / sizeof kept_by_int8[0]; i++) {
    char identity[RR_IDENTITY_TEXT];
    if (kept_by_int8[i].elements == elements && rr_measured_identity(weights, identity) &&
        strcmp(identity, kept_by_int8[i].identity) == 0) {
      return true;
    }
  }
  return false;
}
