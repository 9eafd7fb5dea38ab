/* WordPiece: normalized code points to words (BERT's pre-tokenizer), words to token ids. */
#ifndef RR_CORE_TOKEN_WORDPIECE_H
#define RR_CORE_TOKEN_WORDPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/token/normalize.h"
#include "core/token/trie.h"

/* Token ids are below this. */
enum { RR_TOKEN_ID_BOUND = 4000000 };

/* Immutable once loaded. */
typedef struct rr_wordpiece {
  rr_trie tokens; /* as the vocabulary spells them, continuations with their prefix */
  bool has_continuations;
  uint32_t continuation; /* the node that the prefix leads to */
  int32_t unknown;
  size_t word_chars_max;
} rr_wordpiece;

/* Looks up what the trie alone does not say: the unknown token and the continuation prefix. Errors:
 * RR_ERR_FORMAT if the vocabulary lacks the unknown token. */
rr_status rr_wordpiece_link(rr_wordpiece *wordpiece, const char *unknown, const char *prefix,
                            rr_error *err);

/* Growing ids in an arena; what it has outgrown stays there until the arena ends. */
typedef struct rr_ids {
  rr_arena *arena;
  int32_t *ids; /* NULL before the first reservation */
  size_t size;
  size_t capacity;
} rr_ids;

/* Room for `more` further ids; false if the arena has none. */
bool rr_ids_reserve(rr_ids *ids, size_t more);

/* The word being read, and the ids of those before it. */
typedef struct rr_words {
  const rr_wordpiece *wordpiece;
  rr_ids out;
  bool failed; /* out of memory; ids are missing from here on */
  size_t chars;
  size_t bytes; /* used of word; what is beyond word_chars_max is not kept */
  char word[4 * RR_WORD_CHARS_MAX];
} rr_words;

/* size_hint: the text's size in bytes, from which the ids' first reservation is guessed. */
void rr_words_init(rr_words *words, const rr_wordpiece *wordpiece, rr_arena *arena,
                   size_t size_hint);

/* An rr_code_point_sink; sink is an rr_words. */
void rr_words_put(void *sink, uint32_t c, unsigned flags);

/* Ends the current word, if there is one. */
void rr_words_end(rr_words *words);

/* A token that is not made of words. */
void rr_words_token(rr_words *words, int32_t id);

/* Adds the leading bytes of data that map[] takes to a byte of a word, one character each; stops at
 * the first that it takes to 0. Returns how many it took. */
size_t rr_words_add_bytes(rr_words *words, const char *data, size_t size, const char map[256]);

#endif
