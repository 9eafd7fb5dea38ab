/* What the requests hold: which query, how many candidates, which documents. A pure, seeded
 * sequence: the k-th request is the same whatever the server does.
 *
 * 1. Queries come in a seeded order, all of them before one comes again.
 * 2. A request's candidates are its query's own, in the file's order, then those that follow in
 *    the file.
 * 3. Without a repeat rate documents come again as their queries do. With one, that share of the
 *    documents was sent in an earlier request, and every other one was never sent before: once the
 *    file is used up, a document gets a number at its end (its variant).
 */
#ifndef RR_BENCH_LOAD_MIX_H
#define RR_BENCH_LOAD_MIX_H

#include <stddef.h>
#include <stdint.h>

#include "bench/load/corpus.h"
#include "bench/load/rng.h"
#include "core/base/status.h"

enum { MIX_SIZES_MAX = 16, MIX_CANDIDATES_MAX = 100000, MIX_SEEN_MAX = 1 << 16 };

typedef struct mix_sizes {
  uint32_t size[MIX_SIZES_MAX];
  double upto[MIX_SIZES_MAX]; /* cumulated shares; the last is 1 */
  size_t n;
} mix_sizes;

/* "100", or sizes with weights: "10:0.5,100:0.4,1000:0.1". RR_ERR_INPUT. */
rr_status mix_sizes_parse(const char *text, mix_sizes *ret_sizes, rr_error *err);

typedef struct mix_document {
  size_t document;  /* in the corpus */
  uint64_t variant; /* 0: as given; else this number stands at its end */
} mix_document;

typedef struct mix_plan {
  size_t query;
  size_t n;
  size_t repeats; /* of n, sent by an earlier request; told with a repeat rate only */
  const mix_document *documents; /* the mix's; until its next plan */
} mix_plan;

typedef struct mix mix;

/* The corpus is borrowed. repeat: 0 to 1, or negative for none asked. NULL: out of memory. */
mix *mix_create(const corpus *texts, const mix_sizes *sizes, double repeat, uint64_t seed);
mix_plan mix_next(mix *self);
void mix_destroy(mix *self);

#endif
