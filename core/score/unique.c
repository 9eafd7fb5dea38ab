#include "core/score/unique.h"

#include <stdbool.h>
#include <string.h>

/* An entry of the table: text number `text`, 1 more than its index; 0 is an empty one. */
typedef struct slot {
  uint64_t hash;
  uint32_t text;
} slot;

/* Two rounds of multiply and fold over 8 bytes at a time. */
static uint64_t mix(uint64_t a, uint64_t b) {
  __uint128_t product = (__uint128_t)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_text(rr_text text, uint64_t seed) {
  const uint64_t odd = 0x9e3779b97f4a7c15u;
  uint64_t hash = mix(seed ^ odd, text.size + odd);
  for (size_t at = 0; at < text.size; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    size_t left = text.size - at;
    memcpy(&word, text.data + at, left < sizeof word ? left : sizeof word);
    hash = mix(hash ^ word, seed | 1u) + odd;
  }
  return mix(hash, odd);
}

static bool same(rr_text a, rr_text b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

uint32_t *rr_unique_texts(const rr_text *texts, size_t n, uint64_t seed, rr_arena *arena,
                          size_t *ret_unique) {
  size_t capacity = 4;
  while (capacity < 2 * n) {
    capacity *= 2;
  }
  uint32_t *numbers = rr_arena_calloc(arena, n, sizeof *numbers);
  slot *table = rr_arena_calloc(arena, capacity, sizeof *table);
  if (numbers == NULL || table == NULL) {
    return NULL;
  }
  size_t unique = 0;
  for (size_t i = 0; i < n; i++) {
    uint64_t hash = hash_text(texts[i], seed);
    size_t at = hash & (capacity - 1);
    while (table[at].text != 0 &&
           (table[at].hash != hash || !same(texts[table[at].text - 1], texts[i]))) {
      at = (at + 1) & (capacity - 1);
    }
    if (table[at].text == 0) {
      table[at] = (slot){.hash = hash, .text = (uint32_t)i + 1};
      numbers[i] = (uint32_t)unique++;
    } else {
      numbers[i] = numbers[table[at].text - 1];
    }
  }
  *ret_unique = unique;
  return numbers;
}
