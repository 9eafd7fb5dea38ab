#include "proto/tei.h"

#include <string.h>

#include "core/base/json.h"
#include "proto/json_writer.h"

enum { BYTES_PER_RESULT = 40 };

static const char *type_name(const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_OBJECT: return "an object";
  case JSON_ARRAY: return "an array";
  case JSON_STRING: return "a string";
  case JSON_INTEGER:
  case JSON_REAL: return "a number";
  case JSON_TRUE:
  case JSON_FALSE: return "a boolean";
  case JSON_NULL: return "null";
  }
  return "something else";
}

static bool out_of_memory(rr_api_error *ret_error) {
  return rr_api_fail(ret_error, RR_API_MEMORY, "out of memory");
}

/* A field's value, or NULL where it is absent or null. */
static const json_t *optional_field(const json_t *body, const char *name) {
  const json_t *value = json_object_get(body, name);
  return json_is_null(value) ? NULL : value;
}

/* Sets *value to 0 or 1, or leaves it as it is where the field is absent. */
static bool read_flag(const json_t *body, const char *name, int *value, rr_api_error *ret_error) {
  const json_t *field = optional_field(body, name);
  if (field == NULL) {
    return true;
  }
  if (!json_is_boolean(field)) {
    return rr_api_fail(ret_error, RR_API_VALIDATION, "`%s` must be a boolean, not %s", name,
                       type_name(field));
  }
  *value = json_is_true(field) ? 1 : 0;
  return true;
}

static bool read_direction(const json_t *body, bool *ret_left, rr_api_error *ret_error) {
  const json_t *field = optional_field(body, "truncation_direction");
  if (field == NULL) {
    return true;
  }
  const char *name = json_string_value(field); /* NULL if it is no string */
  if (name != NULL && (strcmp(name, "left") == 0 || strcmp(name, "Left") == 0)) {
    *ret_left = true;
    return true;
  }
  if (name != NULL && (strcmp(name, "right") == 0 || strcmp(name, "Right") == 0)) {
    *ret_left = false;
    return true;
  }
  return rr_api_fail(ret_error, RR_API_VALIDATION,
                     "`truncation_direction` must be \"left\" or \"right\"");
}

static bool copy_text(const json_t *string, rr_arena *arena, rr_text *ret_text,
                      rr_api_error *ret_error) {
  size_t size = json_string_length(string);
  char *data = rr_arena_strndup(arena, json_string_value(string), size);
  if (data == NULL) {
    return out_of_memory(ret_error);
  }
  *ret_text = (rr_text){.data = data, .size = size};
  return true;
}

static bool read_query(const json_t *body, rr_arena *arena, rr_text *ret_query,
                       rr_api_error *ret_error) {
  const json_t *field = json_object_get(body, "query");
  if (field == NULL) {
    return rr_api_fail(ret_error, RR_API_VALIDATION, "missing field `query`");
  }
  if (!json_is_string(field)) {
    return rr_api_fail(ret_error, RR_API_VALIDATION, "`query` must be a string, not %s",
                       type_name(field));
  }
  return copy_text(field, arena, ret_query, ret_error);
}

/* The candidates' array, its length checked, its elements not yet. */
static const json_t *texts_field(const json_t *body, size_t max_texts, rr_api_error *ret_error) {
  const json_t *field = json_object_get(body, "texts");
  if (field == NULL) {
    (void)rr_api_fail(ret_error, RR_API_VALIDATION, "missing field `texts`");
    return NULL;
  }
  if (!json_is_array(field)) {
    (void)rr_api_fail(ret_error, RR_API_VALIDATION, "`texts` must be an array, not %s",
                      type_name(field));
    return NULL;
  }
  size_t n = json_array_size(field);
  if (n == 0) {
    (void)rr_api_fail(ret_error, RR_API_EMPTY, "`texts` cannot be empty");
    return NULL;
  }
  if (n > max_texts) {
    (void)rr_api_fail(ret_error, RR_API_VALIDATION,
                      "batch size %zu > maximum allowed batch size %zu", n, max_texts);
    return NULL;
  }
  return field;
}

