/* A set of byte strings with a value each, for longest-prefix matching.
 *
 * Edges live in one open-addressing table keyed by (node, byte), so that a step costs one look-up.
 * Immutable once built; any thread may then read it. */
#ifndef RR_CORE_TOKEN_TRIE_H
#define RR_CORE_TOKEN_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

enum { RR_TRIE_ROOT = 0, RR_TRIE_NODES_MAX = 0xFFFFFF };

typedef struct rr_trie_edge {
  uint32_t key;   /* node << 8 | byte, or RR_TRIE_FREE */
  uint32_t child; /* node the edge leads to */
  int32_t value;  /* of the string that ends there, or -1 */
} rr_trie_edge;

#define RR_TRIE_FREE UINT32_MAX

typedef struct rr_trie {
  rr_trie_edge *edges;
  unsigned shift; /* 32 - log2 of the number of slots */
  uint32_t nodes;
} rr_trie;

rr_status rr_trie_init(rr_trie *trie, rr_error *err);
void rr_trie_finish(rr_trie *trie); /* also fine for an all-zero trie */

/* The value (>= 0) replaces that of an equal string. size must not be 0. Errors: RR_ERR_MEMORY,
 * RR_ERR_UNSUPPORTED (too many nodes). After an error the trie is good only to be finished. */
rr_status rr_trie_insert(rr_trie *trie, const char *string, size_t size, int32_t value,
                         rr_error *err);

/* The edge from node by byte, or NULL. */
static inline const rr_trie_edge *rr_trie_step(const rr_trie *trie, uint32_t node,
                                               unsigned char byte) {
  uint32_t key = node << 8 | byte;
  uint32_t mask = UINT32_MAX >> trie->shift;
  uint32_t slot = key * UINT32_C(0x9E3779B1) >> trie->shift;
  while (trie->edges[slot].key != key) {
    if (trie->edges[slot].key == RR_TRIE_FREE) {
      return NULL;
    }
    slot = (slot + 1) & mask;
  }
  return &trie->edges[slot];
}

/* The value of string, or -1 if it is not in the set. */
int32_t rr_trie_find(const rr_trie *trie, const char *string, size_t size);

#endif
