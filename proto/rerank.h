/* The canonical request and its result: what every dialect maps to and from. */
#ifndef RR_PROTO_RERANK_H
#define RR_PROTO_RERANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/cut.h"
#include "core/base/text.h"

enum { RR_TRUNCATE_DEFAULT = -1, RR_TIMEOUT_MAX = 86400000 /* ms: a day */ };

/* What a request gets whose deadline comes before all of its scores are there. */
typedef enum rr_on_timeout {
  RR_ON_TIMEOUT_DEFAULT, /* not said: as RR_ON_TIMEOUT_PARTIAL */
  RR_ON_TIMEOUT_PARTIAL, /* those that are there, if any, then the other texts in the caller's order
                          */
  RR_ON_TIMEOUT_ERROR,
} rr_on_timeout;

/* A decoded request. All memory belongs to the arena that was given to the decoder; texts are valid
 * UTF-8 and may hold NUL. */
typedef struct rr_rerank_request {
  rr_text query;
  rr_text *queries; /* NULL: `query` goes with every text. Else one a text; without data: it stands
                       alone */
  rr_text *texts;   /* the candidates, in the caller's order */
  /* NULL, or names: with data, the text is the one that is kept under it, and to be found; where
   * the request is to keep texts, their names, without data: none was given */
  rr_text *ids;
  rr_text *echoes; /* NULL, or a text's JSON as it came, to be returned; size 0: the text itself */
  size_t n_texts;  /* at least 1 */
  size_t top_n;    /* results wanted at most; 0: all */
  int truncate; /* RR_TRUNCATE_DEFAULT: as the server is set; 0: refuse long texts; 1: truncate */
  bool truncate_left;
  rr_cut cut;             /* of a pair that is too long */
  size_t max_tokens;      /* of a pair, if fewer than the model's; 0: no bound */
  size_t max_text_tokens; /* of a text, the rest is cut off; 0: no bound */
  bool raw_scores;
  bool return_text;
  bool in_order;     /* answer in the order of the texts, not by score */
  bool classify;     /* wants a model with a label */
  bool no_part;      /* the dialect cannot tell a part of the scores: all or an error */
  size_t timeout_ms; /* from the headers on; 0: not said */
  rr_on_timeout on_timeout;
  int64_t priority; /* lower goes earlier; 0: not said */
  bool keep; /* the texts are to be kept for later requests, under their names; nothing is scored */
  bool batch;             /* the caller sent a list, and gets one */
  const char *query_name; /* the members that held them, for errors; static storage */
  const char *texts_name;
} rr_rerank_request;

typedef struct rr_ranked {
  uint32_t index; /* into the request's texts */
  float score;
} rr_ranked;

/* What tokenizing did to one text. */
typedef struct rr_text_tokens {
  uint32_t count; /* tokens the text has, without special tokens */
  bool truncated;
} rr_text_tokens;

/* What an encoder may tell. All memory is the caller's. */
typedef struct rr_result {
  const rr_rerank_request *request;
  const rr_ranked *ranked; /* n results in the order in which they are told */
  size_t n;
  const rr_text_tokens *text_tokens; /* one a text of the request; NULL: not known */
  const bool *unscored; /* one a text: its score is only a place-holder; NULL: none is */
  size_t n_unscored;
  const bool *kept;  /* where the request is to keep texts, one a text: whether it is */
  size_t n_computed; /* of those, texts that were not known before */
  uint64_t tokens;   /* that the model has read */
  int64_t created;   /* seconds since 1970 */
  const char *id;
  const char *model; /* the name it is served under */
  const char *label; /* a cross-encoder's; NULL for a bi-encoder */
} rr_result;

/* Bounds on what a decoder accepts, besides the size of the body. */
typedef struct rr_rerank_limits {
  size_t max_texts;
  size_t max_json_values; /* values in the whole body, counted before anything is allocated */
} rr_rerank_limits;

/* "partial" or "error"; false where it is neither. */
bool rr_on_timeout_parse(const char *name, rr_on_timeout *ret_wish);

/* Orders n scores, best first; equal scores keep the order of the texts and NaN comes last.
 * ret_ranked takes n entries; n fits uint32_t. O(n log n) in the worst case, no further memory. */
void rr_rank(const float *scores, size_t n, rr_ranked *ret_ranked);

#endif
