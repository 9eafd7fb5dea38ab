/* Finding the texts of a request that are the same, byte for byte: each is scored once. */
#ifndef RR_CORE_SCORE_UNIQUE_H
#define RR_CORE_SCORE_UNIQUE_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/text.h"

/* Numbers the different texts 0, 1, 2, … in the order of their first appearance. Returns an array
 * of n (below 2^31) with each text's number, in the arena, and how many there are in *ret_unique;
 * NULL when the arena is exhausted. `seed` should be unknown to whoever writes the texts: it keeps
 * them from choosing texts that collide. Linear in the texts' size. */
uint32_t *rr_unique_texts(const rr_text *texts, size_t n, uint64_t seed, rr_arena *arena,
                          size_t *ret_unique);

#endif
