#include "core/base/arena.h"

#include <stdint.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/budget.h"

enum { ALIGNMENT = 16, FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

struct rr_arena_block {
  struct rr_arena_block *next;
  size_t size; /* payload bytes */
  _Alignas(ALIGNMENT) unsigned char payload[];
};

void rr_arena_init(rr_arena *arena, size_t limit) { *arena = (rr_arena){.limit = limit}; }

void rr_arena_init_within(rr_arena *arena, rr_claim *claim) {
  *arena = (rr_arena){.limit = SIZE_MAX, .claim = claim};
}

void rr_arena_finish(rr_arena *arena) {
  struct rr_arena_block *block = arena->blocks;
  while (block != NULL) {
    struct rr_arena_block *next = block->next;
    rr_free(block);
    block = next;
  }
  if (arena->claim != NULL) {
    rr_claim_give(arena->claim, arena->total);
  }
  *arena = (rr_arena){.limit = arena->limit, .claim = arena->claim};
}

/* A block of the heap, counted. */
static struct rr_arena_block *take_block(rr_arena *arena, size_t size) {
  size_t bytes = sizeof(struct rr_arena_block) + size;
  if (arena->claim != NULL && !rr_claim_take(arena->claim, bytes)) {
    return NULL;
  }
  struct rr_arena_block *block = rr_malloc(bytes);
  if (block == NULL) {
    if (arena->claim != NULL) {
      rr_claim_give(arena->claim, bytes);
    }
    return NULL;
  }
  block->size = size;
  arena->total += bytes;
  return block;
}

/* The same, or one of what is needed where the claim grants no more. */
static struct rr_arena_block *take_block_or_less(rr_arena *arena, size_t size, size_t needed) {
  rr_claim *claim = arena->claim;
  rr_refusal before = claim == NULL ? RR_REFUSAL_NONE : claim->refused;
  if (claim != NULL) {
    claim->refused = RR_REFUSAL_NONE;
  }
  struct rr_arena_block *block = take_block(arena, size);
  if (block == NULL && size > needed && claim != NULL && claim->refused != RR_REFUSAL_NONE) {
    claim->refused = RR_REFUSAL_NONE;
    block = take_block(arena, needed);
  }
  if (claim != NULL && claim->refused == RR_REFUSAL_NONE) {
    claim->refused = before;
  }
  return block;
}

/* Blocks double with the arena, so that the number of heap calls stays logarithmic. */
static struct rr_arena_block *add_block(rr_arena *arena, size_t needed) {
  size_t size = arena->total < FIRST_BLOCK ? FIRST_BLOCK : arena->total;
  if (size > LARGEST_BLOCK) {
    size = LARGEST_BLOCK;
  }
  if (size < needed) {
    size = needed;
  }
  size_t room = arena->limit - arena->total;
  if (needed > room || sizeof(struct rr_arena_block) > room - needed) {
    return NULL;
  }
  if (size > room - sizeof(struct rr_arena_block)) {
    size = needed;
  }
  struct rr_arena_block *block = take_block_or_less(arena, size, needed);
  if (block == NULL) {
    return NULL;
  }
  block->next = arena->blocks;
  arena->blocks = block;
  arena->used = 0;
  return block;
}

void *rr_arena_alloc(rr_arena *arena, size_t size) {
  if (size > SIZE_MAX - ALIGNMENT) {
    return NULL;
  }
  size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  struct rr_arena_block *block = arena->blocks;
  if (block == NULL || rounded > block->size - arena->used) {
    block = add_block(arena, rounded);
    if (block == NULL) {
      return NULL;
    }
  }
  void *memory = block->payload + arena->used;
  arena->used += rounded;
  return memory;
}

void *rr_arena_calloc(rr_arena *arena, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    return NULL;
  }
  void *memory = rr_arena_alloc(arena, bytes);
  return memory == NULL ? NULL : memset(memory, 0, bytes);
}

char *rr_arena_strndup(rr_arena *arena, const char *data, size_t size) {
  if (size == SIZE_MAX) {
    return NULL;
  }
  char *copy = rr_arena_alloc(arena, size + 1);
  if (copy == NULL) {
    return NULL;
  }
  if (size > 0) {
    memcpy(copy, data, size);
  }
  copy[size] = '\0';
  return copy;
}
