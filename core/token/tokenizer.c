#include "core/token/tokenizer.h"

#include <string.h>

#include "core/base/alloc.h"
#include "core/token/internal.h"

static void fill_byte_tables(rr_tokenizer *tokenizer) {
  for (uint32_t byte = 1; byte < 0x80; byte++) {
    unsigned flags = rr_unicode_flags(&tokenizer->unicode, byte);
    if (tokenizer->normalizer.clean_text && (flags & RR_UNICODE_REMOVED)) {
      tokenizer->byte_kind[byte] = RR_BYTE_REMOVED;
    } else if (flags & RR_UNICODE_SPACE) {
      tokenizer->byte_kind[byte] = RR_BYTE_SPACE;
    } else if (flags & RR_UNICODE_PUNCTUATION) {
      tokenizer->byte_kind[byte] = RR_BYTE_PUNCTUATION;
    } else {
      uint32_t lowered[RR_UNICODE_LOWERED_MAX] = {byte};
      if (tokenizer->normalizer.lowercase && (flags & RR_UNICODE_LOWERS)) {
        (void)rr_unicode_lower(byte, lowered);
      }
      tokenizer->byte_kind[byte] = RR_BYTE_WORD;
      tokenizer->word_byte[byte] = (char)lowered[0];
    }
  }
}

rr_status rr_tokenizer_load(const char *directory, rr_tokenizer **ret_tokenizer, rr_error *err) {
  rr_tokenizer *tokenizer = rr_calloc(1, sizeof *tokenizer);
  if (tokenizer == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the tokenizer");
  }
  rr_status status = rr_unicode_init(&tokenizer->unicode, err);
  if (status == RR_OK) {
    status = rr_tokenizer_read(tokenizer, directory, err);
  }
  if (status == RR_OK) {
    status = rr_added_link(&tokenizer->added, tokenizer->normalizer, &tokenizer->unicode, err);
  }
  if (status != RR_OK) {
    rr_tokenizer_destroy(tokenizer);
    return status;
  }
  fill_byte_tables(tokenizer);
  *ret_tokenizer = tokenizer;
  return RR_OK;
}

void rr_tokenizer_destroy(rr_tokenizer *tokenizer) {
  if (tokenizer == NULL) {
    return;
  }
  rr_added_finish(&tokenizer->added);
  rr_trie_finish(&tokenizer->wordpiece.tokens);
  rr_unicode_finish(&tokenizer->unicode);
  rr_free(tokenizer);
}

size_t rr_tokenizer_pair_specials(const rr_tokenizer *tokenizer) {
  return tokenizer->templates.pair.specials;
}

size_t rr_tokenizer_pair_tail(const rr_tokenizer *tokenizer) {
  const rr_template *form = &tokenizer->templates.pair;
  size_t tail = 0;
  for (size_t i = form->count; i-- > 0 && form->pieces[i].kind == RR_TEMPLATE_SPECIAL;) {
    tail++;
  }
  return tail;
}

bool rr_tokenizer_pair_has_sides(const rr_tokenizer *tokenizer) {
  const rr_template *form = &tokenizer->templates.pair;
  size_t a = 0;
  size_t b = 0;
  for (size_t i = 0; i < form->count; i++) {
    a = form->pieces[i].kind == RR_TEMPLATE_A ? i : a;
    b = form->pieces[i].kind == RR_TEMPLATE_B ? i : b;
  }
  return a > 0 && a < b && b + 1 < form->count;
}

void rr_tokenizer_single_frame(const rr_tokenizer *tokenizer, size_t *ret_before,
                               size_t *ret_behind) {
  const rr_template *form = &tokenizer->templates.single;
  size_t before = 0;
  while (before < form->count && form->pieces[before].kind == RR_TEMPLATE_SPECIAL) {
    before++;
  }
  *ret_before = before;
  *ret_behind = form->specials - before;
}

int32_t rr_tokenizer_find(const rr_tokenizer *tokenizer, const char *token) {
  size_t size = strlen(token);
  for (size_t i = 0; i < tokenizer->added.count; i++) {
    const rr_added_token *added = &tokenizer->added.tokens[i];
    if (added->size == size && memcmp(added->content, token, size) == 0) {
      return added->id;
    }
  }
  return size == 0 ? -1 : rr_trie_find(&tokenizer->wordpiece.tokens, token, size);
}

size_t rr_tokenizer_id_bound(const rr_tokenizer *tokenizer) { return tokenizer->id_bound; }

size_t rr_tokenizer_max_length(const rr_tokenizer *tokenizer) { return tokenizer->max_length; }

/* One text on its way to ids. */
typedef struct pass {
  const rr_tokenizer *tokenizer;
  rr_arena *arena;
  bool failed; /* out of memory */
  rr_words words;
  rr_normalization run;
} pass;

