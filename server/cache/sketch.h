/* How often keys were seen lately, roughly and in little memory: a count-min sketch whose counters
 * fade.
 *
 * Four rows of 4-bit counters, minimal increment, all of a key's counters in one cache line. A
 * count is never too small but for fading: block after block is halved, each once while ten times
 * as many keys as the cache holds are added, so that what was popular long ago is forgotten and no
 * addition takes long. After Einziger, Friedman, Manes, "TinyLFU: A Highly Efficient Cache
 * Admission Policy", ACM Transactions on Storage 13 (4), 2017.
 *
 * Not locked: the caller's matter.
 */
#ifndef RR_SERVER_CACHE_SKETCH_H
#define RR_SERVER_CACHE_SKETCH_H

#include <stddef.h>
#include <stdint.h>

enum { SKETCH_COUNT_MAX = 15 };

typedef struct sketch {
  uint64_t *words; /* borrowed */
  uint32_t n_blocks;
  uint32_t additions; /* since a block was last halved */
  uint32_t hand;      /* the block that is halved next */
} sketch;

/* Bytes that a sketch for a cache of so many entries wants. */
size_t sketch_bytes(uint32_t entries);

/* memory: sketch_bytes(entries) zeros, best aligned to 64. It must outlive the sketch. */
void sketch_init(sketch *self, uint64_t *memory, uint32_t entries);

/* Counts a key once more. hash: as good as random, also in parts. */
void sketch_add(sketch *self, uint64_t hash);

/* 0 to SKETCH_COUNT_MAX. */
unsigned sketch_estimate(const sketch *self, uint64_t hash);

#endif
