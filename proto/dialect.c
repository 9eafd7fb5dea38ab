/* Collects the dialects that the build's list names, and picks one. An endpoint is a row of a
 * dialect's own list; those at one path stand in several lists, in no order, and the precedence
 * that each declares says which is asked first. All lists are scanned for each look-up: they hold
 * some twenty rows, and sorting them would need state that is made at run time. */
#include "proto/dialect.h"

#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "proto/dialects/declare.h"
#include "proto/error_body.h"

enum {
  BYTES_PER_RESULT = 64,
  BYTES_PER_RESULT_AT_MOST = 224,
  BYTES_BESIDE_RESULTS = 4096,
  GUESS_HEAD = 4096,
  GUESS_TAIL = 512
};

#define ENDPOINTS_OF(name) rr_endpoints_##name,
const rr_endpoint *const rr_endpoints_declared[] = {RR_EACH_DIALECT(ENDPOINTS_OF) NULL};

/* Of the endpoints at a path that fit, the one with the least precedence; NULL: none does. */
static const rr_endpoint *first_at(const char *path,
                                   bool (*fits)(const rr_endpoint *endpoint, const void *body),
                                   const void *body) {
  const rr_endpoint *first = NULL;
  for (const rr_endpoint *const *list = rr_endpoints_declared; *list != NULL; list++) {
    for (const rr_endpoint *endpoint = *list; endpoint->path != NULL; endpoint++) {
      bool sooner = first == NULL || endpoint->precedence < first->precedence;
      if (sooner && strcmp(endpoint->path, path) == 0 && fits(endpoint, body)) {
        first = endpoint;
      }
    }
  }
  return first;
}

static bool takes_the_rest(const rr_endpoint *endpoint, const void *body) {
  (void)body;
  return endpoint->any[0] == NULL;
}

const rr_endpoint *rr_endpoint_at(const char *path) { return first_at(path, takes_the_rest, NULL); }

rr_operation rr_endpoint_operation(const rr_endpoint *endpoint) {
  return endpoint->dialect->operation;
}

const char *rr_operation_name(rr_operation operation) {
  static const char *const names[RR_OPERATIONS] = {[RR_OPERATION_RERANK] = "rerank",
                                                   [RR_OPERATION_PREDICT] = "predict",
                                                   [RR_OPERATION_SCORE] = "score",
                                                   [RR_OPERATION_DOCUMENTS] = "documents"};
  return names[operation];
}

const char *rr_dialect_name(const rr_dialect *dialect) { return dialect->name; }

/* body: an rr_reader. */
static bool is_told(const rr_endpoint *endpoint, const void *body) {
  const rr_reader *reader = body;
  if (endpoint->without != NULL && rr_reader_gives(reader, endpoint->without)) {
    return false;
  }
  for (size_t i = 0; i < RR_TELLING_MEMBERS_MAX && endpoint->any[i] != NULL; i++) {
    if (rr_reader_has(reader, endpoint->any[i])) {
      return true;
    }
  }
  return takes_the_rest(endpoint, body);
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
  const rr_dialect *dialect = first_at(endpoint->path, is_told, reader)->dialect;
  *ret_dialect = dialect;
  return rr_read_schedule(reader, request) && dialect->decode(reader, request);
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

static bool seems_to_name(rr_text body, const char *name) {
  size_t head = body.size < GUESS_HEAD ? body.size : GUESS_HEAD;
  size_t tail = body.size < GUESS_TAIL ? body.size : GUESS_TAIL;
  return names(body.data, head, name) || names(body.data + body.size - tail, tail, name);
}

/* body: an rr_text. */
static bool seems_told(const rr_endpoint *endpoint, const void *body) {
  const rr_text text = *(const rr_text *)body;
  if (endpoint->without != NULL && seems_to_name(text, endpoint->without)) {
    return false;
  }
  for (size_t i = 0; i < RR_TELLING_MEMBERS_MAX && endpoint->any[i] != NULL; i++) {
    if (seems_to_name(text, endpoint->any[i])) {
      return true;
    }
  }
  return false;
}

const rr_dialect *rr_dialect_guess(const rr_endpoint *endpoint, const char *body, size_t size) {
  const rr_text text = {.data = body, .size = size};
  const rr_endpoint *found = size == 0 ? NULL : first_at(endpoint->path, seems_told, &text);
  return found == NULL ? NULL : found->dialect;
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

char *rr_dialect_encode(const rr_dialect *dialect, const rr_result *result, struct rr_claim *claim,
                        size_t *ret_size) {
  rr_json_writer writer;
  size_t label = result->label == NULL ? 0 : strlen(result->label);
  size_t expected =
      claim != NULL ? rr_dialect_reply_bytes(result->request, label) : result->n * BYTES_PER_RESULT;
  rr_json_writer_init_within(&writer, expected, claim);
  dialect->encode(result, &writer);
  return rr_json_writer_finish(&writer, ret_size);
}

static bool begins_with(const char *path, const char *prefix) {
  return strncmp(path, prefix, strlen(prefix)) == 0;
}

rr_error_shape rr_error_shape_of(const char *path, const rr_dialect *dialect) {
  if (begins_with(path, "/v1/") || begins_with(path, "/v2/")) {
    return dialect != NULL && dialect->errors == RR_ERROR_LISTED ? RR_ERROR_LISTED : RR_ERROR_FULL;
  }
  const rr_endpoint *endpoint = dialect == NULL ? rr_endpoint_at(path) : NULL;
  if (endpoint != NULL) {
    dialect = endpoint->dialect;
  }
  return dialect == NULL ? RR_ERROR_TERSE : dialect->errors;
}

char *rr_error_encode(rr_error_shape shape, const rr_api_error *error, size_t *ret_size) {
  rr_json_writer writer;
  rr_json_writer_init(&writer, 0);
  if (shape == RR_ERROR_TERSE) {
    rr_error_put_terse(error, &writer);
  } else {
    rr_error_put_full(error, shape == RR_ERROR_LISTED, &writer);
  }
  return rr_json_writer_finish(&writer, ret_size);
}

const char *rr_error_fallback(rr_error_shape shape, rr_api_error_kind kind, size_t *ret_size) {
  const char *body =
      shape == RR_ERROR_TERSE ? rr_error_terse_fallback(kind) : rr_error_full_fallback;
  *ret_size = strlen(body);
  return body;
}
