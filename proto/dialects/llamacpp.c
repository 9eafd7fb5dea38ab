/* The dialect of llama.cpp's server: /reranking. Its scores are raw. */
#include "proto/dialects/declare.h"
#include "proto/results.h"

static bool read_options(const rr_reader *reader, rr_rerank_request *request) {
  request->raw_scores = true;
  return rr_check_string(reader, "model") && rr_read_count(reader, "top_n", 0, &request->top_n) &&
         rr_read_truncation(reader, request) && rr_read_text(reader, "query", &request->query);
}

static bool decode(const rr_reader *reader, rr_rerank_request *request) {
  return read_options(reader, request) && rr_read_documents(reader, "documents", request);
}

static void encode(const rr_result *result, rr_json_writer *writer) {
  static const rr_results_form form = {.model = true,
                                       .object = "list",
                                       .usage = true,
                                       .prompt_tokens = true,
                                       .list = "results",
                                       .score = "relevance_score"};
  rr_results_put(result, &form, writer);
}

static bool decode_texts(const rr_reader *reader, rr_rerank_request *request) {
  return rr_read_bool(reader, "return_text", &request->return_text) &&
         read_options(reader, request) && rr_read_texts(reader, "texts", true, request);
}

static const rr_dialect documents = {
    .name = "llamacpp", .errors = RR_ERROR_FULL, .decode = decode, .encode = encode};

static const rr_dialect texts = {.name = "llamacpp",
                                 .errors = RR_ERROR_FULL,
                                 .decode = decode_texts,
                                 .encode = rr_put_ranked_texts};

const rr_endpoint rr_endpoints_llamacpp[] = {
    {"/reranking", &texts, RR_TOLD_BY_TEXTS_ALONE},
    {"/reranking", &documents, .precedence = RR_TAKES_THE_REST},
    {"/v1/reranking", &texts, RR_TOLD_BY_TEXTS_ALONE},
    {"/v1/reranking", &documents, .precedence = RR_TAKES_THE_REST},
    {.path = NULL},
};