static bool read_texts(const json_t *body, size_t max_texts, rr_arena *arena,
                       rr_rerank_request *request, rr_api_error *ret_error) {
  const json_t *field = texts_field(body, max_texts, ret_error);
  if (field == NULL) {
    return false;
  }
  size_t n = json_array_size(field);
  rr_text *texts = rr_arena_calloc(arena, n, sizeof *texts);
  if (texts == NULL) {
    return out_of_memory(ret_error);
  }
  for (size_t i = 0; i < n; i++) {
    const json_t *element = json_array_get(field, i);
    if (!json_is_string(element)) {
      return rr_api_fail(ret_error, RR_API_VALIDATION, "`texts[%zu]` must be a string, not %s", i,
                         type_name(element));
    }
    if (!copy_text(element, arena, &texts[i], ret_error)) {
      return false;
    }
  }
  request->texts = texts;
  request->n_texts = n;
  return true;
}

static bool read_request(const json_t *body, const rr_rerank_limits *limits, rr_arena *arena,
                         rr_rerank_request *request, rr_api_error *ret_error) {
  int raw_scores = 0;
  int return_text = 0;
  if (!json_is_object(body)) {
    return rr_api_fail(ret_error, RR_API_VALIDATION, "the body must be an object, not %s",
                       type_name(body));
  }
  if (!read_flag(body, "truncate", &request->truncate, ret_error) ||
      !read_flag(body, "raw_scores", &raw_scores, ret_error) ||
      !read_flag(body, "return_text", &return_text, ret_error) ||
      !read_direction(body, &request->truncate_left, ret_error)) {
    return false;
  }
  request->raw_scores = raw_scores == 1;
  request->return_text = return_text == 1;
  return read_query(body, arena, &request->query, ret_error) &&
         read_texts(body, limits->max_texts, arena, request, ret_error);
}

static bool parse(const char *body, size_t size, size_t max_values, json_t **ret_json,
                  rr_api_error *ret_error) {
  rr_error problem;
  switch (rr_json_parse(body, size, max_values, ret_json, &problem)) {
  case RR_OK: return true;
  case RR_ERR_MEMORY: return out_of_memory(ret_error);
  case RR_ERR_INPUT: return rr_api_fail(ret_error, RR_API_VALIDATION, "%s", problem.message);
  default: return rr_api_fail(ret_error, RR_API_MALFORMED, "%s", problem.message);
  }
}

bool rr_tei_decode_rerank(const char *body, size_t size, const rr_rerank_limits *limits,
                          rr_arena *arena, rr_rerank_request *ret_request, rr_api_error *ret_error) {
  json_t *json;
  if (!parse(size == 0 ? "" : body, size, limits->max_json_values, &json, ret_error)) {
    return false;
  }
  rr_rerank_request request = {.truncate = RR_TRUNCATE_DEFAULT};
  bool ok = read_request(json, limits, arena, &request, ret_error);
  json_decref(json);
  if (ok) {
    *ret_request = request;
  }
  return ok;
}

char *rr_tei_encode_rerank(const rr_rerank_request *request, const rr_ranked *ranked, size_t n,
                           size_t *ret_size) {
  rr_json_writer writer;
  rr_json_writer_init(&writer, n * BYTES_PER_RESULT);
  rr_json_put_raw(&writer, "[");
  for (size_t i = 0; i < n; i++) {
    rr_json_put_raw(&writer, i == 0 ? "{\"index\":" : ",{\"index\":");
    rr_json_put_unsigned(&writer, ranked[i].index);
    if (request->return_text) {
      rr_json_put_raw(&writer, ",\"text\":");
      rr_json_put_text(&writer, request->texts[ranked[i].index]);
    }
    rr_json_put_raw(&writer, ",\"score\":");
    rr_json_put_float(&writer, ranked[i].score);
    rr_json_put_raw(&writer, "}");
  }
  rr_json_put_raw(&writer, "]");
  return rr_json_writer_finish(&writer, ret_size);
}

