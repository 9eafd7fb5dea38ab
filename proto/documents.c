/* Candidates that may be strings or objects. */
#include <string.h>

#include "proto/reader.h"

enum { RANK_FIELDS_MAX = 100 };

static bool out_of_memory(const rr_reader *reader) {
  return rr_api_fail(reader->error, RR_API_MEMORY, "out of memory");
}

/* The JSON of a value, in the arena. */
static bool dump(const rr_reader *reader, const json_t *value, rr_text *ret_json) {
  size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
  size_t size = json_dumpb(value, NULL, 0, flags);
  char *data = size == 0 ? NULL : rr_arena_alloc(reader->arena, size);
  if (data == NULL || json_dumpb(value, data, size, flags) != size) {
    return out_of_memory(reader);
  }
  *ret_json = (rr_text){.data = data, .size = size};
  return true;
}

/* The fields that make up an object's text, or NULL where none are named; *ret_ok tells failure. */
static const json_t *rank_fields(const rr_reader *reader, bool *ret_ok) {
  const char *name = "rank_fields";
  const json_t *fields = json_object_get(reader->body, name);
  *ret_ok = true;
  if (fields == NULL || json_is_null(fields) ||
      (json_is_array(fields) && json_array_size(fields) == 0)) {
    return NULL;
  }
  *ret_ok = json_is_array(fields) && json_array_size(fields) <= RANK_FIELDS_MAX;
  for (size_t i = 0; *ret_ok && i < json_array_size(fields); i++) {
    *ret_ok = json_is_string(json_array_get(fields, i));
  }
  if (!*ret_ok) {
    (void)rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                            "`%s` must be an array of at most %d strings", name, (int)RANK_FIELDS_MAX);
    return NULL;
  }
  return fields;
}

/* One field's value as text; numbers and booleans as JSON writes them. */
static bool field_text(const rr_reader *reader, const char *name, size_t i, const char *field,
                       const json_t *value, rr_text *ret_text) {
  if (json_is_string(value)) {
    *ret_text = (rr_text){.data = json_string_value(value), .size = json_string_length(value)};
    return true;
  }
  bool scalar = json_is_number(value) || json_is_boolean(value);
  if (scalar && strcmp(field, "text") != 0) {
    return dump(reader, value, ret_text);
  }
  return rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                           "`%s[%zu].%.40s` must be a string, not %s", name, i, field,
                           rr_json_type_name(value));
}

static bool whole_text(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                       rr_text *ret_text) {
  const json_t *text = json_object_get(object, "text");
  if (!json_is_string(text)) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                             "`%s[%zu]` must be a string or an object with a string `text` or `id`", name, i);
  }
  return rr_copy_text(reader, text, ret_text);
}

/* Joins an object's fields by line feeds; those it lacks are passed over, and one that has none of them
 * is its `text`. */
static bool join(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                 const json_t *fields, rr_text *ret_text) {
  size_t n = json_array_size(fields);
  rr_text *parts = rr_arena_calloc(reader->arena, n, sizeof *parts);
  size_t found = 0;
  size_t size = 0;
  if (parts == NULL) {
    return out_of_memory(reader);
  }
  for (size_t f = 0; f < n; f++) {
    const char *field = json_string_value(json_array_get(fields, f));
    const json_t *value = json_object_get(object, field);
    if (value == NULL || json_is_null(value)) {
      continue;
    }
    if (!field_text(reader, name, i, field, value, &parts[found])) {
      return false;
    }
    size += parts[found++].size + 1;
  }
  if (found == 0) {
    return whole_text(reader, name, i, object, ret_text);
  }
  char *data = rr_arena_alloc(reader->arena, size);
  if (data == NULL) {
    return out_of_memory(reader);
  }
  *ret_text = (rr_text){.data = data, .size = size - 1};
  for (size_t f = 0; f < found; f++) {
    memcpy(data, parts[f].data, parts[f].size);
    data += parts[f].size;
    *data++ = '\n';
  }
  return true;
}

static bool read_object(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                        const json_t *fields, rr_text *ret_text) {
  return fields != NULL ? join(reader, name, i, object, fields, ret_text)
                        : whole_text(reader, name, i, object, ret_text);
}

/* Whether an object has no text but a name. */
static bool is_named(const json_t *object, const json_t *fields) {
  bool has_text = json_object_get(object, "text") != NULL;
  for (size_t f = 0; !has_text && f < json_array_size(fields); f++) {
    const json_t *value = json_object_get(object, json_string_value(json_array_get(fields, f)));
    has_text = value != NULL && !json_is_null(value);
  }
  return !has_text && json_object_get(object, "id") != NULL;
}

static bool read_one(const rr_reader *reader, const char *name, size_t i, const json_t *element,
                     const json_t *fields, rr_rerank_request *request) {
  if (json_is_string(element)) {
    return rr_copy_text(reader, element, &request->texts[i]);
  }
  if (!json_is_object(element)) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                             "`%s[%zu]` must be a string or an object, not %s", name, i,
                             rr_json_type_name(element));
  }
  if (is_named(element, fields)) { /* returned, it is its text, which is not known yet */
    return rr_read_named(reader, name, i, element, request);
  }
  return read_object(reader, name, i, element, fields, &request->texts[i]) &&
         (request->echoes == NULL || dump(reader, element, &request->echoes[i]));
}

bool rr_read_documents(const rr_reader *reader, const char *name, rr_rerank_request *request) {
  bool ok;
  const json_t *fields = rank_fields(reader, &ok);
  const json_t *list = ok ? rr_read_list(reader, name) : NULL;
  if (list == NULL) {
    return false;
  }
  size_t n = json_array_size(list);
  request->texts = rr_arena_calloc(reader->arena, n, sizeof *request->texts);
  request->echoes =
      request->return_text ? rr_arena_calloc(reader->arena, n, sizeof *request->echoes) : NULL;
  if (request->texts == NULL || (request->return_text && request->echoes == NULL)) {
    return out_of_memory(reader);
  }
  for (size_t i = 0; i < n; i++) {
    if (!read_one(reader, name, i, json_array_get(list, i), fields, request)) {
      return false;
    }
  }
  request->n_texts = n;
  request->texts_name = name;
  return true;
}
