/* Keys and values of the shared cache: what every replica of one model, and nobody else, agrees on.
 *
 * Key: HMAC-SHA256, all 256 bits, over the model's identity (identity.h), the options that change a
 * sequence or its score, the query and the text, each with its length. The score cache's own keys
 * cannot be shared: UMAC is safe under a key that one process knows alone and whose hashes nobody
 * is told, and here whoever reads the cache server sees every key. SHA-256 is made for that: nobody
 * finds two pairs with one key, with a secret or without.
 *
 * Value: the 20 bytes that an answer tells of a text, and the first 128 bits of an HMAC-SHA256 over
 * key and value. What was cut, changed, of another version, or written under another key is no
 * value.
 *
 * The secret (--shared-cache-secret) is what both are keyed with. With one, who can write to the
 * cache server cannot make a score up, and who can read it cannot try out which texts were asked
 * for. Without one the HMACs are public functions: keys still do not collide, and the check still
 * finds what is damaged, but not what was forged.
 *
 * All numbers are little-endian, so that machines of any kind agree. Pure; any thread. */
#ifndef RR_SERVER_REDIS_KEYS_H
#define RR_SERVER_REDIS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nettle/hmac.h>

#include "core/base/text.h"
#include "core/scorer.h"
#include "server/cache/lfu.h"

enum { REDIS_DIGEST_BYTES = 32, REDIS_VALUE_BYTES = 36 };

typedef struct redis_digest {
  uint8_t bytes[REDIS_DIGEST_BYTES];
} redis_digest;

typedef struct redis_keys {
  struct hmac_sha256_ctx mac; /* copied for each use */
  redis_digest model;
} redis_keys;

/* For one model. secret: "" where there is none. */
void redis_keys_init(redis_keys *ret_keys, const char *secret, const redis_digest *model);

/* Makes keys of texts that go with one query; on one thread. */
typedef struct redis_query {
  struct hmac_sha256_ctx mac;
  redis_digest digest;
} redis_query;

/* A query without data is one of texts that stand alone. */
void redis_query_init(redis_query *ret_query, const redis_keys *keys, rr_text query,
                      const rr_encode_options *options);
redis_digest redis_query_key(redis_query *self, rr_text text);

void redis_value_write(const redis_keys *keys, const redis_digest *key, const lfu_value *value,
                       uint8_t ret_bytes[REDIS_VALUE_BYTES]);

/* False: these bytes are no value of this key; *ret_value is untouched. */
bool redis_value_read(const redis_keys *keys, const redis_digest *key, const uint8_t *bytes,
                      size_t size, lfu_value *ret_value);

#endif