char *rr_tei_encode_error(const rr_api_error *error, size_t *ret_size) {
  rr_json_writer writer;
  rr_json_writer_init(&writer, 0);
  rr_json_put_raw(&writer, "{\"error\":");
  rr_json_put_string(&writer, error->message);
  rr_json_put_raw(&writer, ",\"error_type\":");
  rr_json_put_string(&writer, rr_api_error_type(error->kind));
  rr_json_put_raw(&writer, "}");
  return rr_json_writer_finish(&writer, ret_size);
}

const char *rr_tei_error_fallback(rr_api_error_kind kind, size_t *ret_size) {
  static const char *const bodies[] = {
      "{\"error\":\"request failed\",\"error_type\":\"Empty\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Validation\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Tokenizer\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Backend\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Overloaded\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Unhealthy\"}",
  };
  const char *type = rr_api_error_type(kind);
  const char *body = bodies[0];
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    if (strstr(bodies[i], type) != NULL) {
      body = bodies[i];
    }
  }
  *ret_size = strlen(body);
  return body;
}

/* A cross-encoder is told by its label, a bi-encoder by its pooling. */
static void put_model_type(rr_json_writer *writer, const rr_tei_info *info) {
  if (info->label != NULL) {
    rr_json_put_raw(writer, "{\"reranker\":{\"id2label\":{\"0\":");
    rr_json_put_string(writer, info->label);
    rr_json_put_raw(writer, "},\"label2id\":{");
    rr_json_put_string(writer, info->label);
    rr_json_put_raw(writer, ":0}}}");
  } else {
    rr_json_put_raw(writer, "{\"embedding\":{\"pooling\":");
    rr_json_put_string(writer, info->pooling);
    rr_json_put_raw(writer, "}}");
  }
}

static void put_count(rr_json_writer *writer, const char *name, size_t value) {
  rr_json_put_raw(writer, name);
  rr_json_put_unsigned(writer, value);
}

char *rr_tei_encode_info(const rr_tei_info *info, size_t *ret_size) {
  rr_json_writer writer;
  rr_json_writer_init(&writer, 0);
  rr_json_put_raw(&writer, "{\"model_id\":");
  rr_json_put_string(&writer, info->model_id);
  rr_json_put_raw(&writer, ",\"model_sha\":");
  if (info->model_sha == NULL) {
    rr_json_put_raw(&writer, "null");
  } else {
    rr_json_put_string(&writer, info->model_sha);
  }
  rr_json_put_raw(&writer, ",\"model_dtype\":");
  rr_json_put_string(&writer, info->model_dtype);
  rr_json_put_raw(&writer, ",\"served_model_name\":");
  rr_json_put_string(&writer, info->served_model_name);
  rr_json_put_raw(&writer, ",\"model_type\":");
  put_model_type(&writer, info);
  put_count(&writer, ",\"max_concurrent_requests\":", info->max_concurrent_requests);
  put_count(&writer, ",\"max_input_length\":", info->max_input_length);
  put_count(&writer, ",\"max_batch_tokens\":", info->max_batch_tokens);
  rr_json_put_raw(&writer, ",\"max_batch_requests\":null");
  put_count(&writer, ",\"max_client_batch_size\":", info->max_client_batch_size);
  rr_json_put_raw(&writer, ",\"auto_truncate\":");
  rr_json_put_raw(&writer, info->auto_truncate ? "true" : "false");
  put_count(&writer, ",\"tokenization_workers\":", info->tokenization_workers);
  rr_json_put_raw(&writer, ",\"version\":");
  rr_json_put_string(&writer, info->version);
  rr_json_put_raw(&writer, ",\"sha\":null,\"docker_label\":null}");
  return rr_json_writer_finish(&writer, ret_size);
}
