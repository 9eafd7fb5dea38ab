#include "server/cache.h"

#include <pthread.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/sketch.h"

enum {
  LINE = 64,            /* bytes of a cache line */
  SHARDS_MAX = 16,      /* a power of two */
  SHARD_ENTRIES = 2048, /* fewer are not worth a lock of their own */
  WINDOW_SHARE = 16,    /* of a shard's entries, one in so many is the window */
  PROTECTED_NUM = 4,    /* of the rest, this share is protected: the paper's four fifths */
  PROTECTED_DEN = 5
};

#define NONE UINT32_MAX

/* Segments, each a list from the most recently used entry to the least. */
typedef enum segment { WINDOW, PROBATION, PROTECTED, SEGMENTS } segment;

typedef struct entry {
  cache_key key;
  cache_value value;
  uint32_t newer; /* neighbours in the segment, or NONE */
  uint32_t older;
  uint32_t chain; /* the bucket's next entry, or NONE */
  uint32_t segment;
} entry;

_Static_assert(sizeof(entry) == 48, "no padding: an entry's size is most of what a text costs");

typedef struct list {
  uint32_t newest;
  uint32_t oldest;
  uint32_t n;
  uint32_t most; /* of window and protected; no bound of its own for probation */
} list;

typedef struct shard {
  _Alignas(LINE) pthread_mutex_t lock; /* of all that follows */
  void *memory; /* of the sketch, the entries and the buckets */
  sketch asked;
  entry *entries; /* the first n are in use */
  uint32_t *buckets; /* the first entry's number and 1; 0: none */
  uint32_t capacity; /* of entries and buckets */
  uint32_t n;
  list lists[SEGMENTS];
  cache_stats stats; /* but for what concerns the whole */
} shard;

struct lfu_cache {
  shard *shards;
  uint32_t n_shards; /* a power of two */
  size_t bytes;
};

/* --- lists and buckets ------------------------------------------------------------------------------ */

static void unlink_entry(shard *self, uint32_t at) {
  entry *e = &self->entries[at];
  list *l = &self->lists[e->segment];
  if (e->newer == NONE) {
    l->newest = e->older;
  } else {
    self->entries[e->newer].older = e->older;
  }
  if (e->older == NONE) {
    l->oldest = e->newer;
  } else {
    self->entries[e->older].newer = e->newer;
  }
  l->n--;
}

static void push_newest(shard *self, uint32_t at, segment to) {
  entry *e = &self->entries[at];
  list *l = &self->lists[to];
  e->segment = to;
  e->newer = NONE;
  e->older = l->newest;
  if (l->newest == NONE) {
    l->oldest = at;
  } else {
    self->entries[l->newest].newer = at;
  }
  l->newest = at;
  l->n++;
}

static void move(shard *self, uint32_t at, segment to) {
  unlink_entry(self, at);
  push_newest(self, at, to);
}

static uint32_t *bucket_of(const shard *self, cache_key key) {
  return &self->buckets[((uint64_t)(uint32_t)key.high * self->capacity) >> 32];
}

static uint32_t look_up(const shard *self, cache_key key) {
  uint32_t at = *bucket_of(self, key) - 1; /* 0 becomes NONE */
  while (at != NONE && (self->entries[at].key.high != key.high || self->entries[at].key.low != key.low)) {
    at = self->entries[at].chain;
  }
  return at;
}

static void add_to_bucket(shard *self, uint32_t at) {
  uint32_t *bucket = bucket_of(self, self->entries[at].key);
  self->entries[at].chain = *bucket - 1;
  *bucket = at + 1;
}

static void remove_from_bucket(shard *self, uint32_t at) {
  uint32_t *bucket = bucket_of(self, self->entries[at].key);
  uint32_t next = self->entries[at].chain;
  if (*bucket - 1 == at) {
    *bucket = next + 1;
    return;
  }
  uint32_t before = *bucket - 1;
  while (self->entries[before].chain != at) {
    before = self->entries[before].chain;
  }
  self->entries[before].chain = next;
}

/* --- policy ----------------------------------------------------------------------------------------- */

static void touch(shard *self, uint32_t at) {
  list *protected = &self->lists[PROTECTED];
  if (self->entries[at].segment == WINDOW) {
    move(self, at, WINDOW);
    return;
  }
  move(self, at, PROTECTED);
  if (protected->n > protected->most) {
    move(self, protected->oldest, PROBATION);
  }
}

static unsigned asked_for(const shard *self, uint32_t at) {
  return sketch_estimate(&self->asked, self->entries[at].key.low);
}

/* Room for one entry in a full shard: what leaves the window, or what it drives out of the main part. The
 * window is full in a full shard. */
static uint32_t make_room(shard *self) {
  uint32_t candidate = self->lists[WINDOW].oldest;
  uint32_t victim = self->lists[PROBATION].oldest;
  victim = victim == NONE ? self->lists[PROTECTED].oldest : victim;
  uint32_t gone = candidate;
  if (asked_for(self, candidate) > asked_for(self, victim)) {
    move(self, candidate, PROBATION);
    gone = victim;
    self->stats.evictions++;
  } else {
    self->stats.rejections++;
  }
  unlink_entry(self, gone);
  remove_from_bucket(self, gone);
  return gone;
}

