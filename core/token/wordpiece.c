#include "core/token/wordpiece.h"

#include <string.h>

#include "core/token/unicode.h"

rr_status rr_wordpiece_link(rr_wordpiece *wordpiece, const char *unknown, const char *prefix,
                            rr_error *err) {
  int32_t id = rr_trie_find(&wordpiece->tokens, unknown, strlen(unknown));
  if (id < 0) {
    return rr_fail(err, RR_ERR_FORMAT, "the vocabulary lacks the unknown token \"%s\"", unknown);
  }
  wordpiece->unknown = id;
  wordpiece->has_continuations = true;
  wordpiece->continuation = RR_TRIE_ROOT;
  for (; *prefix != '\0'; prefix++) {
    const rr_trie_edge *edge =
        rr_trie_step(&wordpiece->tokens, wordpiece->continuation, (unsigned char)*prefix);
    if (edge == NULL) {
      wordpiece->has_continuations = false;
      break;
    }
    wordpiece->continuation = edge->child;
  }
  return RR_OK;
}

bool rr_ids_reserve(rr_ids *ids, size_t more) {
  if (more <= ids->capacity - ids->size && ids->ids != NULL) {
    return true;
  }
  size_t capacity = ids->capacity;
  size_t bytes;
  do {
    if (__builtin_mul_overflow(capacity, (size_t)2, &capacity)) {
      return false;
    }
  } while (more > capacity - ids->size);
  if (__builtin_mul_overflow(capacity, sizeof *ids->ids, &bytes)) {
    return false;
  }
  int32_t *grown = rr_arena_alloc(ids->arena, bytes);
  if (grown == NULL) {
    return false;
  }
  if (ids->size > 0) {
    memcpy(grown, ids->ids, ids->size * sizeof *grown);
  }
  ids->ids = grown;
  ids->capacity = capacity;
  return true;
}

/* Stores the tokens of a word, at most one a byte, and returns how many. */
static size_t match_word(const rr_wordpiece *wordpiece, const char *word, size_t size,
                         int32_t *ids) {
  const rr_trie *trie = &wordpiece->tokens;
  uint32_t node = RR_TRIE_ROOT;
  size_t count = 0;
  size_t start = 0;
  while (start < size) {
    int32_t best = -1;
    size_t best_end = start;
    for (size_t i = start; i < size; i++) {
      const rr_trie_edge *edge = rr_trie_step(trie, node, (unsigned char)word[i]);
      if (edge == NULL) {
        break;
      }
      node = edge->child;
      if (edge->value >= 0) {
        best = edge->value;
        best_end = i + 1;
      }
    }
    if (best < 0 || (best_end < size && !wordpiece->has_continuations)) {
      ids[0] = wordpiece->unknown;
      return 1;
    }
    ids[count++] = best;
    start = best_end;
    node = wordpiece->continuation;
  }
  return count;
}

void rr_words_init(rr_words *words, const rr_wordpiece *wordpiece, rr_arena *arena,
                   size_t size_hint) {
  words->wordpiece = wordpiece;
  /* Doubled by the first reservation: English text has a token in more than 4 bytes. */
  words->out = (rr_ids){.arena = arena, .capacity = size_hint / 8 + 4};
  words->failed = false;
  words->chars = 0;
  words->bytes = 0;
}

void rr_words_end(rr_words *words) {
  if (words->chars == 0) {
    return;
  }
  bool too_long = words->chars > words->wordpiece->word_chars_max;
  /* A token takes at least one character. */
  if (!rr_ids_reserve(&words->out, too_long ? 1 : words->chars)) {
    words->failed = true;
  } else if (too_long) {
    words->out.ids[words->out.size++] = words->wordpiece->unknown;
  } else {
    words->out.size +=
        match_word(words->wordpiece, words->word, words->bytes, words->out.ids + words->out.size);
  }
  words->chars = 0;
  words->bytes = 0;
}

static void add_char(rr_words *words, uint32_t c) {
  if (words->chars < words->wordpiece->word_chars_max) {
    words->bytes += rr_utf8_put(c, words->word + words->bytes);
  }
  words->chars++;
}

void rr_words_put(void *sink, uint32_t c, unsigned flags) {
  rr_words *words = sink;
  if (flags & RR_UNICODE_SPACE) {
    rr_words_end(words);
  } else if (flags & RR_UNICODE_PUNCTUATION) {
    rr_words_end(words);
    add_char(words, c);
    rr_words_end(words);
  } else {
    add_char(words, c);
  }
}

void rr_words_token(rr_words *words, int32_t id) {
  rr_words_end(words);
  if (!rr_ids_reserve(&words->out, 1)) {
    words->failed = true;
    return;
  }
  words->out.ids[words->out.size++] = id;
}

size_t rr_words_add_bytes(rr_words *words, const char *data, size_t size, const char map[256]) {
  size_t limit = words->wordpiece->word_chars_max;
  size_t room = words->chars < limit ? limit - words->chars : 0;
  char *word = words->word + words->bytes;
  size_t taken = 0;
  for (size_t kept = size < room ? size : room; taken < kept; taken++) {
    char mapped = map[(unsigned char)data[taken]];
    if (mapped == 0) {
      break;
    }
    word[taken] = mapped;
  }
  words->bytes += taken;
  if (taken == room) {
    while (taken < size && map[(unsigned char)data[taken]] != 0) {
      taken++;
    }
  }
  words->chars += taken;
  return taken;
}
