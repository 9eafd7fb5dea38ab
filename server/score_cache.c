#include "server/score_cache.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/alloc.h"

/* Every message is hashed under the same nonce: a digest is compared with others and never leaves, so that
 * what nonces protect, the key of a MAC that goes over the wire, is not at stake. */
static void begin(struct umac128_ctx *hash) {
  static const uint8_t nonce[SCORE_DIGEST_BYTES];
  umac128_set_nonce(hash, sizeof nonce, nonce);
}

static void add_bytes(struct umac128_ctx *hash, const void *data, size_t size) {
  if (size > 0) {
    umac128_update(hash, size, data);
  }
}

static void add_number(struct umac128_ctx *hash, uint64_t number) { add_bytes(hash, &number, sizeof number); }

static void add_text(struct umac128_ctx *hash, const char *data, size_t size) {
  add_number(hash, size);
  add_bytes(hash, data, size);
}

void score_cache_set_model(score_cache *self, const char *model, const char *commit, const rr_model_info *info) {
  struct umac128_ctx *hash = &self->keyed;
  begin(hash);
  add_text(hash, model, strlen(model));
  add_text(hash, commit, strlen(commit));
  add_text(hash, info->dtype_name, strlen(info->dtype_name));
  add_text(hash, info->kernels, strlen(info->kernels));
  add_text(hash, info->scoring_name, strlen(info->scoring_name));
  add_number(hash, info->kind);
  add_number(hash, info->pooling);
  add_number(hash, info->max_input_length);
  add_number(hash, info->split_layers);
  add_number(hash, info->parameters);
  umac128_digest(hash, sizeof self->model, self->model);
}

static rr_status draw_key(score_cache *self, rr_error *err) {
  uint8_t key[UMAC_KEY_SIZE];
  ssize_t got;
  do {
    got = getrandom(key, sizeof key, 0);
  } while (got < 0 && errno == EINTR);
  if (got != (ssize_t)sizeof key) {
    return rr_fail(err, RR_ERR_IO, "no random key for the cache");
  }
  umac128_set_key(&self->keyed, key);
  explicit_bzero(key, sizeof key);
  return RR_OK;
}

rr_status score_cache_create(size_t bytes, const char *model, const char *commit, const rr_model_info *info,
                             score_cache **ret_cache, rr_error *err) {
  score_cache *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a cache");
  }
  rr_status status = draw_key(self, err);
  if (status == RR_OK) {
    status = cache_create(bytes, &self->entries, err);
  }
  if (status != RR_OK) {
    score_cache_destroy(self);
    return status;
  }
  score_cache_set_model(self, model, commit, info);
  *ret_cache = self;
  return RR_OK;
}

void score_cache_destroy(score_cache *self) {
  if (self == NULL) {
    return;
  }
  cache_destroy(self->entries);
  rr_free(self);
}

/* Members: truncate, side, strategy, max_length, max_text_tokens, alone, ret_culprit, all but the last in the
 * key. Whoever adds one decides whether it belongs there. */
_Static_assert(sizeof(void *) != 8 || sizeof(rr_encode_options) == 32, "the key holds every option");

void score_query_init(score_query *ret_query, const score_cache *scores, rr_text query,
                      const rr_encode_options *options) {
  struct umac128_ctx *hash = &ret_query->hash;
  *hash = scores->keyed;
  begin(hash);
  add_bytes(hash, scores->model, sizeof scores->model);
  add_number(hash, options->truncate);
  add_number(hash, options->side);
  add_number(hash, options->strategy);
  add_number(hash, options->max_length);
  add_number(hash, options->max_text_tokens);
  add_number(hash, options->alone);
  add_text(hash, query.data, query.size);
  umac128_digest(hash, sizeof ret_query->digest, ret_query->digest);
}

cache_key score_query_key(score_query *self, rr_text text) {
  uint8_t digest[SCORE_DIGEST_BYTES];
  cache_key key;
  begin(&self->hash);
  add_bytes(&self->hash, self->digest, sizeof self->digest);
  add_text(&self->hash, text.data, text.size);
  umac128_digest(&self->hash, sizeof digest, digest);
  memcpy(&key, digest, sizeof key);
  return key;
}
