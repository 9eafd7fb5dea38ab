/* Text to token ids, by the rules of Hugging Face tokenizers (BERT normalizer and pre-tokenizer,
 * WordPiece, template post-processing). Immutable once loaded; any number of threads may use it. */
#ifndef RR_CORE_TOKEN_TOKENIZER_H
#define RR_CORE_TOKEN_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/cut.h"
#include "core/base/status.h"
#include "core/base/text.h"

typedef struct rr_tokenizer rr_tokenizer;

/* A text's tokens, without special tokens and before any truncation. */
typedef struct rr_tokens {
  const int32_t *ids; /* may be NULL if size is 0 */
  size_t size;
} rr_tokens;

/* A sequence ready for the encoder: special tokens added, truncated. */
typedef struct rr_encoding {
  const int32_t *ids;
  const uint8_t *type_ids;
  size_t length;
  size_t dropped;  /* tokens that truncation removed */
  size_t split_at; /* of a pair: where b begins, whether or not it has tokens; else 0 */
} rr_encoding;

/* Loads tokenizer.json, or vocab.txt where there is none, from a model directory. Where
 * tokenizer_config.json is there and names a BERT tokenizer class or none, its do_lower_case,
 * strip_accents (null: as lower-casing says) and tokenize_chinese_chars overrule, a missing one by
 * its default (true, null, true). Truncation and padding stored in tokenizer.json are ignored: the
 * model's length rules. Errors: RR_ERR_IO, RR_ERR_FORMAT, RR_ERR_UNSUPPORTED (another kind of
 * tokenizer), RR_ERR_MEMORY. *ret_tokenizer is freed by rr_tokenizer_destroy. */
rr_status rr_tokenizer_load(const char *directory, rr_tokenizer **ret_tokenizer, rr_error *err);
void rr_tokenizer_destroy(rr_tokenizer *tokenizer); /* NULL is allowed */

/* Tokens that the template for pairs adds. */
size_t rr_tokenizer_pair_specials(const rr_tokenizer *tokenizer);

/* Of these the ones behind b. */
size_t rr_tokenizer_pair_tail(const rr_tokenizer *tokenizer);

/* Whether the template for pairs has a before b, special tokens in front of a and others behind b:
 * then neither side of a pair is ever empty. */
bool rr_tokenizer_pair_has_sides(const rr_tokenizer *tokenizer);

/* Tokens that the template for single texts puts before and behind a text. */
void rr_tokenizer_single_frame(const rr_tokenizer *tokenizer, size_t *ret_before,
                               size_t *ret_behind);

/* The id of a token as the vocabulary or the added tokens spell it ("[MASK]"); -1 if there is
 * none. */
int32_t rr_tokenizer_find(const rr_tokenizer *tokenizer, const char *token);

/* One more than the largest token id: what an embedding table must at least hold. */
size_t rr_tokenizer_id_bound(const rr_tokenizer *tokenizer);

/* tokenizer_config.json's model_max_length, or SIZE_MAX where it is absent or beyond reason. */
size_t rr_tokenizer_max_length(const rr_tokenizer *tokenizer);

/* Tokenizes one text into the arena. RR_ERR_INPUT if it is not valid UTF-8, RR_ERR_MEMORY. Time is
 * linear in the text's size, whatever the text. */
rr_status rr_tokenizer_tokens(const rr_tokenizer *tokenizer, rr_text text, rr_arena *arena,
                              rr_tokens *ret_tokens, rr_error *err);

/* How a sequence that is too long loses tokens: Hugging Face's truncation strategies. */
typedef struct rr_truncation {
  size_t max_length; /* special tokens included */
  bool enabled;      /* false: a longer sequence is RR_ERR_INPUT */
  bool left;         /* drop first tokens instead of last ones */
  rr_cut cut;        /* of a pair: which of a and b loses tokens; RR_CUT_TEXT: b, RR_ERR_INPUT
                      * where none would be left of it */
} rr_truncation;

/* [CLS] a [SEP], as the template for single texts says. RR_ERR_INPUT (too long, or max_length below
 * the number of special tokens), RR_ERR_MEMORY. */
rr_status rr_tokenizer_single(const rr_tokenizer *tokenizer, const rr_tokens *a,
                              const rr_truncation *truncation, rr_arena *arena,
                              rr_encoding *ret_encoding, rr_error *err);

/* [CLS] a [SEP] b [SEP], as the template for pairs says; truncation->cut says which loses
 * tokens. */
rr_status rr_tokenizer_pair(const rr_tokenizer *tokenizer, const rr_tokens *a, const rr_tokens *b,
                            const rr_truncation *truncation, rr_arena *arena,
                            rr_encoding *ret_encoding, rr_error *err);

#endif
