/* The dialect of Voyage's API: /rerank and /v1/rerank with `top_k` or
 * `truncation`. */
#include "proto/dialects/declare.h"
#include "proto/results.h"

static bool decode(const rr_reader *reader, rr_rerank_request *request) {
  return rr_check_string(reader, "model") && rr_read_count(reader, "top_k", 0, &request->top_n) &&
         rr_read_bool(reader, "return_documents", &request->return_text) &&
         rr_read_flag(reader, "truncation", &request->truncate) &&
         rr_read_truncation(reader, request) && rr_read_text(reader, "query", &request->query) &&
         rr_read_documents(reader, "documents", request);
}

static void encode(const rr_result *result, rr_json_writer *writer) {
  static const rr_results_form form = {.object = "list",
                                       .model = true,
                                       .usage = true,
                                       .list = "data",
                                       .score = "relevance_score",
                                       .document = RR_DOCUMENT_STRING,
                                       .unit_scores = true};
  rr_results_put(result, &form, writer);
}

static const rr_dialect voyage = {
    .name = "voyage", .errors = RR_ERROR_FULL, .decode = decode, .encode = encode};

const rr_endpoint rr_endpoints_voyage[] = {
    {"/rerank", &voyage, .precedence = RR_TOLD_BY_MEMBERS + 10, .any = {"top_k", "truncation"}},
    {"/v1/rerank", &voyage, .precedence = RR_TOLD_BY_MEMBERS + 10, .any = {"top_k", "truncation"}},
    {.path = NULL},
};
