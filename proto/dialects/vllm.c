/* The dialect of vLLM's server: its /rerank and /score. */
#include "proto/dialects/declare.h"
#include "proto/results.h"

/* `truncate_prompt_tokens` bounds a pair; -1 stands for the model's length. */
static bool read_prompt_tokens(const rr_reader *reader, rr_rerank_request *request) {
  const char *name = "truncate_prompt_tokens";
  json_int_t number;
  if (rr_json_whole(json_object_get(reader->body, name), &number) && number == -1) {
    request->truncate = 1;
    return true;
  }
  if (!rr_read_count(reader, name, 1, &request->max_tokens)) {
    return false;
  }
  if (request->max_tokens > 0) {
    request->truncate = 1;
  }
  return true;
}

static bool read_options(const rr_reader *reader, rr_rerank_request *request) {
  bool activation = true;
  if (!rr_check_string(reader, "model") || !rr_read_bool(reader, "use_activation", &activation) ||
      !read_prompt_tokens(reader, request) ||
      !rr_read_count(reader, "max_tokens_per_doc", 0, &request->max_text_tokens)) {
    return false;
  }
  request->raw_scores = !activation;
  return rr_read_truncation(reader, request);
}

static bool decode_rerank(const rr_reader *reader, rr_rerank_request *request) {
  request->return_text = true;
  return read_options(reader, request) && rr_read_count(reader, "top_n", 0, &request->top_n) &&
         rr_read_bool(reader, "return_documents", &request->return_text) &&
         rr_read_text(reader, "query", &request->query) &&
         rr_read_documents(reader, "documents", request);
}

static void encode_rerank(const rr_result *result, rr_json_writer *writer) {
  static const rr_results_form form = {.id_prefix = "rerank-",
                                       .model = true,
                                       .usage = true,
                                       .prompt_tokens = true,
                                       .list = "results",
                                       .score = "relevance_score",
                                       .document = RR_DOCUMENT_OBJECT};
  rr_results_put(result, &form, writer);
}

/* A string, or a list of strings: *ret_texts and *ret_n. */
static bool read_side(const rr_reader *reader, const char *name, rr_text **ret_texts,
                      size_t *ret_n) {
  rr_rerank_request side = {.n_texts = 1};
  if (json_is_string(json_object_get(reader->body, name))) {
    side.texts = rr_arena_calloc(reader->arena, 1, sizeof *side.texts);
    if (side.texts == NULL) {
      return rr_api_fail(reader->error, RR_API_MEMORY, "out of memory");
    }
    if (!rr_read_text(reader, name, side.texts)) {
      return false;
    }
  } else if (!rr_read_texts(reader, name, false, &side)) {
    return false;
  }
  *ret_texts = side.texts;
  *ret_n = side.n_texts;
  return true;
}

/* One query for all texts, or one each. */
static bool decode_score(const rr_reader *reader, rr_rerank_request *request) {
  bool other_names = rr_reader_gives(reader, "queries") || rr_reader_gives(reader, "documents");
  const char *left = other_names ? "queries" : "text_1";
  const char *right = other_names ? "documents" : "text_2";
  rr_text *queries = NULL;
  size_t n_queries = 0;
  request->in_order = true;
  request->query_name = left;
  request->texts_name = right;
  if (!read_options(reader, request) || !read_side(reader, left, &queries, &n_queries) ||
      !read_side(reader, right, &request->texts, &request->n_texts)) {
    return false;
  }
  if (n_queries == 1) {
    request->query = queries[0];
    return true;
  }
  if (n_queries != request->n_texts) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, left,
                             "`%s` must be one text, or as many as `%s` has: %zu, not %zu", left,
                             right, request->n_texts, n_queries);
  }
  request->queries = queries;
  return true;
}

static void encode_score(const rr_result *result, rr_json_writer *writer) {
  static const rr_results_form form = {.id_prefix = "score-",
                                       .object = "list",
                                       .created = true,
                                       .model = true,
                                       .usage = true,
                                       .prompt_tokens = true,
                                       .list = "data",
                                       .score = "score",
                                       .result_object = "score"};
  rr_results_put(result, &form, writer);
}

static const rr_dialect rerank = {
    .name = "vllm", .errors = RR_ERROR_FULL, .decode = decode_rerank, .encode = encode_rerank};

static const rr_dialect score = {.name = "vllm",
                                 .operation = RR_OPERATION_SCORE,
                                 .errors = RR_ERROR_FULL,
                                 .decode = decode_score,
                                 .encode = encode_score};

/* At /v2/rerank `max_tokens_per_doc` belongs to the dialect that takes the rest there. */
const rr_endpoint rr_endpoints_vllm[] = {
    {"/rerank", &rerank, .precedence = RR_TOLD_BY_MEMBERS + 30,
     .any = {"truncate_prompt_tokens", "max_tokens_per_doc", "use_activation", "priority"}},
    {"/v1/rerank", &rerank, .precedence = RR_TOLD_BY_MEMBERS + 30,
     .any = {"truncate_prompt_tokens", "max_tokens_per_doc", "use_activation", "priority"}},
    {"/v2/rerank", &rerank, .precedence = RR_TOLD_BY_MEMBERS + 30,
     .any = {"truncate_prompt_tokens", "use_activation"}},
    {"/score", &score, .precedence = RR_TAKES_THE_REST},
    {"/v1/score", &score, .precedence = RR_TAKES_THE_REST},
    {.path = NULL},
};
