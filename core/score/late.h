/* Late interaction: what of a sequence has a vector, and what a query's and a text's vectors make
 * of a score: the mean over the query's tokens q of max over the text's tokens t of q . t, all of
 * unit length. A mean, so that scores of queries of any length compare; ColBERT's own score is the
 * sum, this times query_maxlen. [CLS] and [SEP] do not count where a text has other tokens; in a
 * ColBERT they do, with the markers and a query's [MASK] filling, but a document's punctuation does
 * not. Immutable once set up. */
#ifndef RR_CORE_SCORE_LATE_H
#define RR_CORE_SCORE_LATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/status.h"
#include "core/model/encoder.h"
#include "core/model/weights.h"
#include "core/scorer.h"
#include "core/token/tokenizer.h"

enum { RR_LATE_SKIPPED_MAX = 33 }; /* ASCII's punctuation and [PAD] */

typedef struct rr_late {
  const rr_maxsim *maxsim; /* borrowed */
  size_t dim;
  bool colbert;  /* else every token between the special ones counts */
  size_t before; /* special tokens in front of a text, and behind it */
  size_t behind;
  rr_colbert form; /* of a ColBERT, like the rest */
  int32_t query_marker;
  int32_t document_marker;
  int32_t mask;
  int32_t pad;                          /* -1: none */
  int32_t skipped[RR_LATE_SKIPPED_MAX]; /* a document's tokens without a vector */
  size_t n_skipped;
} rr_late;

/* bert has a maxsim. RR_ERR_FORMAT if the tokenizer lacks a marker or [MASK], RR_ERR_MEMORY. */
rr_status rr_late_init(rr_late *late, const rr_bert *bert, const rr_tokenizer *tokenizer,
                       rr_error *err);

/* Tokens that a text may have with its special tokens, of max_length that its sequence may have. */
size_t rr_late_room(const rr_late *late, bool query, size_t max_length);

/* Adds a ColBERT's marker and, to a query, its filling; says which tokens have vectors. False when
 * the arena is exhausted. */
bool rr_late_shape(const rr_late *late, bool query, rr_arena *arena, rr_encoding *encoding,
                   rr_input *input);

/* Bytes of a token's stored vector. */
size_t rr_late_row_size(const rr_late *late);

/* Memory for the vectors of all sequences that are not at hand, and for rr_late_begin, in the
 * arena; false when it is exhausted. */
bool rr_late_reserve(const rr_late *late, rr_arena *arena, rr_encoded *encoded);

/* What rr_late_score works in: rr_encoded.scratch. */
typedef struct rr_late_scratch {
  void *packed; /* the query's vectors, for rr_maxsim */
  float *best;  /* one a vector of the query */
} rr_late_scratch;

/* Packs the query's vectors, once all sequences are computed; then the MaxSim of any of the
 * others. */
void rr_late_begin(const rr_late *late, const rr_encoded *encoded);
float rr_late_score(const rr_late *late, const rr_encoded *encoded, const rr_input *text);

#endif
