/* The canonical rerank request and its ranked answer: what every dialect maps to and from. */
#ifndef RR_PROTO_RERANK_H
#define RR_PROTO_RERANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/text.h"

enum { RR_TRUNCATE_DEFAULT = -1 };

/* A decoded request. All memory belongs to the arena that was given to the decoder; texts are valid
 * UTF-8 and may hold NUL. */
typedef struct rr_rerank_request {
  rr_text query;
  rr_text *texts; /* the candidates, in the caller's order */
  size_t n_texts; /* at least 1 */
  int truncate;   /* RR_TRUNCATE_DEFAULT: as the server is set; 0: refuse long texts; 1: truncate */
  bool truncate_left;
  bool raw_scores;
  bool return_text;
} rr_rerank_request;

typedef struct rr_ranked {
  uint32_t index; /* into the request's texts */
  float score;
} rr_ranked;

/* Bounds on what a decoder accepts, besides the size of the body. */
typedef struct rr_rerank_limits {
  size_t max_texts;
  size_t max_json_values; /* values in the whole body, counted before anything is allocated */
} rr_rerank_limits;

/* Orders n scores, best first; equal scores keep the order of the texts and NaN comes last.
 * ret_ranked takes n entries; n fits uint32_t. O(n log n) in the worst case, no further memory. */
void rr_rank(const float *scores, size_t n, rr_ranked *ret_ranked);

#endif
