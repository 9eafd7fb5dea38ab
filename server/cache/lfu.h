/* A bounded map from 128-bit keys: to what is known of a scored text, or to objects of the
 * caller's, each of which weighs so many bytes. Which entries stay is decided by how often their
 * keys were asked for lately, so that a flood of texts that nobody asks for again drives out
 * nothing that is in use.
 *
 * Policy: W-TinyLFU (Einziger, Friedman, Manes, "TinyLFU: A Highly Efficient Cache Admission
 * Policy", ACM Transactions on Storage 13 (4), 2017). A new entry goes into a window, least
 * recently used first out. What leaves the window enters the main part only if its key was asked
 * for more often than that of the entry which would have to go. The main part is a segmented LRU: a
 * second hit moves an entry to the protected segment.
 *
 * 1. All memory is taken by lfu_create and is at most the bytes it was told, locks, index and
 *    sketch included. Nothing else allocates. Objects are the caller's: the cache holds them, and
 *    says when it no longer does.
 * 2. Every other operation takes the same few steps whatever the cache holds: no loop over entries,
 *    but the chain of one bucket; and of objects, as many as have to go for a heavier one.
 * 3. Any thread may call anything but lfu_destroy. Keys are spread over shards, each with a lock of
 *    its own that is held for these steps alone.
 * 4. An entry is found under its whole key only. Keys must be as good as random: whoever can choose
 *    them can make chains long.
 */
#ifndef RR_SERVER_CACHE_LFU_H
#define RR_SERVER_CACHE_LFU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

enum { LFU_BYTES_MIN = 65536 };

typedef struct lfu lfu;

typedef struct lfu_key {
  uint64_t high;
  uint64_t low;
} lfu_key;

/* What an answer tells of a text and its score. 16 bytes, as much as an object takes. */
typedef struct lfu_value {
  float raw;                  /* logit or cosine */
  uint32_t text_tokens;       /* the text's own, before truncation */
  uint32_t length : 31;       /* tokens of the sequence */
  uint32_t truncated : 1;     /* the sequence lost tokens */
  uint32_t query_length : 31; /* of the query where it is a sequence of its own, else 0 */
  uint32_t query_truncated : 1;
} lfu_value;

typedef struct lfu_stats {
  uint64_t hits; /* of lfu_find */
  uint64_t misses;
  uint64_t insertions;
  uint64_t evictions;  /* entries of the main part that made room for one asked for more often */
  uint64_t rejections; /* entries that left the window and were asked for too rarely */
  uint64_t entries;
  uint64_t capacity; /* entries, at most */
  uint64_t bytes;    /* taken, whatever it holds; objects do not count */
  uint64_t weight;   /* of the entries; of scores each 1 */
  uint64_t heaviest; /* weight that all entries together may have */
} lfu_stats;

/* How objects are held. Called under a lock, by any thread: they call nothing of the cache, and
 * take microseconds. */
typedef struct lfu_objects {
  void (*hold)(void *object);    /* one holder more */
  void (*release)(void *object); /* one fewer */
} lfu_objects;

/* bytes: at least LFU_BYTES_MIN (RR_ERR_INPUT). *ret_cache is freed by lfu_destroy. RR_ERR_MEMORY
 * when the heap is exhausted. The kernel gives the pages as entries come. */
rr_status lfu_create(size_t bytes, lfu **ret_cache, rr_error *err);
void lfu_destroy(lfu *self); /* NULL is allowed */

/* A cache of objects that weigh at most `weight` together, each at most 2^32 - 1; of at most
 * `entries`, for which it takes 60 bytes each. Spread over `shards`, a power of two up to 16: an
 * object that weighs more than a shard's part is not kept. `how` is borrowed. */
rr_status lfu_create_for_objects(uint64_t weight, uint32_t entries, uint32_t shards,
                                 const lfu_objects *how, lfu **ret_cache, rr_error *err);

/* Looks a key up, and counts that it was asked for, found or not. */
bool lfu_find(lfu *self, lfu_key key, lfu_value *ret_value);

/* Adds an entry; it may soon be gone. One that is there stays as it is: equal keys mean equal
 * values. */
void lfu_insert(lfu *self, lfu_key key, const lfu_value *value);

/* The same of an object, held once more for the caller; NULL: not there. */
void *lfu_find_object(lfu *self, lfu_key key);

/* Whether there is an entry; nobody counts that. */
bool lfu_has(lfu *self, lfu_key key);

/* Adds an object, holding it. firmly: it passes by the window, whatever it drives out, counts as
 * asked for several times, and takes the place of one that is there; else one that is there stays.
 * Returns whether it is there now. */
bool lfu_insert_object(lfu *self, lfu_key key, void *object, uint32_t weight, bool firmly);

/* Lets go of an object, if it is there. */
void lfu_remove_object(lfu *self, lfu_key key);

/* Sums over all shards, one after the other. */
void lfu_read_stats(lfu *self, lfu_stats *ret_stats);

#endif
