#include "proto/reader.h"

#include <stdint.h>
#include <string.h>

const char *rr_json_type_name(const json_t *value) {
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

/* A field's value, or NULL where it is absent or null. */
static const json_t *optional_field(const rr_reader *reader, const char *name) {
  const json_t *value = json_object_get(reader->body, name);
  return json_is_null(value) ? NULL : value;
}

static bool wrong_type(const rr_reader *reader, const char *name, const char *wanted,
                       const json_t *value) {
  return rr_api_fail_field(reader->error, RR_API_VALIDATION, name, "`%s` must be %s, not %s", name,
                           wanted, rr_json_type_name(value));
}

static bool missing(const rr_reader *reader, const char *name) {
  return rr_api_fail_field(reader->error, RR_API_VALIDATION, name, "missing field `%s`", name);
}

bool rr_reader_has(const rr_reader *reader, const char *name) {
  return json_object_get(reader->body, name) != NULL;
}

bool rr_reader_gives(const rr_reader *reader, const char *name) {
  return optional_field(reader, name) != NULL;
}

bool rr_read_bool(const rr_reader *reader, const char *name, bool *value) {
  const json_t *field = optional_field(reader, name);
  if (field == NULL) {
    return true;
  }
  if (!json_is_boolean(field)) {
    return wrong_type(reader, name, "a boolean", field);
  }
  *value = json_is_true(field);
  return true;
}

bool rr_read_flag(const rr_reader *reader, const char *name, int *value) {
  bool flag = *value == 1;
  if (!rr_read_bool(reader, name, &flag)) {
    return false;
  }
  *value = optional_field(reader, name) == NULL ? *value : flag;
  return true;
}

bool rr_json_whole(const json_t *value, json_int_t *ret_number) {
  const json_int_t most = RR_WHOLE_MAX;
  double real = json_is_real(value) ? json_real_value(value) : 0;
  json_int_t number = json_integer_value(value);
  if (json_is_real(value) && real >= (double)-most && real <= (double)most) {
    number = (json_int_t)real;
  } else if (!json_is_integer(value)) {
    return false;
  }
  if (number < -most || number > most || (json_is_real(value) && real != (double)number)) {
    return false;
  }
  *ret_number = number;
  return true;
}

bool rr_read_count(const rr_reader *reader, const char *name, size_t least, size_t *value) {
  const json_t *field = optional_field(reader, name);
  if (field == NULL) {
    return true;
  }
  json_int_t number;
  if (!rr_json_whole(field, &number)) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                             "`%s` must be a whole number, and below 2^53", name);
  }
  if (number < 0 || (uint64_t)number < least) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, name, "`%s` must be at least %zu",
                             name, least);
  }
  *value = (size_t)number;
  return true;
}

bool rr_check_string(const rr_reader *reader, const char *name) {
  const json_t *field = optional_field(reader, name);
  return field == NULL || json_is_string(field) || wrong_type(reader, name, "a string", field);
}

bool rr_copy_text(const rr_reader *reader, const json_t *string, rr_text *ret_text) {
  size_t size = json_string_length(string);
  char *data = rr_arena_strndup(reader->arena, json_string_value(string), size);
  if (data == NULL) {
    return rr_api_fail(reader->error, RR_API_MEMORY, "out of memory");
  }
  *ret_text = (rr_text){.data = data, .size = size};
  return true;
}

bool rr_read_text(const rr_reader *reader, const char *name, rr_text *ret_text) {
  const json_t *field = json_object_get(reader->body, name);
  if (field == NULL) {
    return missing(reader, name);
  }
  if (!json_is_string(field)) {
    return wrong_type(reader, name, "a string", field);
  }
  return rr_copy_text(reader, field, ret_text);
}

const json_t *rr_read_list(const rr_reader *reader, const char *name) {
  const json_t *field = json_object_get(reader->body, name);
  if (field == NULL) {
    (void)missing(reader, name);
    return NULL;
  }
  if (!json_is_array(field)) {
    (void)wrong_type(reader, name, "an array", field);
    return NULL;
  }
  size_t n = json_array_size(field);
  if (n == 0) {
    (void)rr_api_fail_field(reader->error, RR_API_EMPTY, name, "`%s` cannot be empty", name);
    return NULL;
  }
  if (n > reader->limits->max_texts) {
    (void)rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                            "batch size %zu > maximum allowed batch size %zu", n,
                            reader->limits->max_texts);
    return NULL;
  }
  return field;
}

static bool wrong_element(const rr_reader *reader, const char *name, size_t i, const char *wanted,
                          const json_t *element) {
  return rr_api_fail_field(reader->error, RR_API_VALIDATION, name, "`%s[%zu]` must be %s, not %s",
                           name, i, wanted, rr_json_type_name(element));
}

