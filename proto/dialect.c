#include "proto/dialect.h"

#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "proto/dialects.h"
#include "proto/error_body.h"

enum {
  KEYS_MAX = 4,
  BYTES_PER_RESULT = 64,
  BYTES_PER_RESULT_AT_MOST = 224,
  BYTES_BESIDE_RESULTS = 4096,
  GUESS_HEAD = 4096,
  GUESS_TAIL = 512
};

/* Speaks the dialect where any of the keys is there, even with null, and `without` is not, or null;
 * an entry without keys takes what is left. */
typedef struct choice {
  const rr_dialect *dialect;
  const char *any[KEYS_MAX];
  const char *without;
} choice;

struct rr_endpoint {
  const char *path;
  rr_operation operation;
  const choice *choices; /* the first that fits; the last one has no keys */
};

#define TEXTS_ALONE {"texts"}, "documents"

static const choice at_root[] = {{&rr_dialect_tei_rerank, {NULL}, NULL}};

static const choice at_predict[] = {{&rr_dialect_tei_predict, {NULL}, NULL}};

static const choice at_rerank[] = {
    {&rr_dialect_tei_rerank, TEXTS_ALONE},
    {&rr_dialect_voyage, {"top_k", "truncation"}, NULL},
    {&rr_dialect_vllm_rerank,
     {"truncate_prompt_tokens", "max_tokens_per_doc", "use_activation", "priority"},
     NULL},
    {&rr_dialect_infinity, {"documents"}, NULL},
    {&rr_dialect_tei_rerank, {NULL}, NULL},
};

static const choice at_v1_rerank[] = {
    {&rr_dialect_tei_rerank, TEXTS_ALONE},
    {&rr_dialect_voyage, {"top_k", "truncation"}, NULL},
    {&rr_dialect_cohere_v1, {"rank_fields", "max_chunks_per_doc"}, NULL},
    {&rr_dialect_vllm_rerank,
     {"truncate_prompt_tokens", "max_tokens_per_doc", "use_activation", "priority"},
     NULL},
    {&rr_dialect_infinity, {"raw_scores"}, NULL},
    {&rr_dialect_jina, {NULL}, NULL},
};

static const choice at_v2_rerank[] = {
    {&rr_dialect_tei_rerank, TEXTS_ALONE},
    {&rr_dialect_vllm_rerank, {"truncate_prompt_tokens", "use_activation"}, NULL},
    {&rr_dialect_cohere_v2, {NULL}, NULL},
};

static const choice at_score[] = {{&rr_dialect_vllm_score, {NULL}, NULL}};

static const choice at_documents[] = {{&rr_dialect_keep, {NULL}, NULL}};

static const choice at_reranking[] = {
    {&rr_dialect_llamacpp_texts, TEXTS_ALONE},
    {&rr_dialect_llamacpp, {NULL}, NULL},
};

static const rr_endpoint endpoints[] = {
    {"/", RR_OPERATION_RERANK, at_root},
    {"/rerank", RR_OPERATION_RERANK, at_rerank},
    {"/predict", RR_OPERATION_PREDICT, at_predict},
    {"/v1/rerank", RR_OPERATION_RERANK, at_v1_rerank},
    {"/v2/rerank", RR_OPERATION_RERANK, at_v2_rerank},
    {"/score", RR_OPERATION_SCORE, at_score},
    {"/v1/score", RR_OPERATION_SCORE, at_score},
    {"/documents", RR_OPERATION_DOCUMENTS, at_documents},
    {"/reranking", RR_OPERATION_RERANK, at_reranking},
    {"/v1/reranking", RR_OPERATION_RERANK, at_reranking},
};

const rr_endpoint *rr_endpoint_at(const char *path) {
  for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
    if (strcmp(path, endpoints[i].path) == 0) {
      return &endpoints[i];
    }
  }
  return NULL;
}

rr_operation rr_endpoint_operation(const rr_endpoint *endpoint) { return endpoint->operation; }

const char *rr_operation_name(rr_operation operation) {
  static const char *const names[RR_OPERATIONS] = {[RR_OPERATION_RERANK] = "rerank",
                                                   [RR_OPERATION_PREDICT] = "predict",
                                                   [RR_OPERATION_SCORE] = "score",
                                                   [RR_OPERATION_DOCUMENTS] = "documents"};
  return names[operation];
}

const char *rr_dialect_name(const rr_dialect *dialect) { return dialect->name; }

static bool fits(const choice *option, const rr_reader *reader) {
  if (option->without != NULL && rr_reader_gives(reader, option->without)) {
    return false;
  }
  for (size_t i = 0; i < KEYS_MAX && option->any[i] != NULL; i++) {
    if (rr_reader_has(reader, option->any[i])) {
      return true;
    }
  }
  return option->any[0] == NULL;
}

static bool parse(const char *body, size_t size, size_t max_values, json_t **ret_json,
                  rr_api_error *ret_error) {
  rr_error problem;
  rr_json_fault fault;
  switch (
      rr_json_parse_foreign(size == 0 ? "" : body, size, max_values, ret_json, &fault, &problem)) {
  case RR_OK: return true;
  case RR_ERR_MEMORY: return rr_api_fail(ret_error, RR_API_MEMORY, "out of memory");
  case RR_ERR_INPUT: return rr_api_fail(ret_error, RR_API_VALIDATION, "%s", problem.message);
  default:
    return rr_api_fail(ret_error, RR_API_MALFORMED, "invalid JSON at line %d column %d: %.200s",
                       fault.line, fault.column, fault.text);
  }
}

