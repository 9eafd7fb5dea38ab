#include "server/cache/lfu.h"

#include <pthread.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/cache/sketch.h"

enum {
  LINE = 64,            /* bytes of a cache line */
  SHARDS_MAX = 16,      /* a power of two */
  SHARD_ENTRIES = 2048, /* fewer are not worth a lock of their own */
  WINDOW_SHARE = 16,    /* of a shard's entries, one in so many is the window */
  PROTECTED_NUM = 4,    /* of the rest, this share is protected: the paper's four fifths */
  PROTECTED_DEN = 5,
  FIRMLY_COUNTS = 4 /* who wants an object kept asks for it as often as so many others */
};

#define NONE UINT32_MAX

/* Segments, each a list from the most recently used entry to the least. */
typedef enum segment { WINDOW, PROBATION, PROTECTED, SEGMENTS } segment;

typedef struct held {
  void *object;
  uint64_t weight;
} held;

_Static_assert(sizeof(held) == sizeof(lfu_value), "either fits into an entry");

typedef struct entry {
  lfu_key key;
  union {
    lfu_value value;
    held held;
  };
  uint32_t newer; /* neighbours in the segment, or NONE */
  uint32_t older;
  uint32_t chain; /* the bucket's next entry, or of free ones the next, or NONE */
  uint32_t segment;
} entry;

_Static_assert(sizeof(entry) == 48, "no padding: an entry's size is most of what a text costs");

typedef struct list {
  uint32_t newest;
  uint32_t oldest;
  uint64_t weight;
  uint64_t most; /* of window and protected; no bound of its own for probation */
} list;

typedef struct shard {
  _Alignas(LINE) pthread_mutex_t lock; /* of all that follows */
  void *memory;                        /* of the sketch, the entries and the buckets */
  sketch asked;
  entry *entries;         /* the first `touched` are or were in use */
  uint32_t *buckets;      /* the first entry's number and 1; 0: none */
  const lfu_objects *how; /* NULL: values */
  uint32_t capacity;      /* of entries and buckets */
  uint32_t touched;
  uint32_t free; /* of the touched ones */
  uint32_t n;
  uint64_t room; /* weight, at most */
  list lists[SEGMENTS];
  lfu_stats stats; /* but for what concerns the whole */
} shard;

struct lfu {
  shard *shards;
  uint32_t n_shards; /* a power of two */
  size_t bytes;
};

/* --- lists and buckets ------------------------------------------------------------------------ */

static uint64_t weight_of(const shard *self, uint32_t at) {
  return self->how == NULL ? 1 : self->entries[at].held.weight;
}

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
  l->weight -= weight_of(self, at);
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
  l->weight += weight_of(self, at);
}

static void move(shard *self, uint32_t at, segment to) {
  unlink_entry(self, at);
  push_newest(self, at, to);
}

static uint32_t *bucket_of(const shard *self, lfu_key key) {
  return &self->buckets[((uint64_t)(uint32_t)key.high * self->capacity) >> 32];
}

