#include "core/token/added.h"

#include <string.h>

#include "core/base/alloc.h"

rr_status rr_added_append(rr_added *added, rr_added_token token, rr_error *err) {
  if (token.size > RR_ADDED_CONTENT_MAX) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "an added token of %zu bytes (at most %d)", token.size,
                   RR_ADDED_CONTENT_MAX);
  }
  if (added->count == RR_ADDED_TOKENS_MAX) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "more than %d added tokens", RR_ADDED_TOKENS_MAX);
  }
  if (added->count == added->capacity) {
    size_t capacity = added->capacity == 0 ? 8 : 2 * added->capacity;
    rr_added_token *grown = rr_realloc(added->tokens, capacity * sizeof *grown);
    if (grown == NULL) {
      return rr_fail(err, RR_ERR_MEMORY, "out of memory for the added tokens");
    }
    added->tokens = grown;
    added->capacity = capacity;
  }
  char *content = rr_malloc(token.size);
  if (content == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the added tokens");
  }
  token.content = memcpy(content, token.content, token.size);
  added->tokens[added->count++] = token;
  return RR_OK;
}

/* A token's pattern in the normalized text. */
typedef struct pattern {
  size_t size;
  bool combining;
  bool too_long;
  char bytes[RR_ADDED_CONTENT_MAX];
} pattern;

static void put_pattern(void *sink, uint32_t c, unsigned flags) {
  pattern *to = sink;
  if (sizeof to->bytes - to->size < 4) {
    to->too_long = true;
    return;
  }
  to->combining |= (flags & RR_UNICODE_COMBINING) != 0;
  to->size += rr_utf8_put(c, to->bytes + to->size);
}

static rr_status normalize_token(const rr_added_token *token, rr_normalizer normalizer,
                                 const rr_unicode *unicode, pattern *ret_pattern, rr_error *err) {
  rr_normalization run;
  *ret_pattern = (pattern){.size = 0};
  rr_normalization_init(&run, normalizer, unicode, RR_WORD_CHARS_MAX, put_pattern, ret_pattern);
  for (size_t i = 0; i < token->size;) {
    rr_normalization_add(&run, rr_utf8_next(token->content, &i));
  }
  rr_normalization_flush(&run);
  const char *problem = ret_pattern->too_long    ? "too long"
                        : ret_pattern->size == 0 ? "empty"
                        : ret_pattern->combining ? "of combining characters"
                                                 : NULL;
  if (problem != NULL) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "added token %d is %s once normalized", token->id,
                   problem);
  }
  return RR_OK;
}

static rr_status add_pattern(rr_added_set *set, const char *bytes, size_t size, size_t index,
                             rr_error *err) {
  if (rr_trie_find(&set->trie, bytes, size) >= 0) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "two added tokens are written \"%.*s\"", (int)size,
                   bytes);
  }
  unsigned char first = (unsigned char)bytes[0];
  set->only_start = set->count == 0 || set->only_start == first ? first : -1;
  set->starts[first] = true;
  set->count++;
  return rr_trie_insert(&set->trie, bytes, size, (int32_t)index, err);
}

rr_status rr_added_link(rr_added *added, rr_normalizer normalizer, const rr_unicode *unicode,
                        rr_error *err) {
  rr_status status = rr_trie_init(&added->raw.trie, err);
  if (status == RR_OK) {
    status = rr_trie_init(&added->normalized.trie, err);
  }
  for (size_t i = 0; i < added->count && status == RR_OK; i++) {
    const rr_added_token *token = &added->tokens[i];
    if (!token->normalized) {
      status = add_pattern(&added->raw, token->content, token->size, i, err);
      continue;
    }
    pattern normalized;
    status = normalize_token(token, normalizer, unicode, &normalized, err);
    if (status == RR_OK) {
      status = add_pattern(&added->normalized, normalized.bytes, normalized.size, i, err);
    }
  }
  return status;
}

