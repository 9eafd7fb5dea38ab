/* Queries and their candidates, read from JSON lines and held ready to be written into requests.
 *
 * 1. Texts are kept as the inside of a JSON string: escaped, without the quotes.
 * 2. Documents of one query lie side by side, in the file's order.
 * 3. Read once, then never changed.
 */
#ifndef RR_BENCH_LOAD_CORPUS_H
#define RR_BENCH_LOAD_CORPUS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/status.h"

typedef struct corpus_text {
  char *json;
  size_t size; /* bytes of json */
} corpus_text;

typedef struct corpus_query {
  corpus_text text;
  size_t first, n; /* its documents */
} corpus_query;

typedef struct corpus {
  corpus_query *queries;
  size_t n_queries;
  corpus_text *documents;
  size_t n_documents;
  size_t bytes; /* of all texts */
  size_t queries_capacity, documents_capacity;
} corpus;

/* One JSON object a line: `query`, and a list `candidates`, `documents`, `texts` or `passages` of
 * strings or of objects with `text`; or `query` and one `text` or `passage`, where lines of the
 * same query that follow each other belong together. Documents are cut to max_words words (0: as
 * given). name is for messages. RR_ERR_FORMAT, RR_ERR_INPUT (no query with a document, more than a
 * bound), RR_ERR_IO, RR_ERR_MEMORY. */
rr_status corpus_read(FILE *file, const char *name, size_t max_words, corpus *ret_corpus,
                      rr_error *err);

void corpus_finish(corpus *self);

#endif
