#include "core/token/unicode.h"

#include <string.h>
#include <utf8proc.h>

#include "core/base/alloc.h"

static uint16_t flags_of_range(size_t range) {
  return (uint16_t)(rr_unicode_ranges[range] & ((1u << RR_UNICODE_FLAG_BITS) - 1));
}

/* Whether the range goes on at least up to this code point. */
static int reaches(size_t range, uint32_t c) {
  return range + 1 >= rr_unicode_range_count ||
         rr_unicode_ranges[range + 1] >> RR_UNICODE_FLAG_BITS >= c;
}

/* Writes the ranges' flags of one block of 256 code points; *range is the range in force at the
 * block's first code point and moves on with the blocks. Returns whether all flags are the same. */
static int fill_page(uint32_t first, size_t *range, uint16_t page[256]) {
  int uniform = 1;
  for (uint32_t i = 0; i < 256; i++) {
    while (!reaches(*range, first + i + 1)) {
      *range += 1;
    }
    page[i] = flags_of_range(*range);
    uniform &= page[i] == page[0];
  }
  return uniform;
}

rr_status rr_unicode_init(rr_unicode *unicode, rr_error *err) {
  /* No more pages than ranges can begin in, plus one for each set of flags that fills a block. */
  size_t capacity = 0;
  uint16_t uniform_page[1 << RR_UNICODE_FLAG_BITS];
  memset(uniform_page, 0xFF, sizeof uniform_page);
  uint16_t(*pages)[256] = NULL;
  size_t count = 0;
  size_t range = 0;
  for (uint32_t block = 0; block < RR_UNICODE_BLOCKS; block++) {
    uint16_t same = uniform_page[flags_of_range(range)];
    if (same != UINT16_MAX && reaches(range, (block + 1) << 8)) { /* most blocks, by far */
      unicode->page_of[block] = same;
      continue;
    }
    if (count == capacity) {
      capacity = capacity == 0 ? 64 : 2 * capacity;
      uint16_t(*grown)[256] = rr_realloc(pages, capacity * sizeof *pages);
      if (grown == NULL) {
        rr_free(pages);
        return rr_fail(err, RR_ERR_MEMORY, "out of memory for the character table");
      }
      pages = grown;
    }
    int uniform = fill_page(block << 8, &range, pages[count]);
    uint16_t *known = &uniform_page[pages[count][0]];
    if (uniform && *known != UINT16_MAX) {
      unicode->page_of[block] = *known;
      continue;
    }
    if (uniform) {
      *known = (uint16_t)count;
    }
    unicode->page_of[block] = (uint16_t)count++;
  }
  unicode->pages = pages;
  return RR_OK;
}

void rr_unicode_finish(rr_unicode *unicode) {
  rr_free(unicode->pages);
  unicode->pages = NULL;
}

/* The mappings are in ascending order of code points. */
static const rr_unicode_mapping *find_mapping(uint32_t c, uint32_t flag) {
  size_t low = 0;
  size_t high = rr_unicode_mapping_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (rr_unicode_mappings[middle].from < c) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  for (; low < rr_unicode_mapping_count && rr_unicode_mappings[low].from == c; low++) {
    if (rr_unicode_mappings[low].flag == flag) {
      return &rr_unicode_mappings[low];
    }
  }
  return NULL;
}

static size_t take_mapping(const rr_unicode_mapping *mapping, uint32_t *ret_to) {
  ret_to[0] = mapping->to[0];
  if (mapping->to[1] == 0) {
    return 1;
  }
  ret_to[1] = mapping->to[1];
  return 2;
}

size_t rr_unicode_decompose(uint32_t c, uint32_t ret_to[RR_UNICODE_DECOMPOSED_MAX]) {
  const rr_unicode_mapping *mapping = find_mapping(c, RR_UNICODE_DECOMPOSES);
  if (mapping != NULL) {
    return take_mapping(mapping, ret_to);
  }
  utf8proc_int32_t parts[RR_UNICODE_DECOMPOSED_MAX];
  int boundary = 0;
  utf8proc_ssize_t size = utf8proc_decompose_char(
      (utf8proc_int32_t)c, parts, RR_UNICODE_DECOMPOSED_MAX, UTF8PROC_DECOMPOSE, &boundary);
  if (size < 1 || size > RR_UNICODE_DECOMPOSED_MAX) {
    ret_to[0] = c;
    return 1;
  }
  for (utf8proc_ssize_t i = 0; i < size; i++) {
    ret_to[i] = (uint32_t)parts[i];
  }
  return (size_t)size;
}

size_t rr_unicode_lower(uint32_t c, uint32_t ret_to[RR_UNICODE_LOWERED_MAX]) {
  const rr_unicode_mapping *mapping = find_mapping(c, RR_UNICODE_LOWERS);
  if (mapping != NULL) {
    return take_mapping(mapping, ret_to);
  }
  ret_to[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
  return 1;
}

unsigned rr_unicode_combining_class(uint32_t c) {
  const rr_unicode_mapping *mapping = find_mapping(c, RR_UNICODE_COMBINING);
  if (mapping != NULL) {
    return mapping->to[0];
  }
  return (unsigned)utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
}

/* The size of the well-formed sequence at p (n bytes left), or 0. Table 3-7 of the Unicode
 * standard. */
static size_t sequence_size(const unsigned char *p, size_t n) {
  if (p[0] < 0x80) {
    return 1;
  }
  if (p[0] < 0xC2 || p[0] > 0xF4) {
    return 0;
  }
  size_t size = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
  if (n < size) {
    return 0;
  }
  unsigned char lowest = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
  unsigned char highest = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
  if (p[1] < lowest || p[1] > highest) {
    return 0;
  }
  for (size_t i = 2; i < size; i++) {
    if ((p[i] & 0xC0) != 0x80) {
      return 0;
    }
  }
  return size;
}

rr_status rr_utf8_check(rr_text text, rr_error *err) {
  const unsigned char *p = (const unsigned char *)text.data;
  size_t i = 0;
  while (i < text.size) {
    uint64_t word;
    if (text.size - i >= sizeof word) {
      memcpy(&word, p + i, sizeof word);
      if ((word & UINT64_C(0x8080808080808080)) == 0) {
        i += sizeof word;
        continue;
      }
    }
    size_t size = sequence_size(p + i, text.size - i);
    if (size == 0) {
      return rr_fail(err, RR_ERR_INPUT, "text is not valid UTF-8 at byte %zu", i);
    }
    i += size;
  }
  return RR_OK;
}
