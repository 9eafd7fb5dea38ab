/* What a loaded tokenizer is made of; for the files of this folder. */
#ifndef RR_CORE_TOKEN_INTERNAL_H
#define RR_CORE_TOKEN_INTERNAL_H

#include "core/token/added.h"
#include "core/token/normalize.h"
#include "core/token/template.h"
#include "core/token/tokenizer.h"
#include "core/token/unicode.h"
#include "core/token/wordpiece.h"

enum { RR_TOKEN_FILE_BYTES_MAX = 64 << 20 };

/* What a byte of raw text is for the quick path. */
typedef enum rr_byte_kind {
  RR_BYTE_OTHER, /* not ASCII, or NUL: by code points */
  RR_BYTE_WORD,
  RR_BYTE_SPACE,
  RR_BYTE_PUNCTUATION,
  RR_BYTE_REMOVED,
} rr_byte_kind;

struct rr_tokenizer {
  rr_unicode unicode;
  rr_normalizer normalizer;
  rr_wordpiece wordpiece;
  rr_added added;
  rr_templates templates;
  size_t id_bound;
  size_t max_length;
  uint8_t byte_kind[256];
  char word_byte[256]; /* of RR_BYTE_WORD: the normalized byte; else 0 */
};

/* Fills normalizer, wordpiece, added, templates, id_bound and max_length from the files of a model
 * directory; unicode is there already. On failure what was filled in is left to be destroyed. */
rr_status rr_tokenizer_read(rr_tokenizer *tokenizer, const char *directory, rr_error *err);

/* The added tokens while they are being read. */
typedef struct rr_added_reader {
  rr_tokenizer *tokenizer;
  rr_trie contents; /* content -> index of added.tokens */
  rr_trie ids;      /* the four bytes of an id -> the same */
  size_t next_id;   /* of the next content that is not in the vocabulary */
} rr_added_reader;

/* vocabulary_size: how many different tokens the vocabulary has. */
rr_status rr_added_reader_init(rr_added_reader *reader, rr_tokenizer *tokenizer,
                               size_t vocabulary_size, rr_error *err);
void rr_added_reader_finish(rr_added_reader *reader); /* also fine for an all-zero one */

/* Gives the token the id that the reference gives it, whatever token.id says, and appends it. */
rr_status rr_added_reader_add(rr_added_reader *reader, rr_added_token token, rr_error *err);

/* Puts token under id into the vocabulary. Errors: RR_ERR_MEMORY, RR_ERR_UNSUPPORTED. */
rr_status rr_tokenizer_add_vocabulary(rr_tokenizer *tokenizer, const char *token, size_t size,
                                      int32_t id, rr_error *err);

/* Reads tokenizer.json's content. */
rr_status rr_tokenizer_read_json(rr_tokenizer *tokenizer, const json_t *json, rr_error *err);

/* Reads vocab.txt; config and map are tokenizer_config.json and special_tokens_map.json or NULL. */
rr_status rr_tokenizer_read_vocabulary(rr_tokenizer *tokenizer, const char *path,
                                       const json_t *config, const json_t *map, rr_error *err);

#endif
