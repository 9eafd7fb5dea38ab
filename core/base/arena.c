#include "core/base/arena.h"

#include <stdint.h>
#include <string.h>

#include "core/base/alloc.h"

enum { ALIGNMENT = 16, FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

struct rr_arena_block {
  struct rr_arena_block *next;
  size_t size; /* payload bytes */
  _Alignas(ALIGNMENT) unsigned char payload[];
};

void rr_arena_init(rr_arena *arena, size_t limit) {
  *arena = (rr_arena){.limit = limit};
}

void rr_arena_finish(rr_arena *arena) {
  struct rr_arena_block *block = arena->blocks;
  while (block != NULL) {
    struct rr_arena_block *next = block->next;
    rr_free(block);
    block = next;
  }
  rr_arena_init(arena, arena->limit);
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
  struct rr_arena_block *block = rr_malloc(sizeof *block + size);
  if (block == NULL) {
    return NULL;
  }
  block->next = arena->blocks;
  block->size = size;
  arena->blocks = block;
  arena->used = 0;
  arena->total += sizeof *block + size;
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
