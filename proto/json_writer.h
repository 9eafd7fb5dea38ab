/* Appends JSON to a growing buffer. The first failed allocation makes every later call do nothing,
 * so that only rr_json_writer_finish needs to be checked. The caller places commas and brackets. */
#ifndef RR_PROTO_JSON_WRITER_H
#define RR_PROTO_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/budget.h"
#include "core/base/text.h"

typedef struct rr_json_writer {
  char *data;
  size_t size;
  size_t capacity;
  bool failed;
  rr_claim *claim; /* counts the capacity; NULL: none */
} rr_json_writer;

/* Prepares an empty writer in the caller's memory with room for `expected` bytes. */
void rr_json_writer_init(rr_json_writer *writer, size_t expected);

/* The same where a claim (NULL: none) bounds what it takes. */
void rr_json_writer_init_within(rr_json_writer *writer, size_t expected, rr_claim *claim);

/* Appends bytes as they are: punctuation, names, literals. */
void rr_json_put_raw(rr_json_writer *writer, const char *literal);
void rr_json_put_bytes(rr_json_writer *writer, rr_text bytes);

/* Appends a quoted string, escaped; bytes that are not UTF-8 become U+FFFD. */
void rr_json_put_text(rr_json_writer *writer, rr_text text);
void rr_json_put_string(rr_json_writer *writer, const char *string);

void rr_json_put_unsigned(rr_json_writer *writer, uint64_t value);

/* Appends the shortest decimal number that reads back as the same float and does not look like an
 * integer. A value that is not finite has no JSON form and makes the writer fail. */
void rr_json_put_float(rr_json_writer *writer, float value);

/* Ends the writer: returns its terminated bytes, freed with rr_free, or NULL if anything failed.
 * What
 * it took of a claim stays taken as long as they live, and nothing where it failed. */
char *rr_json_writer_finish(rr_json_writer *writer, size_t *ret_size);

#endif