static bool decode(const rr_endpoint *endpoint, const rr_reader *reader,
                   const rr_dialect **ret_dialect, rr_rerank_request *request) {
  if (!json_is_object(reader->body)) {
    return rr_api_fail(reader->error, RR_API_VALIDATION, "the body must be an object, not %s",
                       rr_json_type_name(reader->body));
  }
  const choice *option = endpoint->choices;
  while (!fits(option, reader)) {
    option++;
  }
  *ret_dialect = option->dialect;
  return rr_read_schedule(reader, request) && option->dialect->decode(reader, request);
}

bool rr_dialect_decode(const rr_endpoint *endpoint, const char *body, size_t size,
                       const rr_rerank_limits *limits, rr_arena *arena,
                       const rr_dialect **ret_dialect, rr_rerank_request *ret_request,
                       rr_api_error *ret_error) {
  json_t *json;
  rr_json_scope scope;
  rr_rerank_request request = {
      .truncate = RR_TRUNCATE_DEFAULT, .cut = RR_CUT_TEXT, .query_name = "query"};
  *ret_dialect = NULL;
  rr_json_enter(&scope, arena->claim);
  bool ok = parse(body, size, limits->max_json_values, &json, ret_error);
  if (ok) {
    const rr_reader reader = {.body = json, .limits = limits, .arena = arena, .error = ret_error};
    ok = decode(endpoint, &reader, ret_dialect, &request);
  }
  rr_json_leave(&scope);
  if (ok) {
    *ret_request = request;
  }
  return ok;
}

static bool names(const char *bytes, size_t size, const char *name) {
  char quoted[RR_FIELD_NAME_MAX];
  int length = snprintf(quoted, sizeof quoted, "\"%s\"", name);
  return size > 0 && memmem(bytes, size, quoted, (size_t)length) != NULL;
}

bool rr_json_may_name(const char *bytes, size_t size, const char *name) {
  return size > RR_JSON_SEARCH_MAX || names(bytes, size, name);
}

static bool seems_to_name(const char *body, size_t size, const char *name) {
  size_t head = size < GUESS_HEAD ? size : GUESS_HEAD;
  size_t tail = size < GUESS_TAIL ? size : GUESS_TAIL;
  return names(body, head, name) || names(body + size - tail, tail, name);
}

const rr_dialect *rr_dialect_guess(const rr_endpoint *endpoint, const char *body, size_t size) {
  if (size == 0) {
    return NULL;
  }
  for (const choice *option = endpoint->choices; option->any[0] != NULL; option++) {
    if (option->without != NULL && seems_to_name(body, size, option->without)) {
      continue;
    }
    for (size_t i = 0; i < KEYS_MAX && option->any[i] != NULL; i++) {
      if (seems_to_name(body, size, option->any[i])) {
        return option->dialect;
      }
    }
  }
  return NULL;
}

/* Documents are told whole, some of their bytes as two; a name that each result has is `each`
 * bytes. */
size_t rr_dialect_reply_bytes(const rr_rerank_request *request, size_t each) {
  size_t n =
      request->top_n == 0 || request->top_n > request->n_texts ? request->n_texts : request->top_n;
  size_t all = 0;
  size_t longest = 0;
  for (size_t i = 0; i < request->n_texts && (request->return_text || request->keep); i++) {
    size_t size = request->keep ? request->ids[i].size : request->texts[i].size;
    if (request->echoes != NULL && request->echoes[i].size > size) {
      size = request->echoes[i].size;
    }
    all += size;
    longest = size > longest ? size : longest;
  }
  size_t told = longest > 0 && n < all / longest ? n * longest : all;
  return told + told / 8 + n * (BYTES_PER_RESULT_AT_MOST + each) + BYTES_BESIDE_RESULTS;
}

char *rr_dialect_encode(const rr_dialect *dialect, const rr_rerank_answer *answer,
                        struct rr_claim *claim, size_t *ret_size) {
  rr_json_writer writer;
  size_t label = answer->label == NULL ? 0 : strlen(answer->label);
  size_t expected =
      claim != NULL ? rr_dialect_reply_bytes(answer->request, label) : answer->n * BYTES_PER_RESULT;
  rr_json_writer_init_within(&writer, expected, claim);
  dialect->encode(answer, &writer);
  return rr_json_writer_finish(&writer, ret_size);
}

static bool begins_with(const char *path, const char *prefix) {
  return strncmp(path, prefix, strlen(prefix)) == 0;
}

rr_error_shape rr_error_shape_of(const char *path, const rr_dialect *dialect) {
  if (begins_with(path, "/v1/") || begins_with(path, "/v2/")) {
    return dialect != NULL && dialect->errors == RR_ERROR_LISTED ? RR_ERROR_LISTED : RR_ERROR_FULL;
  }
  const rr_endpoint *endpoint = rr_endpoint_at(path);
  if (dialect == NULL && endpoint != NULL) {
    dialect = endpoint->choices[0].dialect;
    for (const choice *option = endpoint->choices; option->any[0] != NULL; option++) {
      dialect = option[1].dialect; /* the one that takes what is left */
    }
  }
  return dialect == NULL ? RR_ERROR_TERSE : dialect->errors;
}

char *rr_error_encode(rr_error_shape shape, const rr_api_error *error, size_t *ret_size) {
  rr_json_writer writer;
  rr_json_writer_init(&writer, 0);
  if (shape == RR_ERROR_TERSE) {
    rr_tei_put_error(error, &writer);
  } else {
    rr_error_put_full(error, shape == RR_ERROR_LISTED, &writer);
  }
  return rr_json_writer_finish(&writer, ret_size);
}

const char *rr_error_fallback(rr_error_shape shape, rr_api_error_kind kind, size_t *ret_size) {
  const char *body = shape == RR_ERROR_TERSE ? rr_tei_error_fallback(kind) : rr_error_full_fallback;
  *ret_size = strlen(body);
  return body;
}
