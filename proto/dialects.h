/* The dialects there are, for dialect.c's table. One file each. */
#ifndef RR_PROTO_DIALECTS_H
#define RR_PROTO_DIALECTS_H

#include "proto/dialect.h"
#include "proto/json_writer.h"
#include "proto/reader.h"

/* decode fills a request that begins with the defaults: no truncation flag, the text alone is cut.
 * Returns false with reader->error filled. encode appends one JSON value. */
struct rr_dialect {
  const char *name;
  rr_error_shape errors; /* where the path leaves it open */
  bool (*decode)(const rr_reader *reader, rr_rerank_request *request);
  void (*encode)(const rr_rerank_answer *answer, rr_json_writer *writer);
};

extern const rr_dialect rr_dialect_tei_rerank;
extern const rr_dialect rr_dialect_tei_predict;
extern const rr_dialect rr_dialect_cohere_v1;
extern const rr_dialect rr_dialect_cohere_v2;
extern const rr_dialect rr_dialect_jina;
extern const rr_dialect rr_dialect_vllm_rerank;
extern const rr_dialect rr_dialect_vllm_score;
extern const rr_dialect rr_dialect_llamacpp;
extern const rr_dialect rr_dialect_llamacpp_texts;
extern const rr_dialect rr_dialect_infinity;
extern const rr_dialect rr_dialect_voyage;
extern const rr_dialect rr_dialect_keep;

/* [{"index":..., "score":...}], with "text" where the request asks for it. */
void rr_put_ranked_texts(const rr_rerank_answer *answer, rr_json_writer *writer);

/* {"error":..., "error_type":...} */
void rr_tei_put_error(const rr_api_error *error, rr_json_writer *writer);

/* What `rr_error_fallback` sends. Static storage. */
const char *rr_tei_error_fallback(rr_api_error_kind kind);

#endif
