#include "server/cache/keyed_hash.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

_Static_assert((int)KEYED_HASH_BYTES == (int)UMAC_KEY_SIZE, "a key is as long as a digest");

void keyed_hash_init(keyed_hash *self, const uint8_t key[KEYED_HASH_BYTES]) {
  umac128_set_key(&self->umac, key);
}

rr_status keyed_hash_init_random(keyed_hash *self, rr_error *err) {
  uint8_t key[KEYED_HASH_BYTES];
  ssize_t got;
  do {
    got = getrandom(key, sizeof key, 0);
  } while (got < 0 && errno == EINTR);
  if (got != (ssize_t)sizeof key) {
    return rr_fail(err, RR_ERR_IO, "no random key for the cache");
  }
  keyed_hash_init(self, key);
  explicit_bzero(key, sizeof key);
  return RR_OK;
}

void keyed_hash_begin(keyed_hash *self) {
  static const uint8_t nonce[KEYED_HASH_BYTES];
  umac128_set_nonce(&self->umac, sizeof nonce, nonce);
}

void keyed_hash_bytes(keyed_hash *self, const void *data, size_t size) {
  if (size > 0) {
    umac128_update(&self->umac, size, data);
  }
}

void keyed_hash_number(keyed_hash *self, uint64_t number) {
  keyed_hash_bytes(self, &number, sizeof number);
}

void keyed_hash_text(keyed_hash *self, const char *data, size_t size) {
  keyed_hash_number(self, size);
  keyed_hash_bytes(self, data, size);
}

void keyed_hash_end(keyed_hash *self, uint8_t ret_digest[KEYED_HASH_BYTES]) {
  umac128_digest(&self->umac, KEYED_HASH_BYTES, ret_digest);
}