static rr_text *new_texts(const rr_reader *reader, size_t n) {
  rr_text *texts = rr_arena_calloc(reader->arena, n, sizeof *texts);
  if (texts == NULL) {
    (void)rr_api_fail(reader->error, RR_API_MEMORY, "out of memory");
  }
  return texts;
}

bool rr_read_id(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                rr_text *ret_id) {
  const json_t *id = json_object_get(object, "id");
  size_t size = json_string_length(id);
  if (!json_is_string(id) || size == 0 || size > RR_ID_BYTES_MAX ||
      strlen(json_string_value(id)) != size) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                             "`%s[%zu].id` must be a string of 1 to %d bytes without NUL", name, i,
                             (int)RR_ID_BYTES_MAX);
  }
  return rr_copy_text(reader, id, ret_id);
}

bool rr_read_named(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                   rr_rerank_request *request) {
  if (request->ids == NULL) {
    request->ids = new_texts(reader, json_array_size(json_object_get(reader->body, name)));
  }
  request->texts[i] = (rr_text){.data = "", .size = 0};
  return request->ids != NULL && rr_read_id(reader, name, i, object, &request->ids[i]);
}

static bool is_named(const json_t *element) {
  return json_object_get(element, "id") != NULL && json_object_get(element, "text") == NULL;
}

bool rr_read_texts(const rr_reader *reader, const char *name, bool null_is_empty,
                   rr_rerank_request *request) {
  const json_t *list = rr_read_list(reader, name);
  size_t n = json_array_size(list);
  rr_text *texts = list == NULL ? NULL : new_texts(reader, n);
  if (texts == NULL) {
    return false;
  }
  request->texts = texts;
  for (size_t i = 0; i < n; i++) {
    const json_t *element = json_array_get(list, i);
    if (json_is_null(element) && null_is_empty) {
      texts[i] = (rr_text){.data = "", .size = 0};
    } else if (null_is_empty && is_named(element)) {
      if (!rr_read_named(reader, name, i, element, request)) {
        return false;
      }
    } else if (!json_is_string(element)) {
      return wrong_element(reader, name, i, "a string", element);
    } else if (!rr_copy_text(reader, element, &texts[i])) {
      return false;
    }
  }
  request->n_texts = n;
  request->texts_name = name;
  return true;
}

static bool direction(const rr_reader *reader, rr_rerank_request *request) {
  const char *field = "truncation_direction";
  const json_t *value = optional_field(reader, field);
  if (value == NULL) {
    return true;
  }
  const char *name = json_string_value(value); /* NULL if it is no string */
  bool left = name != NULL && (strcmp(name, "left") == 0 || strcmp(name, "Left") == 0);
  bool right = name != NULL && (strcmp(name, "right") == 0 || strcmp(name, "Right") == 0);
  if (!left && !right) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, field,
                             "`%s` must be \"left\" or \"right\"", field);
  }
  request->truncate_left = left;
  request->cut = RR_CUT_LONGEST;
  return true;
}

bool rr_read_truncation(const rr_reader *reader, rr_rerank_request *request) {
  const char *field = "truncation_strategy";
  if (!direction(reader, request)) {
    return false;
  }
  const json_t *value = optional_field(reader, field);
  if (value == NULL) {
    return true;
  }
  const char *name = json_string_value(value);
  if (name != NULL && strcmp(name, "longest_first") == 0) {
    request->cut = RR_CUT_LONGEST;
  } else if (name != NULL && strcmp(name, "only_second") == 0) {
    request->cut = RR_CUT_TEXT;
  } else {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, field,
                             "`%s` must be \"longest_first\" or \"only_second\"", field);
  }
  return true;
}

static bool read_on_timeout(const rr_reader *reader, rr_on_timeout *ret_wish) {
  const char *field = "on_timeout";
  const json_t *value = optional_field(reader, field);
  const char *name = json_string_value(value); /* NULL if it is no string */
  if (value == NULL) {
    return true;
  }
  if (name == NULL || !rr_on_timeout_parse(name, ret_wish)) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, field,
                             "`%s` must be \"partial\" or \"error\"", field);
  }
  return true;
}

bool rr_read_schedule(const rr_reader *reader, rr_rerank_request *request) {
  const json_t *priority = optional_field(reader, "priority");
  json_int_t number = 0;
  if (!rr_read_count(reader, "timeout_ms", 1, &request->timeout_ms)) {
    return false;
  }
  if (request->timeout_ms > RR_TIMEOUT_MAX) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, "timeout_ms",
                             "`timeout_ms` must be at most %d", (int)RR_TIMEOUT_MAX);
  }
  if (priority != NULL && !rr_json_whole(priority, &number)) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, "priority",
                             "`priority` must be a whole number, and below 2^53");
  }
  request->priority = number;
  return read_on_timeout(reader, &request->on_timeout);
}
