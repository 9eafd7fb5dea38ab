/* The dialect of Hugging Face's text-embeddings-inference: /, /rerank and /predict. */
#include "proto/dialects/declare.h"
#include "proto/results.h"

/* `truncate`: true asks for what the original does, the longer one first. Without a word the query
 * stays whole where that is possible; where it is not, the original would still rank, and so does
 * this. */
static bool read_options(const rr_reader *reader, rr_rerank_request *request) {
  request->cut = RR_CUT_TEXT_IF_POSSIBLE;
  if (!rr_read_flag(reader, "truncate", &request->truncate) ||
      !rr_read_bool(reader, "raw_scores", &request->raw_scores)) {
    return false;
  }
  if (request->truncate == 1) {
    request->cut = RR_CUT_LONGEST;
  }
  return rr_read_truncation(reader, request);
}

static bool decode_rerank(const rr_reader *reader, rr_rerank_request *request) {
  /* Rankers of documents send null for one without content. */
  return read_options(reader, request) &&
         rr_read_bool(reader, "return_text", &request->return_text) &&
         rr_read_text(reader, "query", &request->query) &&
         rr_read_texts(reader, "texts", true, request);
}

static const rr_dialect rerank = {.name = "tei",
                                  .errors = RR_ERROR_TERSE,
                                  .decode = decode_rerank,
                                  .encode = rr_put_ranked_texts};

/* --- /predict: pairs, or texts alone, each scored for itself --- */

/* A string, [text], or [query, text] as candidate i. */
static bool read_input(const rr_reader *reader, const json_t *input, size_t i,
                       rr_rerank_request *request) {
  size_t n = json_array_size(input);
  const json_t *text = n > 0 ? json_array_get(input, n - 1) : input;
  const json_t *query = n == 2 ? json_array_get(input, 0) : NULL;
  bool listed = json_is_array(input);
  if (n > 2 || (request->batch && !listed) || !json_is_string(text) ||
      (query != NULL && !json_is_string(query))) {
    return rr_api_fail_field(
        reader->error, RR_API_VALIDATION, "inputs",
        "`inputs` must be a string, a pair of strings, or a list of such pairs; "
        "element %zu is not",
        i);
  }
  return rr_copy_text(reader, text, &request->texts[i]) &&
         (query == NULL || rr_copy_text(reader, query, &request->queries[i]));
}

/* Whether a list is itself one input: strings only. */
static bool is_one_input(const json_t *inputs) {
  return json_is_string(inputs) || json_is_string(json_array_get(inputs, 0));
}

static bool read_inputs(const rr_reader *reader, rr_rerank_request *request) {
  const json_t *inputs = json_object_get(reader->body, "inputs");
  request->batch = !is_one_input(inputs);
  if (request->batch && (inputs = rr_read_list(reader, "inputs")) == NULL) {
    return false;
  }
  size_t n = request->batch ? json_array_size(inputs) : 1;
  request->n_texts = n;
  request->texts = rr_arena_calloc(reader->arena, n, sizeof *request->texts);
  request->queries = rr_arena_calloc(reader->arena, n, sizeof *request->queries);
  if (request->texts == NULL || request->queries == NULL) {
    return rr_api_fail(reader->error, RR_API_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    const json_t *input = request->batch ? json_array_get(inputs, i) : inputs;
    if (!read_input(reader, input, i, request)) {
      return false;
    }
  }
  return true;
}

static bool decode_predict(const rr_reader *reader, rr_rerank_request *request) {
  request->in_order = true;
  request->classify = true;
  request->no_part = true; /* the answer has no room to tell which scores are missing */
  request->query_name = "inputs";
  request->texts_name = "inputs";
  return read_options(reader, request) && read_inputs(reader, request);
}

static void encode_predict(const rr_result *result, rr_json_writer *writer) {
  bool batch = result->request->batch;
  rr_json_put_raw(writer, batch ? "[" : "");
  for (size_t i = 0; i < result->n; i++) {
    rr_json_put_raw(writer, i == 0 ? "[{\"score\":" : ",[{\"score\":");
    rr_json_put_float(writer, result->ranked[i].score);
    rr_json_put_raw(writer, ",\"label\":");
    rr_json_put_string(writer, result->label == NULL ? "" : result->label);
    rr_json_put_raw(writer, "}]");
  }
  rr_json_put_raw(writer, batch ? "]" : "");
}

static const rr_dialect predict = {.name = "tei",
                                   .operation = RR_OPERATION_PREDICT,
                                   .errors = RR_ERROR_TERSE,
                                   .decode = decode_predict,
                                   .encode = encode_predict};

const rr_endpoint rr_endpoints_tei[] = {
    {"/", &rerank, .precedence = RR_TAKES_THE_REST},
    {"/predict", &predict, .precedence = RR_TAKES_THE_REST},
    {"/rerank", &rerank, RR_TOLD_BY_TEXTS_ALONE},
    {"/rerank", &rerank, .precedence = RR_TAKES_THE_REST},
    {"/v1/rerank", &rerank, RR_TOLD_BY_TEXTS_ALONE},
    {"/v2/rerank", &rerank, RR_TOLD_BY_TEXTS_ALONE},
    {.path = NULL},
};
