#include "core/token/trie.h"

#include "core/base/alloc.h"

enum { FIRST_BITS = 10 };

static rr_trie_edge *new_edges(unsigned bits) {
  size_t slots = (size_t)1 << bits;
  rr_trie_edge *edges = rr_malloc(slots * sizeof *edges);
  if (edges != NULL) {
    for (size_t i = 0; i < slots; i++) {
      edges[i] = (rr_trie_edge){.key = RR_TRIE_FREE, .child = 0, .value = -1};
    }
  }
  return edges;
}

rr_status rr_trie_init(rr_trie *trie, rr_error *err) {
  rr_trie_edge *edges = new_edges(FIRST_BITS);
  if (edges == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the vocabulary");
  }
  *trie = (rr_trie){.edges = edges, .shift = 32 - FIRST_BITS, .nodes = 1};
  return RR_OK;
}

void rr_trie_finish(rr_trie *trie) {
  rr_free(trie->edges);
  trie->edges = NULL;
}

static rr_trie_edge *free_slot(rr_trie *trie, uint32_t key) {
  uint32_t mask = UINT32_MAX >> trie->shift;
  uint32_t slot = key * UINT32_C(0x9E3779B1) >> trie->shift;
  while (trie->edges[slot].key != RR_TRIE_FREE) {
    slot = (slot + 1) & mask;
  }
  return &trie->edges[slot];
}

static rr_status grow(rr_trie *trie, rr_error *err) {
  rr_trie_edge *old = trie->edges;
  size_t slots = (size_t)1 << (32 - trie->shift);
  rr_trie_edge *edges = new_edges(33 - trie->shift);
  if (edges == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the vocabulary");
  }
  trie->edges = edges;
  trie->shift--;
  for (size_t i = 0; i < slots; i++) {
    if (old[i].key != RR_TRIE_FREE) {
      *free_slot(trie, old[i].key) = old[i];
    }
  }
  rr_free(old);
  return RR_OK;
}

/* The edge from node by byte, made if it is not there. */
static rr_status extend(rr_trie *trie, uint32_t node, unsigned char byte, rr_trie_edge **ret_edge,
                        rr_error *err) {
  rr_trie_edge *edge = (rr_trie_edge *)rr_trie_step(trie, node, byte);
  if (edge == NULL) {
    if (trie->nodes >= RR_TRIE_NODES_MAX) {
      return rr_fail(err, RR_ERR_UNSUPPORTED, "the vocabulary's tokens are too long together");
    }
    /* At most half full, so that probing stays short. */
    if (trie->nodes >= (UINT32_C(1) << (31 - trie->shift))) {
      rr_status status = grow(trie, err);
      if (status != RR_OK) {
        return status;
      }
    }
    edge = free_slot(trie, node << 8 | byte);
    *edge = (rr_trie_edge){.key = node << 8 | byte, .child = trie->nodes++, .value = -1};
  }
  *ret_edge = edge;
  return RR_OK;
}

rr_status rr_trie_insert(rr_trie *trie, const char *string, size_t size, int32_t value,
                         rr_error *err) {
  uint32_t node = RR_TRIE_ROOT;
  rr_trie_edge *edge = NULL;
  for (size_t i = 0; i < size; i++) {
    rr_status status = extend(trie, node, (unsigned char)string[i], &edge, err);
    if (status != RR_OK) {
      return status;
    }
    node = edge->child;
  }
  edge->value = value;
  return RR_OK;
}

int32_t rr_trie_find(const rr_trie *trie, const char *string, size_t size) {
  uint32_t node = RR_TRIE_ROOT;
  int32_t value = -1;
  for (size_t i = 0; i < size; i++) {
    const rr_trie_edge *edge = rr_trie_step(trie, node, (unsigned char)string[i]);
    if (edge == NULL) {
      return -1;
    }
    node = edge->child;
    value = edge->value;
  }
  return value;
}