static void add(shard *self, cache_key key, const cache_value *value) {
  list *window = &self->lists[WINDOW];
  uint32_t at = self->n < self->capacity ? self->n++ : make_room(self);
  self->entries[at].key = key;
  self->entries[at].value = *value;
  add_to_bucket(self, at);
  push_newest(self, at, WINDOW);
  if (window->n > window->most) { /* only while there is room */
    move(self, window->oldest, PROBATION);
  }
  self->stats.insertions++;
}

/* --- the whole -------------------------------------------------------------------------------------- */

static size_t shard_bytes(uint32_t capacity) {
  return sketch_bytes(capacity) + (size_t)capacity * (sizeof(entry) + sizeof(uint32_t)) + LINE;
}

static bool shard_init(shard *self, uint32_t capacity) {
  *self = (shard){.capacity = capacity, .memory = rr_calloc(1, shard_bytes(capacity))};
  if (self->memory == NULL) {
    return false;
  }
  char *memory = (char *)self->memory + (LINE - (uintptr_t)self->memory % LINE) % LINE;
  sketch_init(&self->asked, (uint64_t *)memory, capacity);
  self->entries = (entry *)(memory + sketch_bytes(capacity));
  self->buckets = (uint32_t *)(self->entries + capacity);
  for (int s = 0; s < SEGMENTS; s++) {
    self->lists[s] = (list){.newest = NONE, .oldest = NONE, .most = capacity};
  }
  uint32_t window = capacity / WINDOW_SHARE;
  self->lists[WINDOW].most = window;
  self->lists[PROTECTED].most =
      (uint32_t)((uint64_t)(capacity - window) * PROTECTED_NUM / PROTECTED_DEN);
  (void)pthread_mutex_init(&self->lock, NULL);
  return true;
}

/* The most entries a shard of so many bytes has. */
static uint32_t capacity_for(size_t bytes) {
  size_t fixed = sizeof(shard) + shard_bytes(0);
  size_t each = sizeof(entry) + sizeof(uint32_t) + sizeof(uint64_t); /* of the sketch: a word */
  size_t capacity = (bytes - fixed) / each;
  return capacity < NONE / 2 ? (uint32_t)capacity : NONE / 2;
}

rr_status cache_create(size_t bytes, lfu_cache **ret_cache, rr_error *err) {
  if (bytes < CACHE_BYTES_MIN) {
    return rr_fail(err, RR_ERR_INPUT, "a cache of %zu bytes is too small: %d at least", bytes,
                   (int)CACHE_BYTES_MIN);
  }
  uint32_t n_shards = 1;
  size_t left = bytes - sizeof(lfu_cache) - LINE;
  while (n_shards < SHARDS_MAX && capacity_for(left / n_shards) >= 2 * SHARD_ENTRIES) {
    n_shards *= 2;
  }
  uint32_t capacity = capacity_for(left / n_shards);
  lfu_cache *self = rr_calloc(1, sizeof *self);
  shard *shards = self == NULL ? NULL : rr_alloc_aligned(n_shards * sizeof *shards);
  if (shards == NULL) {
    rr_free(self);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a cache");
  }
  self->shards = shards;
  self->bytes = sizeof *self + n_shards * (sizeof *shards + shard_bytes(capacity));
  while (self->n_shards < n_shards && shard_init(&shards[self->n_shards], capacity)) {
    self->n_shards++;
  }
  if (self->n_shards < n_shards) {
    cache_destroy(self);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a cache of %zu bytes", bytes);
  }
  *ret_cache = self;
  return RR_OK;
}

void cache_destroy(lfu_cache *self) {
  if (self == NULL) {
    return;
  }
  for (uint32_t i = 0; i < self->n_shards; i++) {
    (void)pthread_mutex_destroy(&self->shards[i].lock);
    rr_free(self->shards[i].memory);
  }
  rr_free(self->shards);
  rr_free(self);
}

/* Shard, bucket and counters come from different bits of the key. */
static shard *lock_shard(lfu_cache *self, cache_key key) {
  shard *found = &self->shards[(key.high >> 32) & (self->n_shards - 1)];
  (void)pthread_mutex_lock(&found->lock);
  return found;
}

bool cache_find(lfu_cache *self, cache_key key, cache_value *ret_value) {
  shard *s = lock_shard(self, key);
  sketch_add(&s->asked, key.low);
  uint32_t at = look_up(s, key);
  if (at != NONE) {
    touch(s, at);
    *ret_value = s->entries[at].value;
    s->stats.hits++;
  } else {
    s->stats.misses++;
  }
  (void)pthread_mutex_unlock(&s->lock);
  return at != NONE;
}

void cache_insert(lfu_cache *self, cache_key key, const cache_value *value) {
  shard *s = lock_shard(self, key);
  if (look_up(s, key) == NONE) {
    add(s, key, value);
  }
  (void)pthread_mutex_unlock(&s->lock);
}

void cache_read_stats(lfu_cache *self, cache_stats *ret_stats) {
  cache_stats sum = {.bytes = self->bytes};
  for (uint32_t i = 0; i < self->n_shards; i++) {
    shard *s = &self->shards[i];
    (void)pthread_mutex_lock(&s->lock);
    sum.hits += s->stats.hits;
    sum.misses += s->stats.misses;
    sum.insertions += s->stats.insertions;
    sum.evictions += s->stats.evictions;
    sum.rejections += s->stats.rejections;
    sum.entries += s->n;
    sum.capacity += s->capacity;
    (void)pthread_mutex_unlock(&s->lock);
  }
  *ret_stats = sum;
}
