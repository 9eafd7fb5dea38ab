/* A bump allocator: one a request, freed as a whole.
 *
 * 1. An arena belongs to one thread at a time; handing it on needs a queue or a join between.
 * 2. Memory stays valid until rr_arena_finish; nothing is freed singly.
 * 3. The bytes taken from the heap never exceed `limit`, nor what its claim grants where it has one
 *    (core/base/budget.h).
 */
#ifndef RR_CORE_BASE_ARENA_H
#define RR_CORE_BASE_ARENA_H

#include <stddef.h>

struct rr_arena_block;
struct rr_claim;

typedef struct rr_arena {
  struct rr_arena_block *blocks; /* newest first */
  size_t used;                   /* bytes used of the newest block's payload */
  size_t total;                  /* bytes taken from the heap */
  size_t limit;                  /* upper bound of total */
  struct rr_claim *claim;        /* counts total too; NULL: none */
} rr_arena;

/* Prepares an empty arena in the caller's memory; allocates nothing. */
void rr_arena_init(rr_arena *arena, size_t limit);

/* The same with a claim, which outlives the arena, for a bound. */
void rr_arena_init_within(rr_arena *arena, struct rr_claim *claim);

/* Frees everything; the arena may be used again as if just initialised. */
void rr_arena_finish(rr_arena *arena);

/* 16-byte aligned, uncleared memory of at least `size` bytes, owned by the arena; NULL when the
 * heap,
 * the limit or the claim is exhausted. */
void *rr_arena_alloc(rr_arena *arena, size_t size);

/* As rr_arena_alloc for count * size bytes, cleared; NULL also when the product overflows. */
void *rr_arena_calloc(rr_arena *arena, size_t count, size_t size);

/* A terminated copy of `size` bytes of `data`. */
char *rr_arena_strndup(rr_arena *arena, const char *data, size_t size);

#endif
