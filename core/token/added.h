/* Added tokens: strings that are found in a text as a whole before it is cut into words, such as
 * "[SEP]". Those with `normalized` are looked for in the normalized text, the others in the raw
 * one. */
#ifndef RR_CORE_TOKEN_ADDED_H
#define RR_CORE_TOKEN_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/text.h"
#include "core/token/normalize.h"
#include "core/token/trie.h"
#include "core/token/unicode.h"

enum { RR_ADDED_TOKENS_MAX = 65536, RR_ADDED_CONTENT_MAX = 512 };

typedef struct rr_added_token {
  char *content; /* owned by the rr_added it is in */
  size_t size;
  int32_t id;
  bool single_word; /* not beside a word character */
  bool lstrip;      /* swallows the blanks before it */
  bool rstrip;      /* swallows the blanks behind it */
  bool normalized;
} rr_added_token;

/* What is looked for in one pass; trie values are indices of tokens. */
typedef struct rr_added_set {
  rr_trie trie;
  size_t count;
  bool starts[256]; /* first bytes */
  int only_start;   /* the first byte where all share one, else -1 */
} rr_added_set;

typedef struct rr_added {
  rr_added_token *tokens;
  size_t count;
  size_t capacity;
  rr_added_set raw;
  rr_added_set normalized;
} rr_added;

/* Appends a token, or replaces the one with its id; copies content (size > 0). Errors:
 * RR_ERR_MEMORY, RR_ERR_UNSUPPORTED (over the limits above). */
rr_status rr_added_append(rr_added *added, rr_added_token token, rr_error *err);

/* Builds both sets, once all tokens are there. Errors: RR_ERR_MEMORY, RR_ERR_UNSUPPORTED where the
 * reference's own result is undefined (two tokens normalized to the same string, or to nothing). */
rr_status rr_added_link(rr_added *added, rr_normalizer normalizer, const rr_unicode *unicode,
                        rr_error *err);

void rr_added_finish(rr_added *added); /* also fine for an all-zero one */

/* Receives the pieces of a text in their order. */
typedef struct rr_added_visitor {
  void (*text)(void *data, rr_text piece); /* never empty */
  void (*token)(void *data, int32_t id);
  void *data;
} rr_added_visitor;

/* Cuts well-formed UTF-8 text at the set's tokens. Linear in the text's size (for given tokens). */
void rr_added_split(const rr_added *added, const rr_added_set *set, const rr_unicode *unicode,
                    rr_text text, const rr_added_visitor *visitor);

#endif
