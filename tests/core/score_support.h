/* Shared by the scorer's tests: the golden cases, and scratch model directories. */
#ifndef RR_TESTS_CORE_SCORE_SUPPORT_H
#define RR_TESTS_CORE_SCORE_SUPPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/scorer.h"

/* One request with its reference scores (logits or cosines). */
typedef struct golden_case {
  const char *name;
  rr_encode_options options;
  rr_text query;
  rr_text *texts;
  size_t n_texts;
  float *scores;
  float query_vector[8]; /* a bi-encoder's first components */
} golden_case;

typedef struct golden_cases {
  golden_case *items;
  size_t count;
  json_t *json; /* owns all texts */
} golden_cases;

/* tests/golden/score/<name>; static storage, valid until the next call. Fails the test if RR_GOLDEN
 * is not set. */
const char *golden_path(const char *name);

/* Reads <name>.json: an array of cases, or an object with one. */
golden_cases golden_load(const char *name);
void golden_free(golden_cases *cases);

/* Loads a model directory; fails the test with the message if that fails. */
rr_scorer *must_load(const char *directory);

/* A new empty directory; static storage, valid until the next call. scratch_remove deletes it with
 * its files and, one level down, its folders. */
const char *scratch_create(void);
void scratch_remove(const char *directory);

/* Writes size bytes, or text, to directory/name; copies source/name to directory/name. */
void scratch_bytes(const char *directory, const char *name, const void *data, size_t size);
void scratch_text(const char *directory, const char *name, const char *text);
void scratch_copy(const char *source, const char *directory, const char *name);

/* A whole file; *ret_size bytes, freed by the caller with free. */
unsigned char *read_bytes(const char *path, size_t *ret_size);

#endif
