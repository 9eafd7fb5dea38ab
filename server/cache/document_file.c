#include "server/cache/document_file.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/alloc.h"
#include "server/cache/document_format.h"

enum { READ_ENTRIES = 1024, VISIT_ENTRIES = 64 };

/* The document of one sequence number, in the slot of that number. */
typedef struct slot {
  uint8_t key[DOCUMENT_KEY_BYTES];
  uint8_t content[DOCUMENT_CHECK_BYTES];
  uint64_t position; /* never given twice, so that it tells one document from all others */
  uint32_t size;     /* 0: none, or forgotten */
  uint32_t next;     /* in its bucket: slot + 1, 0: none. While open reads: how often the ring was
                        filled before */
} slot;

struct document_file {
  int descriptor;
  char *path;
  document_head head;
  document_layout layout;
  uint64_t bucket_seed; /* of this process: nobody can choose keys that share a bucket */
  uint32_t bucket_mask;
  slot *slots;           /* both cleared, and so taking no memory where they were never used */
  uint32_t *buckets;     /* slot + 1, 0: none */
  pthread_mutex_t write; /* one put at a time; taken before `lock` */
  pthread_mutex_t lock;  /* all below, and the slots */
  uint64_t oldest;       /* sequence numbers from oldest to before next may have a document */
  uint64_t next;
  uint64_t end; /* where the next document begins */
  document_file_stats stats;
};

/* --- the index; under the lock ---------------------------------------------------------------- */

static uint32_t *bucket_of(document_file *self, const uint8_t *key) {
  uint64_t hash = XXH3_64bits_withSeed(key, DOCUMENT_KEY_BYTES, self->bucket_seed);
  return &self->buckets[hash & self->bucket_mask];
}

static slot *look_up(document_file *self, const uint8_t *key) {
  uint32_t at = *bucket_of(self, key);
  while (at != 0 && memcmp(self->slots[at - 1].key, key, DOCUMENT_KEY_BYTES) != 0) {
    at = self->slots[at - 1].next;
  }
  return at == 0 ? NULL : &self->slots[at - 1];
}

static void link_slot(document_file *self, uint32_t at) {
  uint32_t *bucket = bucket_of(self, self->slots[at].key);
  self->slots[at].next = *bucket;
  *bucket = at + 1;
  self->stats.entries++;
  self->stats.bytes += self->slots[at].size;
}

static void forget(document_file *self, slot *gone) {
  uint32_t *link = bucket_of(self, gone->key);
  while (&self->slots[*link - 1] != gone) {
    link = &self->slots[*link - 1].next;
  }
  *link = gone->next;
  self->stats.entries--;
  self->stats.bytes -= gone->size;
  gone->size = 0;
}

static slot *slot_of(document_file *self, uint64_t sequence) {
  return &self->slots[sequence % self->layout.slots];
}

/* For a document of so many bytes: a slot, and bytes of the ring. */
static void make_room(document_file *self, size_t size) {
  while (self->oldest < self->next) {
    slot *last = slot_of(self, self->oldest);
    bool needed = self->next - self->oldest >= self->layout.slots ||
                  (last->size > 0 && last->position + self->layout.capacity < self->end + size);
    if (!needed && last->size > 0) {
      return;
    }
    if (last->size > 0) {
      forget(self, last);
      self->stats.evicted++;
    }
    self->oldest++;
  }
}

/* On the disk, so that it does not come back. Only who holds `write`, or opens, so that the slot is
 * nobody else's. */
static void clear_entry(document_file *self, uint32_t at) {
  static const document_entry clear;
  (void)document_write_at(
      self->descriptor, &clear, sizeof clear,
      DOCUMENT_HEAD_BYTES + (uint64_t)at * sizeof clear); /* failing, it is as after a power cut */
}

/* --- open and close --------------------------------------------------------------------------- */

/* Keeps an entry in its slot, though not yet in the index. */
static void take_entry(document_file *self, const document_entry *entry, uint32_t at) {
  if (document_entry_is_clear(entry)) {
    return;
  }
  if (!document_entry_is_sound(entry, at, &self->layout, self->head.seed)) {
    self->stats.discarded++;
    return;
  }
  slot *to = &self->slots[at];
  memcpy(to->key, entry->key, sizeof to->key);
  memcpy(to->content, entry->content, sizeof to->content);
  to->position = entry->position;
  to->size = entry->size;
  to->next = (uint32_t)(entry->sequence / self->layout.slots);
  if (entry->sequence >= self->next) {
    self->next = entry->sequence + 1;
    self->end = entry->position + entry->size;
  }
}

