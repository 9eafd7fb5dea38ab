/* The dialect of Hugging Face's text-embeddings-inference: /rerank and its errors. */
#include <string.h>

#include "proto/dialects.h"

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

void rr_put_ranked_texts(const rr_rerank_answer *answer, rr_json_writer *writer) {
  rr_json_put_raw(writer, "[");
  for (size_t i = 0; i < answer->n; i++) {
    rr_json_put_raw(writer, i == 0 ? "{\"index\":" : ",{\"index\":");
    rr_json_put_unsigned(writer, answer->ranked[i].index);
    if (answer->request->return_text) {
      rr_json_put_raw(writer, ",\"text\":");
      rr_json_put_text(writer, answer->request->texts[answer->ranked[i].index]);
    }
    rr_json_put_raw(writer, ",\"score\":");
    rr_json_put_float(writer, answer->ranked[i].score);
    rr_json_put_raw(writer, "}");
  }
  rr_json_put_raw(writer, "]");
}

/* The name of a kind. Clients know six names, so kinds beyond those get the nearest one. */
static const char *error_type(rr_api_error_kind kind) {
  switch (kind) {
  case RR_API_EMPTY: return "Empty";
  case RR_API_TOKENIZER: return "Tokenizer";
  case RR_API_BACKEND: return "Backend";
  case RR_API_OVERLOADED:
  case RR_API_TIMEOUT:
  case RR_API_MEMORY: return "Overloaded";
  case RR_API_UNHEALTHY: return "Unhealthy";
  case RR_API_MALFORMED:
  case RR_API_VALIDATION:
  case RR_API_TOO_LARGE:
  case RR_API_MEDIA_TYPE:
  case RR_API_UNAUTHORIZED:
  case RR_API_NOT_FOUND:
  case RR_API_METHOD:
  case RR_API_TARGET:
  case RR_API_EXPECTATION:
  case RR_API_HEADERS:
  case RR_API_NOT_KNOWN:
  case RR_API_VERSION: return "Validation";
  }
  return "Backend";
}

void rr_tei_put_error(const rr_api_error *error, rr_json_writer *writer) {
  rr_json_put_raw(writer, "{\"error\":");
  rr_json_put_string(writer, error->message);
  rr_json_put_raw(writer, ",\"error_type\":");
  rr_json_put_string(writer, error_type(error->kind));
  rr_json_put_raw(writer, "}");
}

const char *rr_tei_error_fallback(rr_api_error_kind kind) {
  static const char *const bodies[] = {
      "{\"error\":\"request failed\",\"error_type\":\"Empty\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Validation\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Tokenizer\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Backend\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Overloaded\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Unhealthy\"}",
  };
  const char *type = error_type(kind);
  const char *body = bodies[0];
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    if (strstr(bodies[i], type) != NULL) {
      body = bodies[i];
    }
  }
  return body;
}

const rr_dialect rr_dialect_tei_rerank = {.name = "tei",
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

static void encode_predict(const rr_rerank_answer *answer, rr_json_writer *writer) {
  bool batch = answer->request->batch;
  rr_json_put_raw(writer, batch ? "[" : "");
  for (size_t i = 0; i < answer->n; i++) {
    rr_json_put_raw(writer, i == 0 ? "[{\"score\":" : ",[{\"score\":");
    rr_json_put_float(writer, answer->ranked[i].score);
    rr_json_put_raw(writer, ",\"label\":");
    rr_json_put_string(writer, answer->label == NULL ? "" : answer->label);
    rr_json_put_raw(writer, "}]");
  }
  rr_json_put_raw(writer, batch ? "]" : "");
}

const rr_dialect rr_dialect_tei_predict = {
    .name = "tei", .errors = RR_ERROR_TERSE, .decode = decode_predict, .encode = encode_predict};
