#include "server/cache/score_cache.h"

#include <string.h>

#include "core/base/alloc.h"

void score_cache_set_model(score_cache *self, const char *model, const char *commit,
                           const rr_model_info *info) {
  keyed_hash *hash = &self->keyed;
  keyed_hash_begin(hash);
  keyed_hash_text(hash, model, strlen(model));
  keyed_hash_text(hash, commit, strlen(commit));
  keyed_hash_text(hash, info->dtype_name, strlen(info->dtype_name));
  keyed_hash_text(hash, info->kernels, strlen(info->kernels));
  keyed_hash_text(hash, info->scoring_name, strlen(info->scoring_name));
  keyed_hash_number(hash, info->kind);
  keyed_hash_number(hash, info->pooling);
  keyed_hash_number(hash, info->max_input_length);
  keyed_hash_number(hash, info->split_layers);
  keyed_hash_number(hash, info->parameters);
  keyed_hash_end(hash, self->model);
}

rr_status score_cache_create(size_t bytes, const char *model, const char *commit,
                             const rr_model_info *info, score_cache **ret_cache, rr_error *err) {
  score_cache *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a cache");
  }
  rr_status status = keyed_hash_init_random(&self->keyed, err);
  if (status == RR_OK) {
    status = lfu_create(bytes, &self->entries, err);
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
  lfu_destroy(self->entries);
  rr_free(self);
}

/* Members: truncate, side, cut, max_length, max_text_tokens, alone, kept_only, kept,
 * ret_culprit, all but the last three in the key. Whoever adds one decides whether it belongs
 * there. */
_Static_assert(sizeof(void *) != 8 || sizeof(rr_encode_options) == 40,
               "the key holds every option");

void score_query_init(score_query *ret_query, const score_cache *scores, rr_text query,
                      const rr_encode_options *options) {
  keyed_hash *hash = &ret_query->hash;
  *hash = scores->keyed;
  keyed_hash_begin(hash);
  keyed_hash_bytes(hash, scores->model, sizeof scores->model);
  keyed_hash_number(hash, options->truncate);
  keyed_hash_number(hash, options->side);
  keyed_hash_number(hash, options->cut);
  keyed_hash_number(hash, options->max_length);
  keyed_hash_number(hash, options->max_text_tokens);
  keyed_hash_number(hash, options->alone);
  keyed_hash_text(hash, query.data, query.size);
  keyed_hash_end(hash, ret_query->digest);
}

lfu_key score_query_key(score_query *self, rr_text text) {
  uint8_t digest[KEYED_HASH_BYTES];
  lfu_key key;
  keyed_hash_begin(&self->hash);
  keyed_hash_bytes(&self->hash, self->digest, sizeof self->digest);
  keyed_hash_text(&self->hash, text.data, text.size);
  keyed_hash_end(&self->hash, digest);
  memcpy(&key, digest, sizeof key);
  return key;
}