static rr_status read_directory(document_file *self, rr_error *err) {
  document_entry *entries = rr_malloc(READ_ENTRIES * sizeof *entries);
  if (entries == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%.150s: out of memory", self->path);
  }
  rr_status status = RR_OK;
  for (uint32_t at = 0; status == RR_OK && at < self->layout.slots; at += READ_ENTRIES) {
    uint32_t left = self->layout.slots - at;
    uint32_t n = left < READ_ENTRIES ? left : READ_ENTRIES;
    if (!document_read_at(self->descriptor, entries, n * sizeof *entries,
                          DOCUMENT_HEAD_BYTES + (uint64_t)at * sizeof *entries)) {
      status = rr_fail(err, RR_ERR_IO, "%.150s: %s", self->path,
                       errno == 0 ? "cut while opened" : strerror(errno));
      break;
    }
    for (uint32_t i = 0; i < n; i++) {
      take_entry(self, &entries[i], at + i);
    }
  }
  rr_free(entries);
  return status;
}

/* From the newest back: what is whole, in its order, and not written over. Of two of one key the
 * newer counts. */
static void build_index(document_file *self) {
  uint64_t begin = self->end; /* of the one after */
  uint64_t last = self->next - 1;
  self->oldest = self->next;
  for (uint64_t back = 0; back < self->layout.slots && back < last; back++) {
    uint64_t sequence = last - back;
    slot *at = slot_of(self, sequence);
    if (at->size == 0) {
      continue;
    }
    bool in_order = at->next == sequence / self->layout.slots && at->position + at->size <= begin;
    bool there = at->position + self->layout.capacity >= self->end;
    bool replaced = in_order && there && look_up(self, at->key) != NULL;
    if (!in_order || !there || replaced) {
      self->stats.discarded += in_order ? 0 : 1;
      at->size = 0;
      if (replaced) {
        clear_entry(self, (uint32_t)(at - self->slots));
      }
      continue;
    }
    link_slot(self, (uint32_t)(at - self->slots));
    begin = at->position;
    self->oldest = sequence;
  }
}

static rr_status allocate(document_file *self, rr_error *err) {
  uint32_t buckets = 1;
  while (buckets < self->layout.slots) {
    buckets *= 2;
  }
  self->bucket_mask = buckets - 1;
  self->slots = rr_calloc(self->layout.slots, sizeof *self->slots);
  self->buckets = self->slots == NULL ? NULL : rr_calloc(buckets, sizeof *self->buckets);
  if (self->buckets == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%.150s: out of memory for %u documents", self->path,
                   self->layout.slots);
  }
  return RR_OK;
}

rr_status document_file_open(const char *path,
                             const uint8_t fingerprint[DOCUMENT_FINGERPRINT_BYTES],
                             uint64_t max_bytes, document_file **ret_file, rr_error *err) {
  document_file *self = rr_calloc(1, sizeof *self);
  if (self == NULL || (self->path = rr_strdup(path)) == NULL) {
    rr_free(self);
    return rr_fail(err, RR_ERR_MEMORY, "%.150s: out of memory", path);
  }
  self->descriptor = -1;
  self->oldest = self->next = 1;
  (void)pthread_mutex_init(&self->write, NULL);
  (void)pthread_mutex_init(&self->lock, NULL);
  rr_status status = document_format_open(path, fingerprint, max_bytes, &self->descriptor,
                                          &self->head, &self->stats.emptied, err);
  if (status == RR_OK) {
    self->layout = document_layout_of(max_bytes);
    self->stats.capacity = self->layout.capacity;
    status = allocate(self, err);
  }
  if (status == RR_OK && getrandom(&self->bucket_seed, sizeof self->bucket_seed, 0) < 0) {
    status =
        rr_fail(err, RR_ERR_IO, "no random bytes for a file of documents: %s", strerror(errno));
  }
  status = status != RR_OK ? status : read_directory(self, err);
  if (status != RR_OK) {
    document_file_close(self);
    return status;
  }
  build_index(self);
  *ret_file = self;
  return RR_OK;
}

