#include "core/token/normalize.h"

enum { CLASS_SHIFT = 24 };

void rr_normalization_init(rr_normalization *run, rr_normalizer normalizer,
                           const rr_unicode *unicode, size_t word_chars_max, rr_code_point_sink put,
                           void *sink) {
  run->normalizer = normalizer;
  run->unicode = unicode;
  run->put = put;
  run->sink = sink;
  run->waiting_limit = word_chars_max + 1;
  run->waiting_size = 0;
}

static void put_lowered(rr_normalization *run, uint32_t c, unsigned flags) {
  if (!run->normalizer.lowercase || !(flags & RR_UNICODE_LOWERS)) {
    run->put(run->sink, c, flags);
    return;
  }
  uint32_t lowered[RR_UNICODE_LOWERED_MAX];
  size_t size = rr_unicode_lower(c, lowered);
  for (size_t i = 0; i < size; i++) {
    run->put(run->sink, lowered[i], rr_unicode_flags(run->unicode, lowered[i]));
  }
}

/* Canonical ordering: a stable sort by combining class. */
static void sort_waiting(uint32_t *waiting, size_t size) {
  for (size_t i = 1; i < size; i++) {
    uint32_t moved = waiting[i];
    size_t j = i;
    while (j > 0 && waiting[j - 1] >> CLASS_SHIFT > moved >> CLASS_SHIFT) {
      waiting[j] = waiting[j - 1];
      j--;
    }
    waiting[j] = moved;
  }
}

void rr_normalization_flush(rr_normalization *run) {
  if (run->waiting_size == 0) {
    return;
  }
  sort_waiting(run->waiting, run->waiting_size);
  for (size_t i = 0; i < run->waiting_size; i++) {
    uint32_t c = run->waiting[i] & ((1u << CLASS_SHIFT) - 1);
    put_lowered(run, c, rr_unicode_flags(run->unicode, c));
  }
  run->waiting_size = 0;
}

/* One code point of the decomposed text. Marks go, and as sorting is stable it does not matter that
 * they go before it; but one of class 0 still parts those before it from those behind. */
static void add_decomposed(rr_normalization *run, uint32_t c) {
  unsigned flags = rr_unicode_flags(run->unicode, c);
  if (!(flags & RR_UNICODE_COMBINING)) {
    rr_normalization_flush(run);
    if (!(flags & RR_UNICODE_MARK)) {
      put_lowered(run, c, flags);
    }
    return;
  }
  if (flags & RR_UNICODE_MARK) {
    return;
  }
  /* A longer run is part of a word that is too long whatever the order; sorting it in parts keeps
   * the time linear. */
  if (run->waiting_size == run->waiting_limit) {
    rr_normalization_flush(run);
  }
  run->waiting[run->waiting_size++] = rr_unicode_combining_class(c) << CLASS_SHIFT | c;
}

static void add_spaced(rr_normalization *run, uint32_t c, unsigned flags) {
  if (!run->normalizer.strip_accents) {
    put_lowered(run, c, flags);
    return;
  }
  if (!(flags & RR_UNICODE_DECOMPOSES)) {
    add_decomposed(run, c);
    return;
  }
  uint32_t parts[RR_UNICODE_DECOMPOSED_MAX];
  size_t size = rr_unicode_decompose(c, parts);
  for (size_t i = 0; i < size; i++) {
    add_decomposed(run, parts[i]);
  }
}

void rr_normalization_add(rr_normalization *run, uint32_t c) {
  unsigned flags = rr_unicode_flags(run->unicode, c);
  if (run->normalizer.clean_text) {
    if (flags & RR_UNICODE_REMOVED) {
      return;
    }
    if (flags & RR_UNICODE_SPACE) {
      c = ' ';
      flags = RR_UNICODE_SPACE;
    }
  }
  if (run->normalizer.handle_chinese_chars && (flags & RR_UNICODE_HAN)) {
    add_spaced(run, ' ', RR_UNICODE_SPACE);
    add_spaced(run, c, flags);
    add_spaced(run, ' ', RR_UNICODE_SPACE);
    return;
  }
  add_spaced(run, c, flags);
}
