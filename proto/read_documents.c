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

/* The fields that make up an object's text, each once, in the caller's order. */
typedef struct fields {
  const char *names[RANK_FIELDS_MAX];
  size_t n; /* 0: the request names none */
} fields;

static bool has_field(const fields *all, const char *name) {
  for (size_t i = 0; i < all->n; i++) {
    if (strcmp(all->names[i], name) == 0) {
      return true;
    }
  }
  return false;
}

static bool read_fields(const rr_reader *reader, fields *ret_fields) {
  const char *name = "rank_fields";
  const json_t *list = json_object_get(reader->body, name);
  ret_fields->n = 0;
  if (list == NULL || json_is_null(list)) {
    return true;
  }
  bool ok = json_is_array(list) && json_array_size(list) <= RANK_FIELDS_MAX;
  for (size_t i = 0; ok && i < json_array_size(list); i++) {
    const char *field = json_string_value(json_array_get(list, i));
    ok = field != NULL;
    if (ok && !has_field(ret_fields, field)) {
      ret_fields->names[ret_fields->n++] = field;
    }
  }
  return ok || rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                                 "`%s` must be an array of at most %d strings", name,
                                 (int)RANK_FIELDS_MAX);
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
                             "`%s[%zu]` must be a string or an object with a string `text` or `id`",
                             name, i);
  }
  return rr_copy_text(reader, text, ret_text);
}

/* Joins an object's fields by line feeds; those it lacks are passed over, and one that has none of
 * them is its `text`. */
static bool join(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                 const fields *all, rr_text *ret_text) {
  rr_text parts[RANK_FIELDS_MAX];
  size_t found = 0;
  size_t size = 0;
  for (size_t f = 0; f < all->n; f++) {
    const char *field = all->names[f];
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
                        const fields *all, rr_text *ret_text) {
  return all->n > 0 ? join(reader, name, i, object, all, ret_text)
                    : whole_text(reader, name, i, object, ret_text);
}

/* Whether an object has no text but a name. */
static bool is_named(const json_t *object, const fields *all) {
  bool has_text = json_object_get(object, "text") != NULL;
  for (size_t f = 0; !has_text && f < all->n; f++) {
    const json_t *value = json_object_get(object, all->names[f]);
    has_text = value != NULL && !json_is_null(value);
  }
  return !has_text && json_object_get(object, "id") != NULL;
}

static bool read_one(const rr_reader *reader, const char *name, size_t i, const json_t *element,
                     const fields *all, rr_rerank_request *request) {
  if (json_is_string(element)) {
    return rr_copy_text(reader, element, &request->texts[i]);
  }
  if (!json_is_object(element)) {
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                             "`%s[%zu]` must be a string or an object, not %s", name, i,
                             rr_json_type_name(element));
  }
  if (is_named(element, all)) { /* returned, it is its text, which is not known yet */
    return rr_read_named(reader, name, i, element, request);
  }
  return read_object(reader, name, i, element, all, &request->texts[i]) &&
         (request->echoes == NULL || dump(reader, element, &request->echoes[i]));
}

bool rr_read_documents(const rr_reader *reader, const char *name, rr_rerank_request *request) {
  fields all;
  const json_t *list = read_fields(reader, &all) ? rr_read_list(reader, name) : NULL;
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
    if (!read_one(reader, name, i, json_array_get(list, i), &all, request)) {
      return false;
    }
  }
  request->n_texts = n;
  request->texts_name = name;
  return true;
}
