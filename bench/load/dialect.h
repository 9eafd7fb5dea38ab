/* The APIs that the load generator speaks: a row each. */
#ifndef RR_BENCH_LOAD_DIALECT_H
#define RR_BENCH_LOAD_DIALECT_H

#include <stddef.h>

#include "bench/load/corpus.h"
#include "bench/load/mix.h"

typedef struct dialect {
  const char *name;
  const char *path;
  const char *documents; /* the request's member with the candidates */
  const char *top_n;     /* the member that bounds the results; NULL: none */
  const char *results;   /* the answer's member with the results; NULL: the answer is the array */
  const char *score;     /* a result's member with its score; its index is `index` everywhere */
  const char *further;   /* further members of the request, as JSON with a comma before it; or "" */
} dialect;

/* NULL: there is none of this name. */
const dialect *dialect_find(const char *name);

/* The names, separated by ", ". */
const char *dialect_names(void);

/* Writes a request's body into to (NULL: only counts); returns its size. model is JSON with quotes;
 * NULL: none. top_n 0: all. */
size_t dialect_body(const dialect *self, const corpus *texts, const mix_plan *plan,
                    const char *model, size_t top_n, char *to);

#endif