static uint32_t look_up(const shard *self, lfu_key key) {
  uint32_t at = *bucket_of(self, key) - 1; /* 0 becomes NONE */
  while (at != NONE &&
         (self->entries[at].key.high != key.high || self->entries[at].key.low != key.low)) {
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

/* --- policy ----------------------------------------------------------------------------------- */

static void touch(shard *self, uint32_t at) {
  list *protected = &self->lists[PROTECTED];
  if (self->entries[at].segment == WINDOW) {
    move(self, at, WINDOW);
    return;
  }
  move(self, at, PROTECTED);
  while (protected->weight > protected->most) {
    move(self, protected->oldest, PROBATION);
  }
}

static unsigned asked_for(const shard *self, uint32_t at) {
  return sketch_estimate(&self->asked, self->entries[at].key.low);
}

static uint64_t total(const shard *self) {
  return self->lists[WINDOW].weight + self->lists[PROBATION].weight + self->lists[PROTECTED].weight;
}

static bool has_room(const shard *self, uint64_t weight) {
  return self->n < self->capacity && total(self) + weight <= self->room;
}

static void drop(shard *self, uint32_t at) {
  unlink_entry(self, at);
  remove_from_bucket(self, at);
  if (self->how != NULL) {
    self->how->release(self->entries[at].held.object);
  }
  self->entries[at].chain = self->free;
  self->free = at;
  self->n--;
}

/* The entry of the main part that would go first, or NONE. */
static uint32_t victim_of(const shard *self) {
  uint32_t oldest = self->lists[PROBATION].oldest;
  return oldest == NONE ? self->lists[PROTECTED].oldest : oldest;
}

/* Whether the main part has room for so much more: all but the window's. */
static bool main_has_room(const shard *self, uint64_t weight) {
  uint64_t main = self->lists[PROBATION].weight + self->lists[PROTECTED].weight;
  return main + weight <= self->room - self->lists[WINDOW].most;
}

/* One step towards room for an entry. The window's oldest entry makes it: it enters the main part,
 * drives the one out that would go first there, or goes itself. False where the window has none and
 * the new entry is too heavy for it, and asked for too rarely to drive something out itself. */
static bool make_room(shard *self, lfu_key key, uint64_t weight) {
  list *window = &self->lists[WINDOW];
  bool leaves = window->weight + weight > window->most || self->n == self->capacity;
  uint32_t candidate = leaves ? window->oldest : NONE;
  uint32_t victim = victim_of(self);
  if (candidate != NONE && self->n < self->capacity &&
      main_has_room(self, weight_of(self, candidate))) {
    move(self, candidate, PROBATION);
    return true;
  }
  unsigned asked =
      candidate != NONE ? asked_for(self, candidate) : sketch_estimate(&self->asked, key.low);
  if (victim == NONE || (leaves && asked <= asked_for(self, victim))) {
    self->stats.rejections++;
    if (candidate != NONE) {
      drop(self, candidate);
    }
    return candidate != NONE;
  }
  self->stats.evictions++;
  drop(self, victim);
  return true;
}

/* Room in the main part, at its expense while it has anything. */
static void make_room_firmly(shard *self, uint64_t weight) {
  while (!main_has_room(self, weight) || !has_room(self, weight)) {
    uint32_t victim = victim_of(self);
    victim = victim == NONE ? self->lists[WINDOW].oldest : victim;
    if (victim == NONE) {
      return; /* heavier than the main part is meant to be: all else is gone */
    }
    self->stats.evictions++;
    drop(self, victim);
  }
}

/* The number of a new entry, of nothing yet. There is room. */
static uint32_t take_entry(shard *self) {
  uint32_t at = self->free;
  if (at == NONE) {
    at = self->touched++;
  } else {
    self->free = self->entries[at].chain;
  }
  self->n++;
  self->stats.insertions++;
  return at;
}

static void add(shard *self, lfu_key key, const entry *filled, segment to) {
  list *window = &self->lists[WINDOW];
  uint32_t at = take_entry(self);
  self->entries[at] = *filled;
  self->entries[at].key = key;
  add_to_bucket(self, at);
  push_newest(self, at, to);
  while (window->weight > window->most && main_has_room(self, weight_of(self, window->oldest))) {
    move(self, window->oldest, PROBATION);
  }
}

static void add_value(shard *self, lfu_key key, const lfu_value *value) {
  while (!has_room(self, 1) && make_room(self, key, 1)) {
  }
  add(self, key, &(entry){.value = *value}, WINDOW);
}

static bool add_object(shard *self, lfu_key key, void *object, uint32_t weight, bool firmly) {
  if (weight > self->room) {
    self->stats.rejections++;
    return false;
  }
  if (firmly) {
    make_room_firmly(self, weight);
    for (int i = 0; i < FIRMLY_COUNTS; i++) {
      sketch_add(&self->asked, key.low);
    }
  }
  while (!has_room(self, weight)) {
    if (!make_room(self, key, weight)) {
      return false;
    }
  }
  self->how->hold(object);
  add(self, key, &(entry){.held = {.object = object, .weight = weight}},
      firmly ? PROBATION : WINDOW);
  return true;
}

/* --- the whole -------------------------------------------------------------------------------- */

static size_t shard_bytes(uint32_t capacity) {
  return sketch_bytes(capacity) + (size_t)capacity * (sizeof(entry) + sizeof(uint32_t)) + LINE;
}

static bool shard_init(shard *self, uint32_t capacity, uint64_t room, const lfu_objects *how) {
  *self = (shard){.capacity = capacity,
                  .room = room,
                  .how = how,
                  .free = NONE,
                  .memory = rr_calloc(1, shard_bytes(capacity))};
  if (self->memory == NULL) {
    return false;
  }
  char *memory = (char *)self->memory + (LINE - (uintptr_t)self->memory % LINE) % LINE;
  sketch_init(&self->asked, (uint64_t *)memory, capacity);
  self->entries = (entry *)(memory + sketch_bytes(capacity));
  self->buckets = (uint32_t *)(self->entries + capacity);
  for (int s = 0; s < SEGMENTS; s++) {
    self->lists[s] = (list){.newest = NONE, .oldest = NONE, .most = room};
  }
  uint64_t window = room / WINDOW_SHARE;
  self->lists[WINDOW].most = window;
  self->lists[PROTECTED].most = (room - window) * PROTECTED_NUM / PROTECTED_DEN;
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

/* Shards of so many entries and so much weight each. */
static rr_status create(uint32_t n_shards, uint32_t capacity, uint64_t room, const lfu_objects *how,
                        lfu **ret_cache, rr_error *err) {
  lfu *self = rr_calloc(1, sizeof *self);
  shard *shards = self == NULL ? NULL : rr_alloc_aligned(n_shards * sizeof *shards);
  if (shards == NULL) {
    rr_free(self);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a cache");
  }
  self->shards = shards;
  self->bytes = sizeof *self + n_shards * (sizeof *shards + shard_bytes(capacity));
  while (self->n_shards < n_shards && shard_init(&shards[self->n_shards], capacity, room, how)) {
    self->n_shards++;
  }
  if (self->n_shards < n_shards) {
    size_t bytes = self->bytes;
    lfu_destroy(self);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a cache of %zu bytes", bytes);
  }
  *ret_cache = self;
  return RR_OK;
}

rr_status lfu_create(size_t bytes, lfu **ret_cache, rr_error *err) {
  if (bytes < LFU_BYTES_MIN) {
    return rr_fail(err, RR_ERR_INPUT, "a cache of %zu bytes is too small: %d at least", bytes,
                   (int)LFU_BYTES_MIN);
  }
  uint32_t n_shards = 1;
  size_t left = bytes - sizeof(lfu) - LINE;
  while (n_shards < SHARDS_MAX && capacity_for(left / n_shards) >= 2 * SHARD_ENTRIES) {
    n_shards *= 2;
  }
  uint32_t capacity = capacity_for(left / n_shards);
  return create(n_shards, capacity, capacity, NULL, ret_cache, err);
}

rr_status lfu_create_for_objects(uint64_t weight, uint32_t entries, uint32_t shards,
                                 const lfu_objects *how, lfu **ret_cache, rr_error *err) {
  return create(shards, entries / shards, weight / shards, how, ret_cache, err);
}

void lfu_destroy(lfu *self) {
  if (self == NULL) {
    return;
  }
  for (uint32_t i = 0; i < self->n_shards; i++) {
    shard *s = &self->shards[i];
    for (int l = 0; s->how != NULL && l < SEGMENTS; l++) {
      while (s->lists[l].oldest != NONE) {
        drop(s, s->lists[l].oldest);
      }
    }
    (void)pthread_mutex_destroy(&s->lock);
    rr_free(s->memory);
  }
  rr_free(self->shards);
  rr_free(self);
}

/* Shard, bucket and counters come from different bits of the key. */
static shard *lock_shard(lfu *self, lfu_key key) {
  shard *found = &self->shards[(key.high >> 32) & (self->n_shards - 1)];
  (void)pthread_mutex_lock(&found->lock);
  return found;
}

/* The entry, or NONE; counted and touched. */
static uint32_t ask_for(shard *s, lfu_key key) {
  sketch_add(&s->asked, key.low);
  uint32_t at = look_up(s, key);
  if (at != NONE) {
    touch(s, at);
    s->stats.hits++;
  } else {
    s->stats.misses++;
  }
  return at;
}

bool lfu_find(lfu *self, lfu_key key, lfu_value *ret_value) {
  shard *s = lock_shard(self, key);
  uint32_t at = ask_for(s, key);
  if (at != NONE) {
    *ret_value = s->entries[at].value;
  }
  (void)pthread_mutex_unlock(&s->lock);
  return at != NONE;
}

void *lfu_find_object(lfu *self, lfu_key key) {
  shard *s = lock_shard(self, key);
  uint32_t at = ask_for(s, key);
  void *object = at == NONE ? NULL : s->entries[at].held.object;
  if (object != NULL) {
    s->how->hold(object);
  }
  (void)pthread_mutex_unlock(&s->lock);
  return object;
}

bool lfu_has(lfu *self, lfu_key key) {
  shard *s = lock_shard(self, key);
  bool there = look_up(s, key) != NONE;
  (void)pthread_mutex_unlock(&s->lock);
  return there;
}

void lfu_insert(lfu *self, lfu_key key, const lfu_value *value) {
  shard *s = lock_shard(self, key);
  if (look_up(s, key) == NONE) {
    add_value(s, key, value);
  }
  (void)pthread_mutex_unlock(&s->lock);
}

bool lfu_insert_object(lfu *self, lfu_key key, void *object, uint32_t weight, bool firmly) {
  shard *s = lock_shard(self, key);
  uint32_t at = look_up(s, key);
  bool stays = at != NONE && !firmly;
  if (at != NONE && firmly) {
    drop(s, at);
  }
  bool there = stays || add_object(s, key, object, weight, firmly);
  (void)pthread_mutex_unlock(&s->lock);
  return there;
}

void lfu_remove_object(lfu *self, lfu_key key) {
  shard *s = lock_shard(self, key);
  uint32_t at = look_up(s, key);
  if (at != NONE) {
    s->stats.evictions++;
    drop(s, at);
  }
  (void)pthread_mutex_unlock(&s->lock);
}

void lfu_read_stats(lfu *self, lfu_stats *ret_stats) {
  lfu_stats sum = {.bytes = self->bytes};
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
    sum.weight += total(s);
    sum.heaviest += s->room;
    (void)pthread_mutex_unlock(&s->lock);
  }
  *ret_stats = sum;
}
