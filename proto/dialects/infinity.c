/* The dialect of infinity's server: /rerank with `documents`, and /v1/rerank with
 * `raw_scores`. */
#include "proto/dialects/declare.h"
#include "proto/results.h"

static bool decode(const rr_reader *reader, rr_rerank_request *request) {
  return rr_check_string(reader, "model") && rr_read_count(reader, "top_n", 0, &request->top_n) &&
         rr_read_bool(reader, "raw_scores", &request->raw_scores) &&
         rr_read_bool(reader, "return_documents", &request->return_text) &&
         rr_read_truncation(reader, request) && rr_read_text(reader, "query", &request->query) &&
         rr_read_documents(reader, "documents", request);
}

static void encode(const rr_result *result, rr_json_writer *writer) {
  static const rr_results_form form = {.id_prefix = "infinity-",
                                       .object = "rerank",
                                       .created = true,
                                       .model = true,
                                       .usage = true,
                                       .prompt_tokens = true,
                                       .list = "results",
                                       .score = "relevance_score",
                                       .document = RR_DOCUMENT_STRING};
  rr_results_put(result, &form, writer);
}

static const rr_dialect infinity = {
    .name = "infinity", .errors = RR_ERROR_LISTED, .decode = decode, .encode = encode};

const rr_endpoint rr_endpoints_infinity[] = {
    {"/rerank", &infinity, .precedence = RR_TOLD_BY_DOCUMENTS, .any = {"documents"}},
    {"/v1/rerank", &infinity, .precedence = RR_TOLD_BY_MEMBERS + 40, .any = {"raw_scores"}},
    {.path = NULL},
};