void rr_added_finish(rr_added *added) {
  rr_trie_finish(&added->normalized.trie);
  rr_trie_finish(&added->raw.trie);
  for (size_t i = 0; i < added->count; i++) {
    rr_free(added->tokens[i].content);
  }
  rr_free(added->tokens);
  added->tokens = NULL;
  added->count = 0;
}

/* The first place at or behind `from` where a token may begin. */
static size_t next_start(const rr_added_set *set, rr_text text, size_t from) {
  if (from < text.size && set->only_start >= 0) {
    const char *found = memchr(text.data + from, set->only_start, text.size - from);
    return found == NULL ? text.size : (size_t)(found - text.data);
  }
  while (from < text.size && !set->starts[(unsigned char)text.data[from]]) {
    from++;
  }
  return from;
}

/* The longest token at `start`: its index, or -1. */
static int32_t match_at(const rr_added_set *set, rr_text text, size_t start, size_t *ret_end) {
  int32_t best = -1;
  uint32_t node = RR_TRIE_ROOT;
  for (size_t i = start; i < text.size; i++) {
    const rr_trie_edge *edge = rr_trie_step(&set->trie, node, (unsigned char)text.data[i]);
    if (edge == NULL) {
      break;
    }
    node = edge->child;
    if (edge->value >= 0) {
      best = edge->value;
      *ret_end = i + 1;
    }
  }
  return best;
}

static bool beside_word(const rr_unicode *unicode, rr_text text, size_t start, size_t end) {
  if (start > 0 &&
      rr_unicode_flags(unicode, rr_utf8_previous(text.data, &start)) & RR_UNICODE_WORD) {
    return true;
  }
  return end < text.size &&
         rr_unicode_flags(unicode, rr_utf8_next(text.data, &end)) & RR_UNICODE_WORD;
}

static size_t skip_blanks_back(const rr_unicode *unicode, rr_text text, size_t from,
                               size_t down_to) {
  while (from > down_to) {
    size_t before = from;
    if (!(rr_unicode_flags(unicode, rr_utf8_previous(text.data, &before)) & RR_UNICODE_SPACE)) {
      break;
    }
    from = before;
  }
  return from;
}

/* A run of blanks that has been walked over, so that tokens inside of it do not walk it again. */
typedef struct blanks {
  size_t start;
  size_t end;
} blanks;

static size_t skip_blanks(const rr_unicode *unicode, rr_text text, size_t from, blanks *known) {
  if (from >= known->start && from < known->end) {
    return known->end;
  }
  known->start = from;
  while (from < text.size) {
    size_t next = from;
    if (!(rr_unicode_flags(unicode, rr_utf8_next(text.data, &next)) & RR_UNICODE_SPACE)) {
      break;
    }
    from = next;
  }
  known->end = from;
  return from;
}

void rr_added_split(const rr_added *added, const rr_added_set *set, const rr_unicode *unicode,
                    rr_text text, const rr_added_visitor *visitor) {
  size_t done = 0; /* what is before has been visited */
  blanks known = {0, 0};
  size_t position = set->count == 0 ? text.size : 0;
  while ((position = next_start(set, text, position)) < text.size) {
    size_t end = position;
    int32_t index = match_at(set, text, position, &end);
    if (index < 0) {
      position++;
      continue;
    }
    const rr_added_token *token = &added->tokens[index];
    size_t start = position;
    position = end; /* the reference looks on from here whatever it strips or discards */
    if (token->single_word && beside_word(unicode, text, start, end)) {
      continue;
    }
    if (token->lstrip) {
      start = start > done ? skip_blanks_back(unicode, text, start, done) : done;
    }
    if (token->rstrip) {
      end = skip_blanks(unicode, text, end, &known);
    }
    if (done < start) {
      visitor->text(visitor->data, (rr_text){text.data + done, start - done});
    }
    /* Nothing is left of a token whose blanks were swallowed by the one before it. */
    if (start < end) {
      visitor->token(visitor->data, token->id);
    }
    done = end;
  }
  if (done < text.size) {
    visitor->text(visitor->data, (rr_text){text.data + done, text.size - done});
  }
}
