#include "server/cache/sketch.h"

enum {
  ROWS = 4,
  BLOCK_WORDS = 8,               /* a cache line; a row has two of them */
  BLOCK_ENTRIES = 8,             /* cached entries that a block serves: a word each */
  FADE_ADDS = 10 * BLOCK_ENTRIES /* the paper's sample of ten times the cache's size */
};

static uint32_t blocks_for(uint32_t entries) { return entries / BLOCK_ENTRIES + 1; }

size_t sketch_bytes(uint32_t entries) {
  return (size_t)blocks_for(entries) * BLOCK_WORDS * sizeof(uint64_t);
}

void sketch_init(sketch *self, uint64_t *memory, uint32_t entries) {
  *self = (sketch){.words = memory, .n_blocks = blocks_for(entries)};
}

/* Where a key's counter of a row is: the word, and the bit at which its 4 bits begin. */
typedef struct place {
  uint64_t *word;
  unsigned shift;
} place;

/* The upper half of the hash chooses the block, each byte of the lower half a counter of one
 * row. */
static place place_of(const sketch *self, uint64_t hash, unsigned row) {
  uint64_t block = ((hash >> 32) * self->n_blocks) >> 32;
  unsigned choice = (unsigned)(hash >> (8 * row)) & 31u;
  return (place){.word = &self->words[block * BLOCK_WORDS + 2 * row + (choice & 1u)],
                 .shift = 4 * (choice >> 1)};
}

static unsigned read_at(place at) { return (unsigned)(*at.word >> at.shift) & 15u; }

unsigned sketch_estimate(const sketch *self, uint64_t hash) {
  unsigned least = SKETCH_COUNT_MAX;
  for (unsigned row = 0; row < ROWS; row++) {
    unsigned count = read_at(place_of(self, hash, row));
    least = count < least ? count : least;
  }
  return least;
}

static void fade(sketch *self) {
  if (++self->additions < FADE_ADDS) {
    return;
  }
  self->additions = 0;
  uint64_t *block = &self->words[(size_t)self->hand * BLOCK_WORDS];
  for (unsigned i = 0; i < BLOCK_WORDS; i++) {
    block[i] = (block[i] >> 1) & 0x7777777777777777u; /* 16 counters at once */
  }
  self->hand = self->hand + 1 == self->n_blocks ? 0 : self->hand + 1;
}

void sketch_add(sketch *self, uint64_t hash) {
  unsigned least = sketch_estimate(self, hash);
  if (least < SKETCH_COUNT_MAX) {
    for (unsigned row = 0; row < ROWS; row++) {
      place at = place_of(self, hash, row);
      if (read_at(at) == least) {
        *at.word += (uint64_t)1 << at.shift;
      }
    }
  }
  fade(self);
}
