/* Which dialect a request speaks, by its path and the keys of its body, and the way through it:
 * body to canonical request, canonical result to body, errors in the caller's shape.
 *
 * Pure functions: any thread, no I/O, no shared state. Numbers are written by printf, so the
 * program must stay in the "C" numeric locale, which it is in unless it calls setlocale.
 */
#ifndef RR_PROTO_DIALECT_H
#define RR_PROTO_DIALECT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/arena.h"
#include "proto/error.h"
#include "proto/rerank.h"

struct rr_claim;
typedef struct rr_dialect rr_dialect;
typedef struct rr_endpoint rr_endpoint;

/* What an endpoint does, for counting. */
typedef enum rr_operation {
  RR_OPERATION_RERANK,
  RR_OPERATION_PREDICT,
  RR_OPERATION_SCORE,
  RR_OPERATION_DOCUMENTS
} rr_operation;
enum { RR_OPERATIONS = 4 };

/* Who reads an error: clients that want exactly {"error", "error_type"}, or any of the others,
 * which find `message`, `detail` and `error` {} together. Some want `detail` as a list where the
 * request itself is wrong (422). */
typedef enum rr_error_shape { RR_ERROR_TERSE, RR_ERROR_FULL, RR_ERROR_LISTED } rr_error_shape;

/* The endpoint that takes POST at this path, or NULL. Static storage. */
const rr_endpoint *rr_endpoint_at(const char *path);
rr_operation rr_endpoint_operation(const rr_endpoint *endpoint);
const char *rr_operation_name(rr_operation operation);

/* Reads a body. Texts are copied into the arena, so the body may be freed; memory used on the way,
 * which is several times the body's size, counts in the arena's claim. Unknown fields are ignored,
 * null stands for an optional field's default, of two equal keys the last one counts. *ret_dialect
 * is set as soon as it is known, else NULL. Returns false with *ret_error filled and *ret_request
 * untouched on:
 *   RR_API_MALFORMED   not JSON, not UTF-8, nested too deeply, numbers out of range
 *   RR_API_EMPTY       no candidates
 *   RR_API_VALIDATION  a missing field, a wrong type, more texts or values than the limits
 *   RR_API_MEMORY      the heap, the arena or its claim is exhausted */
bool rr_dialect_decode(const rr_endpoint *endpoint, const char *body, size_t size,
                       const rr_rerank_limits *limits, rr_arena *arena,
                       const rr_dialect **ret_dialect, rr_rerank_request *ret_request,
                       rr_api_error *ret_error);

/* The dialect that a body probably speaks, by the names in its first and last bytes, for refusals
 * before it is read; NULL: not known. Takes microseconds. */
const rr_dialect *rr_dialect_guess(const rr_endpoint *endpoint, const char *body, size_t size);

enum { RR_JSON_SEARCH_MAX = 65536 };

/* Whether bytes hold a member's name in quotes, as JSON has it. More than RR_JSON_SEARCH_MAX bytes
 * are not searched: they may. Takes microseconds. */
bool rr_json_may_name(const char *bytes, size_t size, const char *name);

/* About as many bytes as the memory of a request's answer may take; more only for texts full of
 * what JSON has to escape.
 * each: those of a name that each result has. */
size_t rr_dialect_reply_bytes(const rr_rerank_request *request, size_t each);

/* Writes the answer that tells a result. A score is the shortest decimal that reads back as the
 * same float. Returns *ret_size bytes, terminated, freed by the caller with rr_free, and taken from
 * the claim (NULL: none) as long; NULL when the heap or the claim is exhausted or a score is not
 * finite, and then nothing is taken. */
char *rr_dialect_encode(const rr_dialect *dialect, const rr_result *result, struct rr_claim *claim,
                        size_t *ret_size);

const char *rr_dialect_name(const rr_dialect *dialect);

/* The shape for a path, known or not, and for the dialect, NULL as long as it is not known. */
rr_error_shape rr_error_shape_of(const char *path, const rr_dialect *dialect);

/* The body of an error. Memory as above; bytes that are not UTF-8 become U+FFFD. NULL when the heap
 * is exhausted: send rr_error_fallback then. */
char *rr_error_encode(rr_error_shape shape, const rr_api_error *error, size_t *ret_size);

/* The same without the message, in static storage: never fails, never freed. */
const char *rr_error_fallback(rr_error_shape shape, rr_api_error_kind kind, size_t *ret_size);

#endif