/* Raw text without added tokens, to words. */
static void read_raw(pass *in, rr_text text) {
  const rr_tokenizer *tokenizer = in->tokenizer;
  size_t i = 0;
  while (i < text.size) {
    unsigned char byte = (unsigned char)text.data[i];
    rr_byte_kind kind = (rr_byte_kind)tokenizer->byte_kind[byte];
    if (kind == RR_BYTE_OTHER) {
      rr_normalization_add(&in->run, rr_utf8_next(text.data, &i));
      continue;
    }
    if (kind == RR_BYTE_REMOVED) {
      i++;
      continue;
    }
    rr_normalization_flush(&in->run);
    if (kind == RR_BYTE_WORD) {
      i += rr_words_add_bytes(&in->words, text.data + i, text.size - i, tokenizer->word_byte);
    } else {
      rr_words_put(&in->words, byte,
                   kind == RR_BYTE_SPACE ? RR_UNICODE_SPACE : RR_UNICODE_PUNCTUATION);
      i++;
    }
  }
  rr_normalization_flush(&in->run);
  rr_words_end(&in->words);
}

static void visit_token(void *data, int32_t id) {
  pass *in = data;
  rr_words_token(&in->words, id);
}

static void visit_raw(void *data, rr_text piece) { read_raw(data, piece); }

static void visit_normalized(void *data, rr_text piece) {
  pass *in = data;
  for (size_t i = 0; i < piece.size;) {
    uint32_t c = rr_utf8_next(piece.data, &i);
    rr_words_put(&in->words, c, rr_unicode_flags(&in->tokenizer->unicode, c));
  }
  rr_words_end(&in->words);
}

/* Normalized text as a whole; data is NULL while its size is being found. */
typedef struct writer {
  char *data;
  size_t size;
} writer;

static void write_code_point(void *sink, uint32_t c, unsigned flags) {
  (void)flags;
  writer *to = sink;
  char bytes[4];
  to->size += rr_utf8_put(c, to->data == NULL ? bytes : to->data + to->size);
}

static void normalize(const rr_tokenizer *tokenizer, rr_text text, writer *to) {
  rr_normalization run;
  to->size = 0;
  rr_normalization_init(&run, tokenizer->normalizer, &tokenizer->unicode,
                        tokenizer->wordpiece.word_chars_max, write_code_point, to);
  for (size_t i = 0; i < text.size;) {
    rr_normalization_add(&run, rr_utf8_next(text.data, &i));
  }
  rr_normalization_flush(&run);
}

/* A piece of raw text in which normalized tokens are to be found, which needs it written out. */
static void visit_to_normalize(void *data, rr_text piece) {
  pass *in = data;
  writer to = {NULL, 0};
  normalize(in->tokenizer, piece, &to);
  to.data = rr_arena_alloc(in->arena, to.size);
  if (to.data == NULL) {
    in->failed = true;
    return;
  }
  normalize(in->tokenizer, piece, &to);
  const rr_added_visitor visitor = {visit_normalized, visit_token, in};
  rr_added_split(&in->tokenizer->added, &in->tokenizer->added.normalized, &in->tokenizer->unicode,
                 (rr_text){to.data, to.size}, &visitor);
}

rr_status rr_tokenizer_tokens(const rr_tokenizer *tokenizer, rr_text text, rr_arena *arena,
                              rr_tokens *ret_tokens, rr_error *err) {
  rr_status status = rr_utf8_check(text, err);
  if (status != RR_OK) {
    return status;
  }
  const rr_added *added = &tokenizer->added;
  pass in;
  in.tokenizer = tokenizer;
  in.arena = arena;
  in.failed = false;
  rr_words_init(&in.words, &tokenizer->wordpiece, arena, text.size);
  rr_normalization_init(&in.run, tokenizer->normalizer, &tokenizer->unicode,
                        tokenizer->wordpiece.word_chars_max, rr_words_put, &in.words);
  const rr_added_visitor visitor = {added->normalized.count == 0 ? visit_raw : visit_to_normalize,
                                    visit_token, &in};
  rr_added_split(added, &added->raw, &tokenizer->unicode, text, &visitor);
  if (in.failed || in.words.failed) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the tokens of a text of %zu bytes",
                   text.size);
  }
  *ret_tokens = (rr_tokens){.ids = in.words.out.ids, .size = in.words.out.size};
  return RR_OK;
}

rr_status rr_tokenizer_single(const rr_tokenizer *tokenizer, const rr_tokens *a,
                              const rr_truncation *truncation, rr_arena *arena,
                              rr_encoding *ret_encoding, rr_error *err) {
  return rr_template_apply(&tokenizer->templates.single, a, NULL, truncation, arena, ret_encoding,
                           err);
}

rr_status rr_tokenizer_pair(const rr_tokenizer *tokenizer, const rr_tokens *a, const rr_tokens *b,
                            const rr_truncation *truncation, rr_arena *arena,
                            rr_encoding *ret_encoding, rr_error *err) {
  return rr_template_apply(&tokenizer->templates.pair, a, b, truncation, arena, ret_encoding, err);
}
