/* The score cache: what was computed for a query and a text, under a key that holds everything the
 * result depends on.
 *
 * Key: a hash of 128 bits over the model (name, commit, kind, dtype, kernels), the options that
 * change a sequence or its score, the query and the text, each with its length. Two different pairs
 * of texts, chosen by whoever does not know the process's key, have the same hash with a chance of
 * about 2^-120; nobody is told a hash. It is UMAC-128 (RFC 4418), whose bound on this chance is
 * proven, from nettle: 0.4 us for 4 KB of text.
 *
 * Why not XXH3 with a secret seed: it is not made for it. Flip one bit in the upper half of a
 * 64-bit lane, and the same bit the other way in the same lane of another 64-byte stripe: the two
 * texts collide, in 64 and 128 bits alike, wherever the lanes' lower halves are equal under the
 * secret, about once in 2^33 secrets or pairs of stripes. Somebody patient could have one text
 * answered with the score of another.
 */
#ifndef RR_SERVER_CACHE_SCORE_CACHE_H
#define RR_SERVER_CACHE_SCORE_CACHE_H

#include <stdint.h>

#include "core/base/status.h"
#include "core/base/text.h"
#include "core/scorer.h"
#include "server/cache/keyed_hash.h"
#include "server/cache/lfu.h"

typedef struct score_cache {
  lfu *entries;
  keyed_hash keyed; /* copied for each use */
  uint8_t model[KEYED_HASH_BYTES];
} score_cache;

/* Hashes texts that go with one query; on one thread. */
typedef struct score_query {
  keyed_hash hash;
  uint8_t digest[KEYED_HASH_BYTES];
} score_query;

/* A cache of at most so many bytes, beside this struct, for one loaded model. commit: "" where
 * there is none. *ret_cache is freed by score_cache_destroy. Errors: RR_ERR_INPUT (too few bytes),
 * RR_ERR_MEMORY, RR_ERR_IO (no random key). May wait for the kernel's randomness at boot: not on
 * the event loop. */
rr_status score_cache_create(size_t bytes, const char *model, const char *commit,
                             const rr_model_info *info, score_cache **ret_cache, rr_error *err);
void score_cache_destroy(score_cache *self); /* NULL is allowed */

/* Makes the keys those of that model; score_cache_create does. Before other threads use the
 * cache. */
void score_cache_set_model(score_cache *self, const char *model, const char *commit,
                           const rr_model_info *info);

/* Any thread. A query without data is one of texts that stand alone. */
void score_query_init(score_query *ret_query, const score_cache *scores, rr_text query,
                      const rr_encode_options *options);

/* The key of a text with this query. */
lfu_key score_query_key(score_query *self, rr_text text);

#endif
