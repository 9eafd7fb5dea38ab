#include "server/cache/document_cache.h"

#include <stdatomic.h>
#include <string.h>

#include "core/base/alloc.h"

enum {
  BYTES_EACH = 1024,     /* the index has room for one document in so many bytes */
  INDEX_BYTES_EACH = 64, /* what it takes for that, at most: lfu.h says 60 */
  SHARDS_MAX = 16,
  SHARD_BYTES = 4 << 20, /* at least, so that the largest kept state is a small part of a shard */
  SLACK = 16,            /* one part in so many is for what is held but no longer kept */
  SPLIT_SLACK = 4, /* the same for pairs, whose kept state is held from before they are computed */
  ALIGNMENT = 16
};

struct document {
  _Alignas(ALIGNMENT) document_cache *owner;
  size_t size;
  atomic_uint holders;
};

_Static_assert(sizeof(struct document) % ALIGNMENT == 0, "what follows is aligned");

struct document_cache {
  lfu *entries;
  document_file *file; /* or NULL */
  const rr_scorer *scorer;
  keyed_hash keyed; /* copied for each use */
  uint8_t fingerprint[RR_FINGERPRINT_BYTES];
  uint32_t max_length; /* tokens of a sequence */
  bool pairs;          /* a split model's */
  size_t most;         /* bytes of documents, those that requests alone hold included */
  size_t index;        /* bytes */
  atomic_size_t taken;
};

