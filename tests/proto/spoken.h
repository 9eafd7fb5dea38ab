/* Bodies through the table of dialects, for the tests of all of them. */
#ifndef RR_TESTS_PROTO_SPOKEN_H
#define RR_TESTS_PROTO_SPOKEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/json.h"
#include "proto/dialect.h"

enum { SPOKEN_TEXTS_MAX = 4 };

typedef struct decoded {
  rr_arena arena; /* finished by the caller */
  const rr_dialect *dialect;
  rr_rerank_request request;
  rr_api_error error;
} decoded;

/* Decodes a body from a heap block of just its size, so that sanitizers see reads beyond it. At
 * most SPOKEN_TEXTS_MAX texts. */
bool decode(const char *path, const char *body, size_t size, decoded *out);

/* The same for a body that must be good. */
void decode_good(const char *path, const char *body, decoded *out);

void expect_text(rr_text text, const char *wanted);

/* The dialect that takes a body, good or not. */
const rr_dialect *dialect_told(const char *path, const char *body);

/* Parses an encoder's bytes and frees them. */
json_t *read_back(char *bytes, size_t size);

#define DOCUMENTS "\"query\":\"q\",\"documents\":[\"a\",\"b\"]"
#define TEXTS "\"query\":\"q\",\"texts\":[\"a\",\"b\"]"

/* What goes through every dialect: its path, the body without its end, its optional members. */
typedef struct speaker {
  const char *path;
  const char *before; /* the list of candidates */
  const char *list;   /* that list's name */
  const char *after;  /* the list; makes the body this dialect's */
  const char *nulls;  /* every optional member, with commas between */
} speaker;

enum {
  SAYS_TEXTS,
  SAYS_PREDICT,
  SAYS_COHERE_V1,
  SAYS_COHERE_V2,
  SAYS_JINA,
  SAYS_VLLM,
  SAYS_SCORE,
  SAYS_RERANKING,
  SAYS_RERANKING_TEXTS,
  SAYS_INFINITY,
  SAYS_VOYAGE,
  SPEAKERS
};
extern const speaker speakers[SPEAKERS];

/* Decodes the body with these candidates, in JSON, and more members (",..." or ""). */
bool say(const speaker *who, const char *candidates, const char *more, decoded *out);

/* Two candidates whose second text is "b". */
const char *good_candidates(const speaker *who);

int spoken_set_up(void **state);

#endif
