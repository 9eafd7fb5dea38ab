/* Reading fields of a request's JSON object, for all dialects: typed and bounded. Null stands for
 * an absent field wherever the field is optional.
 *
 * Each function returns false with reader->error filled: RR_API_VALIDATION that names the field,
 * RR_API_EMPTY for a list of candidates without any, RR_API_MEMORY. Any thread. */
#ifndef RR_PROTO_READER_H
#define RR_PROTO_READER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/base/arena.h"
#include "proto/error.h"
#include "proto/rerank.h"

typedef struct rr_reader {
  const json_t *body; /* an object */
  const rr_rerank_limits *limits;
  rr_arena *arena; /* takes what the request keeps */
  rr_api_error *error;
} rr_reader;

/* "a string", "null", ... */
const char *rr_json_type_name(const json_t *value);

/* Whether a value is a whole number that every JSON reader has exactly; it may be written as
 * 2.0. */
#define RR_WHOLE_MAX ((json_int_t)9007199254740991)
bool rr_json_whole(const json_t *value, json_int_t *ret_number);

/* True where the object has the key, even with null. */
bool rr_reader_has(const rr_reader *reader, const char *name);

/* True where the object has the key with anything but null. */
bool rr_reader_gives(const rr_reader *reader, const char *name);

/* An optional boolean; *value stays as it is where the field is absent. */
bool rr_read_bool(const rr_reader *reader, const char *name, bool *value);

/* The same into 0 or 1. */
bool rr_read_flag(const rr_reader *reader, const char *name, int *value);

/* An optional whole number of at least `least`. */
bool rr_read_count(const rr_reader *reader, const char *name, size_t least, size_t *value);

/* An optional string whose value does not matter. */
bool rr_check_string(const rr_reader *reader, const char *name);

/* A string that must be there. */
bool rr_read_text(const rr_reader *reader, const char *name, rr_text *ret_text);

/* Copies a JSON string into the arena. */
bool rr_copy_text(const rr_reader *reader, const json_t *string, rr_text *ret_text);

/* A list that must be there, its length checked against the limits, its elements not. NULL on
 * failure. */
const json_t *rr_read_list(const rr_reader *reader, const char *name);

/* The longest name of a document, in bytes. */
enum { RR_ID_BYTES_MAX = 256 };

/* An object's member `id` as element i of `name` has it: a string of 1 to RR_ID_BYTES_MAX bytes
 * without NUL. */
bool rr_read_id(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                rr_text *ret_id);

/* The same as the name of the request's text i, which is to be found under it. */
bool rr_read_named(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                   rr_rerank_request *request);

/* A list of strings that must be there, or {"id": ...} for those that the server keeps, into the
 * request's texts (`name`: static storage); where null_is_empty, null among them is an empty text.
 * Nowhere else names: null_is_empty tells. */
bool rr_read_texts(const rr_reader *reader, const char *name, bool null_is_empty,
                   rr_rerank_request *request);

/* The same for strings, {"text": ...}, {"id": ...} without text, and objects whose `rank_fields`
 * are joined by line
 * feeds; equal ones count once. Where the request returns texts, objects are kept as they came, in
 * its echoes. */
bool rr_read_documents(const rr_reader *reader, const char *name, rr_rerank_request *request);

/* `truncation_direction`, which asks for the longer one first, and `truncation_strategy`
 * ("longest_first", "only_second"), which says it outright. */
bool rr_read_truncation(const rr_reader *reader, rr_rerank_request *request);

/* `timeout_ms`, `on_timeout` ("partial", "error") and `priority`. */
bool rr_read_schedule(const rr_reader *reader, rr_rerank_request *request);

#endif
