/* The dialect of Cohere's API: /v1/rerank and /v2/rerank. */
#include "proto/dialects/declare.h"
#include "proto/results.h"

static bool read_common(const rr_reader *reader, rr_rerank_request *request) {
  return rr_check_string(reader, "model") && rr_read_count(reader, "top_n", 0, &request->top_n) &&
         rr_read_truncation(reader, request) && rr_read_text(reader, "query", &request->query) &&
         rr_read_documents(reader, "documents", request);
}

/* `max_chunks_per_doc` is checked only: a document is scored as one chunk, of the model's
 * length. */
static bool decode_v1(const rr_reader *reader, rr_rerank_request *request) {
  size_t chunks = 0;
  return rr_read_bool(reader, "return_documents", &request->return_text) &&
         rr_read_count(reader, "max_chunks_per_doc", 1, &chunks) && read_common(reader, request);
}

static void encode_v1(const rr_result *result, rr_json_writer *writer) {
  static const rr_results_form form = {.id_prefix = "",
                                       .list = "results",
                                       .score = "relevance_score",
                                       .document = RR_DOCUMENT_OBJECT,
                                       .api_version = "1",
                                       .unit_scores = true};
  rr_results_put(result, &form, writer);
}

static bool decode_v2(const rr_reader *reader, rr_rerank_request *request) {
  return rr_read_count(reader, "max_tokens_per_doc", 0, &request->max_text_tokens) &&
         read_common(reader, request);
}

static void encode_v2(const rr_result *result, rr_json_writer *writer) {
  static const rr_results_form form = {.id_prefix = "",
                                       .list = "results",
                                       .score = "relevance_score",
                                       .api_version = "2",
                                       .unit_scores = true};
  rr_results_put(result, &form, writer);
}

static const rr_dialect v1 = {
    .name = "cohere-v1", .errors = RR_ERROR_FULL, .decode = decode_v1, .encode = encode_v1};

static const rr_dialect v2 = {
    .name = "cohere-v2", .errors = RR_ERROR_FULL, .decode = decode_v2, .encode = encode_v2};

const rr_endpoint rr_endpoints_cohere[] = {
    {"/v1/rerank", &v1, .precedence = RR_TOLD_BY_MEMBERS + 20,
     .any = {"rank_fields", "max_chunks_per_doc"}},
    {"/v2/rerank", &v2, .precedence = RR_TAKES_THE_REST},
    {.path = NULL},
};
