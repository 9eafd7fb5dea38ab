/* Is an answer right? Every index there once, scores finite and descending. */
#ifndef RR_BENCH_LOAD_CHECK_H
#define RR_BENCH_LOAD_CHECK_H

#include <stddef.h>

#include "bench/load/dialect.h"

typedef enum check_verdict {
  CHECK_RIGHT,
  CHECK_NOT_JSON, /* also NaN and infinity, which JSON has no words for */
  CHECK_SHAPE,    /* no list of results, or one without a whole number as its index */
  CHECK_COUNT,    /* too few or too many results */
  CHECK_INDEX,    /* an index beyond the candidates */
  CHECK_TWICE,    /* an index more than once */
  CHECK_SCORE,    /* no number */
  CHECK_ORDER,    /* a score above the one before it */
  CHECK_MEMORY,   /* could not be checked */
  CHECK_VERDICTS
} check_verdict;

/* A few words: "index out of range". */
const char *check_words(check_verdict verdict);

/* n candidates were sent; top_n results at most were asked for (0: all). Any thread. */
check_verdict check_answer(const dialect *spoken, const char *body, size_t size, size_t n,
                           size_t top_n);

#endif
