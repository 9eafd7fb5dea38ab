/* Bounded reading of JSON through jansson, with errors in the project's form. */
#ifndef RR_CORE_BASE_JSON_H
#define RR_CORE_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/base/arena.h"
#include "core/base/status.h"

/* Makes jansson allocate through core/base/alloc.h, so that running out of memory within a parse
 * is an error and no more. Call once, before any other thread runs. What json_dumps returns is
 * then freed by the function that json_get_alloc_funcs tells, and by no other. */
void rr_json_init(void);

/* Parses size bytes of UTF-8 JSON. Strings may hold NUL (use json_string_length); duplicate keys:
 * the last one wins. At most max_values values are accepted, counted before anything is allocated.
 * *ret_json is a new reference (json_decref). Errors: RR_ERR_MEMORY, RR_ERR_INPUT (too many
 * values), RR_ERR_FORMAT (malformed; the message names line and column). Any thread. */
rr_status rr_json_parse(const char *data, size_t size, size_t max_values, json_t **ret_json,
                        rr_error *err);

/* What is wrong with malformed JSON. */
typedef struct rr_json_fault {
  int line;
  int column;
  char text[JSON_ERROR_TEXT_LENGTH]; /* one line; quotes up to 20 bytes of the input */
} rr_json_fault;

/* As rr_json_parse, for input that must not get into every message: of malformed JSON
 * (RR_ERR_FORMAT) *ret_fault tells, and err names the place alone. */
rr_status rr_json_parse_foreign(const char *data, size_t size, size_t max_values, json_t **ret_json,
                                rr_json_fault *ret_fault, rr_error *err);

/* As rr_json_parse, but an object that names a key twice is RR_ERR_FORMAT. */
rr_status rr_json_parse_unique(const char *data, size_t size, size_t max_values, json_t **ret_json,
                               rr_error *err);

/* Memory of all that jansson allocates on one thread for a while: counted by a claim, and gone at
 * once. */
typedef struct rr_json_scope {
  rr_arena small;
  struct rr_json_large *large; /* what is freed singly */
} rr_json_scope;

/* From here on, until rr_json_leave, all that jansson allocates on this thread is the scope's.
 * Values made within are not to be used
 * after it and need no json_decref; those made before are not to be freed within. Scopes do not
 * nest. claim: NULL for none. */
void rr_json_enter(rr_json_scope *scope, struct rr_claim *claim);
void rr_json_leave(rr_json_scope *scope);

/* Reads and parses a whole file of at most max_bytes. Where it has an integer beyond 64 bits (some
 * tokenizers write 10^30 for "no limit"), all its integers become reals. Errors as above, plus
 * RR_ERR_IO; messages begin with the path. Any thread. */
rr_status rr_json_load(const char *path, size_t max_bytes, json_t **ret_json, rr_error *err);

#endif