static size_t weight_of(size_t size) {
  return sizeof(document) + (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void document_hold(document *self) {
  (void)atomic_fetch_add_explicit(&self->holders, 1, memory_order_relaxed);
}

void document_release(document *self) {
  if (self == NULL || atomic_fetch_sub_explicit(&self->holders, 1, memory_order_acq_rel) != 1) {
    return;
  }
  (void)atomic_fetch_sub_explicit(&self->owner->taken, weight_of(self->size), memory_order_relaxed);
  rr_free(self);
}

static void hold(void *object) { document_hold(object); }
static void release(void *object) { document_release(object); }

static const lfu_objects how = {.hold = hold, .release = release};

/* Keys must be the same after a restart: their secret is the file's. */
static rr_status open_file(document_cache *self, const document_cache_config *config,
                           rr_error *err) {
  rr_status status = rr_scorer_fingerprint(self->scorer, self->fingerprint, err);
  if (status == RR_OK) {
    status =
        document_file_open(config->file, self->fingerprint, config->file_bytes, &self->file, err);
  }
  if (status == RR_OK) {
    keyed_hash_init(&self->keyed, document_file_secret(self->file));
  }
  return status;
}

static rr_status fill(document_cache *self, const document_cache_config *config, rr_error *err) {
  size_t bytes = config->bytes;
  uint32_t shards = 1;
  size_t entries = bytes / BYTES_EACH;
  entries = entries < UINT32_MAX / 2 ? entries : UINT32_MAX / 2;
  self->index = entries * INDEX_BYTES_EACH;
  self->most = bytes - self->index;
  size_t weight = self->most - self->most / (self->pairs ? SPLIT_SLACK : SLACK);
  while (shards < SHARDS_MAX && weight / (2 * shards) >= SHARD_BYTES) {
    shards *= 2;
  }
  rr_status status = config->file == NULL ? keyed_hash_init_random(&self->keyed, err)
                                          : open_file(self, config, err);
  return status == RR_OK
             ? lfu_create_for_objects(weight, (uint32_t)entries, shards, &how, &self->entries, err)
             : status;
}

rr_status document_cache_create(const document_cache_config *config, const rr_scorer *scorer,
                                document_cache **ret_cache, rr_error *err) {
  if (config->bytes < DOCUMENT_CACHE_BYTES_MIN) {
    return rr_fail(err, RR_ERR_INPUT, "a document cache of %zu bytes is too small: %d at least",
                   config->bytes, (int)DOCUMENT_CACHE_BYTES_MIN);
  }
  document_cache *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a document cache");
  }
  self->scorer = scorer;
  self->max_length = rr_scorer_info(scorer)->max_input_length;
  self->pairs = rr_scorer_info(scorer)->kind == RR_CROSS_ENCODER;
  rr_status status = fill(self, config, err);
  if (status != RR_OK) {
    document_cache_destroy(self);
    return status;
  }
  *ret_cache = self;
  return RR_OK;
}

void document_cache_destroy(document_cache *self) {
  if (self == NULL) {
    return;
  }
  lfu_destroy(self->entries);
  document_file_close(self->file);
  rr_free(self);
}

enum { KIND_KEPT, KIND_NAME };

static uint32_t smaller_bound(uint32_t bound, uint32_t most) {
  return bound == 0 || bound > most ? most : bound;
}

/* Members: truncate, side, cut, max_length, max_text_tokens, alone, kept_only, kept,
 * ret_culprit. Of a text that is a sequence of its own the first, second, fourth and fifth decide
 * what it is; of one in a pair that was not cut, and no other is kept, the second and
 * fifth. */
_Static_assert(sizeof(void *) != 8 || sizeof(rr_encode_options) == 40,
               "the key holds every option");

void document_keys_init(document_keys *ret_keys, const document_cache *cache,
                        const rr_encode_options *options) {
  keyed_hash *hash = &ret_keys->hash;
  uint32_t max_length =
      cache->pairs ? cache->max_length : smaller_bound(options->max_length, cache->max_length);
  *hash = cache->keyed;
  keyed_hash_begin(hash);
  keyed_hash_number(hash, KIND_KEPT);
  keyed_hash_bytes(hash, cache->fingerprint, sizeof cache->fingerprint);
  keyed_hash_number(hash, cache->pairs || options->truncate);
  keyed_hash_number(hash, options->side);
  keyed_hash_number(hash, max_length);
  keyed_hash_number(
      hash, smaller_bound(options->max_text_tokens, max_length)); /* more are cut off anyway */
  keyed_hash_end(hash, ret_keys->digest);
}

static lfu_key end(keyed_hash *hash) {
  uint8_t digest[KEYED_HASH_BYTES];
  lfu_key key;
  keyed_hash_end(hash, digest);
  memcpy(&key, digest, sizeof key);
  return key;
}

lfu_key document_key_of_text(document_keys *self, rr_text text) {
  keyed_hash_begin(&self->hash);
  keyed_hash_bytes(&self->hash, self->digest, sizeof self->digest);
  keyed_hash_text(&self->hash, text.data, text.size);
  return end(&self->hash);
}

lfu_key document_key_of_name(const document_cache *cache, rr_text name) {
  keyed_hash hash = cache->keyed;
  keyed_hash_begin(&hash);
  keyed_hash_number(&hash, KIND_NAME);
  keyed_hash_text(&hash, name.data, name.size);
  return end(&hash);
}

static const uint8_t *bytes_of(const lfu_key *key) { return (const uint8_t *)key; }

_Static_assert(sizeof(lfu_key) == DOCUMENT_KEY_BYTES, "a key is what the file calls one");

/* From the file into memory. */
static document *fetch(document_cache *self, lfu_key key, bool state) {
  size_t size;
  if (self->file == NULL || !document_file_has(self->file, bytes_of(&key), &size)) {
    return NULL;
  }
  document *made = document_cache_reserve(self, size);
  if (made == NULL) {
    return NULL;
  }
  if (!document_file_read(self->file, bytes_of(&key), document_data(made), size) ||
      (state &&
       !rr_scorer_kept_fits(self->scorer, (rr_kept){.data = document_data(made), .size = size}))) {
    document_release(made);
    return NULL;
  }
  (void)lfu_insert_object(self->entries, key, made, (uint32_t)weight_of(size), false);
  return made;
}

document *document_cache_find_kept(document_cache *self, lfu_key key) {
  document *found = lfu_find_object(self->entries, key);
  return found != NULL ? found : fetch(self, key, true);
}

document *document_cache_find_text(document_cache *self, lfu_key key) {
  document *found = lfu_find_object(self->entries, key);
  return found != NULL ? found : fetch(self, key, false);
}

bool document_cache_has(document_cache *self, lfu_key key) {
  return lfu_has(self->entries, key) ||
         (self->file != NULL && document_file_has(self->file, bytes_of(&key), NULL));
}

document *document_cache_reserve(document_cache *self, size_t size) {
  size_t weight = weight_of(size);
  if (weight > self->most) {
    return NULL;
  }
  size_t before = atomic_fetch_add_explicit(&self->taken, weight, memory_order_relaxed);
  document *made = before + weight > self->most ? NULL : rr_malloc(weight);
  if (made == NULL) {
    (void)atomic_fetch_sub_explicit(&self->taken, weight, memory_order_relaxed);
    return NULL;
  }
  made->owner = self;
  made->size = size;
  atomic_init(&made->holders, 1);
  return made;
}

bool document_cache_insert(document_cache *self, lfu_key key, document *kept, bool firmly) {
  bool there = lfu_insert_object(self->entries, key, kept, (uint32_t)weight_of(kept->size), firmly);
  if (self->file == NULL) {
    return there;
  }
  rr_error ignored; /* it is counted */
  bool written = document_file_put(self->file, bytes_of(&key), document_data(kept), kept->size,
                                   firmly, &ignored) == RR_OK;
  return firmly ? written : there || written;
}

void document_cache_forget(document_cache *self, lfu_key key) {
  static const char gone[1] = {DOCUMENT_GONE};
  rr_error ignored; /* also where it fails the old one is gone */
  lfu_remove_object(self->entries, key);
  if (self->file != NULL && document_file_has(self->file, bytes_of(&key), NULL)) {
    (void)document_file_put(self->file, bytes_of(&key), gone, sizeof gone, true, &ignored);
  }
}

void *document_data(document *self) { return self + 1; }

size_t document_size(const document *self) { return self->size; }

void document_cache_read_stats(document_cache *self, document_stats *ret_stats) {
  lfu_read_stats(self->entries, &ret_stats->memory);
  ret_stats->file = (document_file_stats){0};
  if (self->file != NULL) {
    document_file_read_stats(self->file, &ret_stats->file);
  }
  ret_stats->bytes = atomic_load_explicit(&self->taken, memory_order_relaxed);
  ret_stats->most = self->most + self->index;
}
