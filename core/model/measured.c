#include "core/model/measured.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const char encoder[] = "encoder.layer.";

/* Identities, and what int8 changed. */
static const char *const kept_by_int8[] = {
    "5fcdbf82ad3253c970dde69076018d78", /* all-MiniLM-L6-v2: +0.0017 */
};

bool rr_measured_identity(const rr_safetensors *weights, char ret_text[RR_IDENTITY_TEXT]) {
  XXH3_state_t *state = XXH3_createState();
  if (state == NULL) {
    return false;
  }
  (void)XXH3_128bits_reset(state);
  size_t count;
  size_t found = 0;
  const rr_tensor *tensors = rr_safetensors_tensors(weights, &count);
  for (size_t i = 0; i < count; i++) {
    const char *name = strstr(tensors[i].name, encoder); /* there may be a prefix */
    if (name != NULL) {
      (void)XXH3_128bits_update(state, name, strlen(name) + 1);
      (void)XXH3_128bits_update(state, tensors[i].data, tensors[i].end - tensors[i].begin);
      found++;
    }
  }
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(state));
  (void)XXH3_freeState(state);
  for (size_t i = 0; i < RR_IDENTITY_BYTES; i++) {
    (void)snprintf(ret_text + 2 * i, 3, "%02x", bytes.digest[i]);
  }
  return found > 0;
}

bool rr_measured_int8_keeps(const rr_safetensors *weights) {
  char identity[RR_IDENTITY_TEXT];
  if (!rr_measured_identity(weights, identity)) {
    return false;
  }
  for (size_t i = 0; i < sizeof kept_by_int8 / sizeof kept_by_int8[0]; i++) {
    if (strcmp(identity, kept_by_int8[i]) == 0) {
      return true;
    }
  }
  return false;
}
