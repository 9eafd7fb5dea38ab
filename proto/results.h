/* The answers that dialects share: results in an object, one writer with a form a dialect, and
 * results as a bare array. */
#ifndef RR_PROTO_RESULTS_H
#define RR_PROTO_RESULTS_H

#include <stdbool.h>

#include "proto/json_writer.h"
#include "proto/rerank.h"

typedef enum rr_document_form {
  RR_DOCUMENT_NONE,
  RR_DOCUMENT_OBJECT, /* {"text":...}, or the object that the caller sent */
  RR_DOCUMENT_STRING,
} rr_document_form;

typedef struct rr_results_form {
  const char *id_prefix; /* NULL: no `id` */
  const char *object;    /* NULL: no `object` */
  bool created;
  bool model;
  bool prompt_tokens; /* `usage` has them beside `total_tokens` */
  bool usage;
  const char *api_version;   /* NULL: no `meta` */
  const char *list;          /* "results" or "data" */
  const char *score;         /* "relevance_score" or "score" */
  const char *result_object; /* each result's `object`; NULL: none */
  rr_document_form document; /* where the request returns texts */
  bool unit_scores;          /* scores are promised to be 0 to 1: a cosine below 0 is told as 0 */
} rr_results_form;

/* Appends the object. A result also tells how many tokens its text has, and `truncated` where it
 * was; where texts have no score, `unscored` is true in their results and tells their number in the
 * object. */
void rr_results_put(const rr_result *result, const rr_results_form *form, rr_json_writer *writer);

/* Appends [{"index":..., "score":...}], with "text" where the request asks for it. */
void rr_put_ranked_texts(const rr_result *result, rr_json_writer *writer);

#endif
