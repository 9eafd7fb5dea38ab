/* The dialect of Jina's API: /v1/rerank. Clients of another API send the very same body there, so
 * the answer holds what either reads. */
#include "proto/dialects/declare.h"
#include "proto/results.h"

static bool decode(const rr_reader *reader, rr_rerank_request *request) {
  return rr_check_string(reader, "model") && rr_read_count(reader, "top_n", 0, &request->top_n) &&
         rr_read_bool(reader, "return_documents", &request->return_text) &&
         rr_read_truncation(reader, request) && rr_read_text(reader, "query", &request->query) &&
         rr_read_documents(reader, "documents", request);
}

static void encode(const rr_result *result, rr_json_writer *writer) {
  static const rr_results_form form = {.id_prefix = "",
                                       .model = true,
                                       .usage = true,
                                       .prompt_tokens = true,
                                       .list = "results",
                                       .score = "relevance_score",
                                       .document = RR_DOCUMENT_OBJECT,
                                       .api_version = "1",
                                       .unit_scores = true};
  rr_results_put(result, &form, writer);
}

static const rr_dialect jina = {
    .name = "jina", .errors = RR_ERROR_FULL, .decode = decode, .encode = encode};

const rr_endpoint rr_endpoints_jina[] = {
    {"/v1/rerank", &jina, .precedence = RR_TAKES_THE_REST},
    {.path = NULL},
};
