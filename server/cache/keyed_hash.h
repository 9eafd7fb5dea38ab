/* Hashes of 128 bits under a secret key, for keys of caches: UMAC-128 (RFC 4418) from nettle.
 * score_cache.h says why that one. A digest is compared with others and never leaves the process,
 * so that every message is hashed under the same nonce: what nonces protect, the key of a MAC that
 * goes over the wire, is not at stake.
 *
 * A struct belongs to one thread at a time; copies of a keyed one are as good. */
#ifndef RR_SERVER_CACHE_KEYED_HASH_H
#define RR_SERVER_CACHE_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

#include <nettle/umac.h>

#include "core/base/status.h"

enum { KEYED_HASH_BYTES = 16 };

typedef struct keyed_hash {
  struct umac128_ctx umac;
} keyed_hash;

/* Under a key of KEYED_HASH_BYTES. */
void keyed_hash_init(keyed_hash *self, const uint8_t key[KEYED_HASH_BYTES]);

/* Under a random one. RR_ERR_IO; may wait for the kernel's randomness at boot: not on the event
 * loop. */
rr_status keyed_hash_init_random(keyed_hash *self, rr_error *err);

/* A message: begin, any number of parts, end. A text is hashed with its length before it. */
void keyed_hash_begin(keyed_hash *self);
void keyed_hash_bytes(keyed_hash *self, const void *data, size_t size);
void keyed_hash_number(keyed_hash *self, uint64_t number);
void keyed_hash_text(keyed_hash *self, const char *data, size_t size);
void keyed_hash_end(keyed_hash *self, uint8_t ret_digest[KEYED_HASH_BYTES]);

#endif
