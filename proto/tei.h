/* The dialect of Hugging Face's text-embeddings-inference (TEI): /rerank, /info and errors.
 *
 * Pure functions: any thread, no I/O, no shared state. Numbers are written by printf, so the program
 * must stay in the "C" numeric locale, which it is in unless it calls setlocale.
 */
#ifndef RR_PROTO_TEI_H
#define RR_PROTO_TEI_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/arena.h"
#include "proto/error.h"
#include "proto/rerank.h"

/* Reads the body of POST /rerank. Texts are copied into the arena, so the body may be freed; memory
 * used on the way is several times the body's size. Unknown fields are ignored, null stands for an
 * optional field's default, of two equal keys the last one counts. Returns false with *ret_error
 * filled and *ret_request untouched on:
 *   RR_API_MALFORMED   not JSON, not UTF-8, nested too deeply, numbers out of range
 *   RR_API_EMPTY       `texts` is empty
 *   RR_API_VALIDATION  a missing field, a wrong type, more texts or values than the limits
 *   RR_API_MEMORY      the heap or the arena is exhausted */
bool rr_tei_decode_rerank(const char *body, size_t size, const rr_rerank_limits *limits,
                          rr_arena *arena, rr_rerank_request *ret_request, rr_api_error *ret_error);

/* [{"index":...,"score":...}] in the order of `ranked` (n entries of the request's texts), with "text"
 * where the request asks for it. A score is the shortest decimal that reads back as the same float. Returns *ret_size bytes, terminated, freed by the caller with rr_free; NULL when the
 * heap is exhausted or a score is not finite. */
char *rr_tei_encode_rerank(const rr_rerank_request *request, const rr_ranked *ranked, size_t n,
                           size_t *ret_size);

/* {"error":...,"error_type":...}. Memory as above; bytes that are not UTF-8 become U+FFFD. NULL when the
 * heap is exhausted: send rr_tei_error_fallback then. */
char *rr_tei_encode_error(const rr_api_error *error, size_t *ret_size);

/* The same without the message, in static storage: never fails, never freed. */
const char *rr_tei_error_fallback(rr_api_error_kind kind, size_t *ret_size);

/* What GET /info tells. Strings are borrowed. */
typedef struct rr_tei_info {
  const char *model_id;
  const char *model_sha;   /* the commit of a model from the hub, or NULL */
  const char *served_model_name;
  const char *model_dtype; /* "float32" */
  const char *label;       /* a cross-encoder's one label; NULL for a bi-encoder */
  const char *pooling;     /* a bi-encoder's "mean" or "cls"; NULL for a cross-encoder */
  size_t max_concurrent_requests;
  size_t max_input_length; /* tokens */
  size_t max_batch_tokens;
  size_t max_client_batch_size;
  size_t tokenization_workers;
  bool auto_truncate;
  const char *version;
} rr_tei_info;

/* The body of GET /info. Memory as above. */
char *rr_tei_encode_info(const rr_tei_info *info, size_t *ret_size);

#endif
