/* What the reference tokenizer (Hugging Face tokenizers) takes each code point for, and UTF-8.
 *
 * The reference mixes crates of different Unicode versions, so its view of a code point is no
 * single Unicode version's. unicode_table.c holds that view for every code point; the mappings
 * themselves (decomposition, lower case, combining class) come from utf8proc, and only for code
 * points that the table names, so that a newer utf8proc changes nothing. */
#ifndef RR_CORE_TOKEN_UNICODE_H
#define RR_CORE_TOKEN_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/base/text.h"

enum {
  RR_UNICODE_REMOVED = 1 << 0,     /* text cleaning drops it */
  RR_UNICODE_SPACE = 1 << 1,       /* separates words */
  RR_UNICODE_MARK = 1 << 2,        /* a nonspacing mark, dropped with accents */
  RR_UNICODE_PUNCTUATION = 1 << 3, /* a word of its own */
  RR_UNICODE_HAN = 1 << 4,         /* gets spaces around it */
  RR_UNICODE_WORD = 1 << 5,        /* hides a single_word added token beside it */
  RR_UNICODE_DECOMPOSES = 1 << 6,  /* NFD changes it */
  RR_UNICODE_LOWERS = 1 << 7,      /* lower-casing changes it */
  RR_UNICODE_COMBINING = 1 << 8,   /* its canonical combining class is not 0 */
};

enum {
  RR_UNICODE_FLAG_BITS = 11, /* of an entry of rr_unicode_ranges */
  RR_UNICODE_BLOCKS = 0x110000 / 256,
  RR_UNICODE_DECOMPOSED_MAX = 4, /* code points of the longest canonical decomposition */
  RR_UNICODE_LOWERED_MAX = 2,
};

/* Generated: ranges as first code point << RR_UNICODE_FLAG_BITS | flags, each up to the next
 * one. */
extern const uint32_t rr_unicode_ranges[];
extern const size_t rr_unicode_range_count;

/* Generated: where utf8proc's mapping is not the reference's. */
typedef struct rr_unicode_mapping {
  uint32_t from;
  uint32_t flag;  /* which mapping: RR_UNICODE_LOWERS, _DECOMPOSES or _COMBINING */
  uint32_t to[2]; /* 0: none; for _COMBINING the class */
} rr_unicode_mapping;
extern const rr_unicode_mapping rr_unicode_mappings[];
extern const size_t rr_unicode_mapping_count;

/* The ranges spread out for look-up. Immutable once made; any thread may read it. */
typedef struct rr_unicode {
  uint16_t (*pages)[256];
  uint16_t page_of[RR_UNICODE_BLOCKS];
} rr_unicode;

rr_status rr_unicode_init(rr_unicode *unicode, rr_error *err);
void rr_unicode_finish(rr_unicode *unicode);

/* c must be below 0x110000. */
static inline unsigned rr_unicode_flags(const rr_unicode *unicode, uint32_t c) {
  return unicode->pages[unicode->page_of[c >> 8]][c & 255];
}

/* For code points with RR_UNICODE_DECOMPOSES, _LOWERS and _COMBINING respectively. The first two
 * return how many code points they stored. */
size_t rr_unicode_decompose(uint32_t c, uint32_t ret_to[RR_UNICODE_DECOMPOSED_MAX]);
size_t rr_unicode_lower(uint32_t c, uint32_t ret_to[RR_UNICODE_LOWERED_MAX]);
unsigned rr_unicode_combining_class(uint32_t c);

/* RR_ERR_INPUT naming the first offending byte if text is not well-formed UTF-8. */
rr_status rr_utf8_check(rr_text text, rr_error *err);

/* The code point at *position of well-formed UTF-8; moves *position behind it. */
static inline uint32_t rr_utf8_next(const char *data, size_t *position) {
  const unsigned char *p = (const unsigned char *)data + *position;
  if (p[0] < 0x80) {
    *position += 1;
    return p[0];
  }
  if (p[0] < 0xE0) {
    *position += 2;
    return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
  }
  if (p[0] < 0xF0) {
    *position += 3;
    return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
  }
  *position += 4;
  return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
         (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

/* The code point that ends before *position (> 0); moves *position to its first byte. */
static inline uint32_t rr_utf8_previous(const char *data, size_t *position) {
  do {
    *position -= 1;
  } while (((unsigned char)data[*position] & 0xC0) == 0x80);
  size_t start = *position;
  return rr_utf8_next(data, &start);
}

/* Stores c's UTF-8 form and returns its size. */
static inline size_t rr_utf8_put(uint32_t c, char ret_bytes[4]) {
  if (c < 0x80) {
    ret_bytes[0] = (char)c;
    return 1;
  }
  if (c < 0x800) {
    ret_bytes[0] = (char)(0xC0 | c >> 6);
    ret_bytes[1] = (char)(0x80 | (c & 0x3F));
    return 2;
  }
  if (c < 0x10000) {
    ret_bytes[0] = (char)(0xE0 | c >> 12);
    ret_bytes[1] = (char)(0x80 | (c >> 6 & 0x3F));
    ret_bytes[2] = (char)(0x80 | (c & 0x3F));
    return 3;
  }
  ret_bytes[0] = (char)(0xF0 | c >> 18);
  ret_bytes[1] = (char)(0x80 | (c >> 12 & 0x3F));
  ret_bytes[2] = (char)(0x80 | (c >> 6 & 0x3F));
  ret_bytes[3] = (char)(0x80 | (c & 0x3F));
  return 4;
}

#endif