void document_file_close(document_file *self) {
  if (self == NULL) {
    return;
  }
  if (self->descriptor >= 0) {
    (void)close(self->descriptor);
  }
  (void)pthread_mutex_destroy(&self->write);
  (void)pthread_mutex_destroy(&self->lock);
  rr_free(self->slots);
  rr_free(self->buckets);
  rr_free(self->path);
  rr_free(self);
}

/* --- read and put ----------------------------------------------------------------------------- */

const uint8_t *document_file_secret(const document_file *self) { return self->head.secret; }

size_t document_file_largest(const document_file *self) { return self->layout.largest; }

/* A copy of what is known of the document; of size 0 where nothing is. */
static slot look(document_file *self, const uint8_t *key) {
  slot seen = {.size = 0};
  (void)pthread_mutex_lock(&self->lock);
  const slot *at = look_up(self, key);
  if (at != NULL) {
    seen = *at;
  }
  (void)pthread_mutex_unlock(&self->lock);
  return seen;
}

bool document_file_has(document_file *self, const uint8_t key[DOCUMENT_KEY_BYTES],
                       size_t *ret_size) {
  slot seen = look(self, key);
  if (seen.size > 0 && ret_size != NULL) {
    *ret_size = seen.size;
  }
  return seen.size > 0;
}

/* A document that is gone by now was not damaged: a put may have written over what was being
 * read. */
static void count_damaged(document_file *self, const slot *seen) {
  (void)pthread_mutex_lock(&self->lock);
  slot *at = look_up(self, seen->key);
  if (at != NULL && at->position == seen->position) {
    forget(self, at);
    self->stats.damaged++;
  }
  (void)pthread_mutex_unlock(&self->lock);
}

static void count_read(document_file *self, bool found) {
  (void)pthread_mutex_lock(&self->lock);
  self->stats.hits += found ? 1 : 0;
  self->stats.misses += found ? 0 : 1;
  (void)pthread_mutex_unlock(&self->lock);
}

/* Whether the bytes of a document that was there a moment ago are what was put. */
static bool read_document(document_file *self, const slot *seen, void *to) {
  uint8_t check[DOCUMENT_CHECK_BYTES];
  if (document_ring_read(self->descriptor, &self->layout, to, seen->size, seen->position)) {
    document_content_check(to, seen->size, self->head.seed, check);
    if (memcmp(check, seen->content, sizeof check) == 0) {
      return true;
    }
  }
  count_damaged(self, seen);
  return false;
}

bool document_file_read(document_file *self, const uint8_t key[DOCUMENT_KEY_BYTES], void *to,
                        size_t size) {
  slot seen = look(self, key);
  bool found = seen.size > 0 && seen.size == size && read_document(self, &seen, to);
  count_read(self, found);
  return found;
}

/* Its bytes, then its entry. */
static bool write_document(document_file *self, const document_entry *entry, const void *bytes) {
  uint64_t at = entry->sequence % self->layout.slots;
  return document_ring_write(self->descriptor, &self->layout, bytes, entry->size,
                             entry->position) &&
         document_write_at(self->descriptor, entry, sizeof *entry,
                           DOCUMENT_HEAD_BYTES + at * sizeof *entry);
}

static void add(document_file *self, const document_entry *entry) {
  uint32_t at = (uint32_t)(entry->sequence % self->layout.slots);
  slot *to = &self->slots[at];
  memcpy(to->key, entry->key, sizeof to->key);
  memcpy(to->content, entry->content, sizeof to->content);
  to->position = entry->position;
  to->size = entry->size;
  link_slot(self, at);
  self->next = entry->sequence + 1;
  self->end = entry->position + entry->size;
  self->stats.puts++;
}

/* Whether there is no need to write: one is there that is to stay, or is the same. */
static bool is_kept(const slot *at, const document_entry *entry, bool replace) {
  return at != NULL && (!replace || (at->size == entry->size &&
                                     memcmp(at->content, entry->content, sizeof at->content) == 0));
}

/* Forgets what there is under the key and, if there is one, adds `entry` in its place: nobody sees
 * neither. */
