/* The BERT normalizer as a stream of code points: text cleaning, spaces around Han characters,
 * accent stripping (NFD without nonspacing marks) and lower-casing, in that order. */
#ifndef RR_CORE_TOKEN_NORMALIZE_H
#define RR_CORE_TOKEN_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/token/unicode.h"

/* Words of more characters become the unknown token; no file may ask for more than this. */
enum { RR_WORD_CHARS_MAX = 1000 };

typedef struct rr_normalizer {
  bool clean_text;
  bool handle_chinese_chars;
  bool strip_accents;
  bool lowercase;
} rr_normalizer;

/* Receives the normalized text, code point by code point, with its flags. */
typedef void (*rr_code_point_sink)(void *sink, uint32_t c, unsigned flags);

/* One text on its way through; belongs to one thread. */
typedef struct rr_normalization {
  rr_normalizer normalizer;
  const rr_unicode *unicode;
  rr_code_point_sink put;
  void *sink;
  size_t waiting_limit;
  size_t waiting_size; /* combining characters not yet put, as their order is open */
  uint32_t waiting[RR_WORD_CHARS_MAX + 1]; /* class << 24 | code point */
} rr_normalization;

/* word_chars_max (at most RR_WORD_CHARS_MAX): a run of combining characters longer than that need
 * not come out in canonical order, as no word holds it. */
void rr_normalization_init(rr_normalization *run, rr_normalizer normalizer,
                           const rr_unicode *unicode, size_t word_chars_max, rr_code_point_sink put,
                           void *sink);

/* Takes the next code point. */
void rr_normalization_add(rr_normalization *run, uint32_t c);

/* Puts what still waits; to be called at the text's end. */
void rr_normalization_flush(rr_normalization *run);

#endif