static void take_place(document_file *self, const uint8_t *key, const document_entry *entry) {
  (void)pthread_mutex_lock(&self->lock);
  slot *old = look_up(self, key);
  uint32_t at = old == NULL ? 0 : (uint32_t)(old - self->slots);
  if (old != NULL) {
    forget(self, old);
    self->stats.replaced++;
  }
  if (entry != NULL) {
    add(self, entry);
  } else {
    self->stats.failed++;
  }
  (void)pthread_mutex_unlock(&self->lock);
  if (old != NULL) {
    clear_entry(self, at);
  }
}

/* Under `write`, so that no other put is between room that was made and an entry that uses it. */
static rr_status put_new(document_file *self, document_entry *entry, const void *bytes,
                         bool replace, rr_error *err) {
  (void)pthread_mutex_lock(&self->lock);
  bool kept = is_kept(look_up(self, entry->key), entry, replace);
  if (!kept) {
    make_room(self, entry->size);
    entry->sequence = self->next;
    entry->position = self->end;
  }
  (void)pthread_mutex_unlock(&self->lock);
  if (kept) {
    return RR_OK;
  }
  entry->check = document_entry_check(entry, self->head.seed);
  bool written = write_document(self, entry, bytes);
  int problem = errno;
  take_place(self, entry->key, written ? entry : NULL);
  return written ? RR_OK : rr_fail(err, RR_ERR_IO, "%.150s: %s", self->path, strerror(problem));
}

static rr_status refuse(document_file *self, const uint8_t *key, size_t size, bool replace,
                        rr_error *err) {
  if (replace) {
    (void)pthread_mutex_lock(&self->write);
    take_place(self, key, NULL);
    (void)pthread_mutex_unlock(&self->write);
  }
  return rr_fail(err, RR_ERR_INPUT, "%.150s: a document of %zu bytes, where 1 to %zu may be",
                 self->path, size, self->layout.largest);
}

rr_status document_file_put(document_file *self, const uint8_t key[DOCUMENT_KEY_BYTES],
                            const void *bytes, size_t size, bool replace, rr_error *err) {
  if (size == 0 || size > self->layout.largest) {
    return refuse(self, key, size, replace, err);
  }
  if (!replace && document_file_has(self, key, NULL)) {
    return RR_OK;
  }
  document_entry entry = {.size = (uint32_t)size};
  memcpy(entry.key, key, sizeof entry.key);
  document_content_check(bytes, size, self->head.seed, entry.content);
  (void)pthread_mutex_lock(&self->write);
  rr_status status = put_new(self, &entry, bytes, replace, err);
  (void)pthread_mutex_unlock(&self->write);
  return status;
}

/* --- looking at all --------------------------------------------------------------------------- */

typedef struct seen_document {
  uint8_t key[DOCUMENT_KEY_BYTES];
  size_t size;
} seen_document;

/* The next ones before *before, which is moved back. Returns how many; 0: there are no more. */
static size_t look_back(document_file *self, uint64_t *before, seen_document seen[VISIT_ENTRIES]) {
  size_t n = 0;
  (void)pthread_mutex_lock(&self->lock);
  uint64_t sequence = *before < self->next ? *before : self->next;
  while (n < VISIT_ENTRIES && sequence > self->oldest) {
    const slot *at = slot_of(self, --sequence);
    if (at->size > 0) {
      memcpy(seen[n].key, at->key, sizeof seen[n].key);
      seen[n++].size = at->size;
    }
  }
  (void)pthread_mutex_unlock(&self->lock);
  *before = sequence;
  return n;
}

void document_file_visit(document_file *self,
                         bool (*visit)(void *context, const uint8_t key[DOCUMENT_KEY_BYTES],
                                       size_t size),
                         void *context) {
  seen_document seen[VISIT_ENTRIES];
  uint64_t before = UINT64_MAX;
  size_t n;
  while ((n = look_back(self, &before, seen)) > 0) {
    for (size_t i = 0; i < n; i++) {
      if (!visit(context, seen[i].key, seen[i].size)) {
        return;
      }
    }
  }
}

void document_file_read_stats(document_file *self, document_file_stats *ret_stats) {
  (void)pthread_mutex_lock(&self->lock);
  *ret_stats = self->stats;
  (void)pthread_mutex_unlock(&self->lock);
}
