/* POST /documents: texts that are to be computed ahead and kept, under names. Our own API. */
#include "proto/dialects/declare.h"

static bool out_of_memory(const rr_reader *reader) {
  return rr_api_fail(reader->error, RR_API_MEMORY, "out of memory");
}

/* `seen` holds the names before it. */
static bool read_new_id(const rr_reader *reader, const char *name, size_t i, const json_t *object,
                        json_t *seen, rr_text *ret_id) {
  if (!rr_read_id(reader, name, i, object, ret_id)) {
    return false;
  }
  if (json_object_get(seen, ret_id->data) != NULL) { /* no NUL within, and one behind it */
    return rr_api_fail_field(reader->error, RR_API_VALIDATION, name,
                             "`%s[%zu].id`: '%.80s' was there before", name, i, ret_id->data);
  }
  return json_object_set_new(seen, ret_id->data, json_true()) == 0 || out_of_memory(reader);
}

static bool read_one(const rr_reader *reader, const char *name, size_t i, const json_t *element,
                     json_t *seen, rr_rerank_request *request) {
  const json_t *text = json_is_object(element) ? json_object_get(element, "text") : element;
  if (!json_is_string(text)) {
    return rr_api_fail_field(
        reader->error, RR_API_VALIDATION, name,
        "`%s[%zu]` must be a string, or an object with strings `id` and `text`", name, i);
  }
  bool named = json_is_object(element) && !json_is_null(json_object_get(element, "id")) &&
               json_object_get(element, "id") != NULL;
  return rr_copy_text(reader, text, &request->texts[i]) &&
         (!named || read_new_id(reader, name, i, element, seen, &request->ids[i]));
}

static bool read_all(const rr_reader *reader, const char *name, const json_t *list,
                     rr_rerank_request *request) {
  size_t n = json_array_size(list);
  json_t *seen = json_object();
  request->n_texts = n;
  request->texts = rr_arena_calloc(reader->arena, n, sizeof *request->texts);
  request->ids = rr_arena_calloc(reader->arena, n, sizeof *request->ids);
  bool ok =
      (seen != NULL && request->texts != NULL && request->ids != NULL) || out_of_memory(reader);
  for (size_t i = 0; ok && i < n; i++) {
    ok = read_one(reader, name, i, json_array_get(list, i), seen, request);
  }
  json_decref(seen);
  return ok;
}

static bool decode(const rr_reader *reader, rr_rerank_request *request) {
  const char *name = "documents";
  request->keep = true;
  request->in_order = true;
  request->no_part = true;
  request->query = (rr_text){.data = "", .size = 0};
  request->query_name = name;
  request->texts_name = name;
  if (!rr_check_string(reader, "model") || !rr_read_flag(reader, "truncate", &request->truncate) ||
      !rr_read_count(reader, "max_tokens_per_doc", 0, &request->max_text_tokens) ||
      !rr_read_truncation(reader, request)) {
    return false;
  }
  const json_t *list = rr_read_list(reader, name);
  return list != NULL && read_all(reader, name, list, request);
}

static void encode(const rr_result *result, rr_json_writer *writer) {
  rr_json_put_raw(writer, "{\"object\":\"list\",\"model\":");
  rr_json_put_string(writer, result->model);
  rr_json_put_raw(writer, ",\"documents\":[");
  for (size_t i = 0; i < result->n; i++) {
    uint32_t at = result->ranked[i].index;
    rr_json_put_raw(writer, i == 0 ? "{\"id\":" : ",{\"id\":");
    rr_json_put_text(writer, result->request->ids[at]);
    rr_json_put_raw(writer, ",\"tokens\":");
    rr_json_put_unsigned(writer, result->text_tokens[at].count);
    rr_json_put_raw(writer, result->text_tokens[at].truncated ? ",\"truncated\":true" : "");
    rr_json_put_raw(writer, result->kept[at] ? ",\"cached\":true}" : ",\"cached\":false}");
  }
  rr_json_put_raw(writer, "],\"computed\":");
  rr_json_put_unsigned(writer, result->n_computed);
  rr_json_put_raw(writer, ",\"usage\":{\"total_tokens\":");
  rr_json_put_unsigned(writer, result->tokens);
  rr_json_put_raw(writer, "}}");
}

static const rr_dialect documents = {.name = "documents",
                                     .operation = RR_OPERATION_DOCUMENTS,
                                     .errors = RR_ERROR_FULL,
                                     .decode = decode,
                                     .encode = encode};

const rr_endpoint rr_endpoints_documents[] = {
    {"/documents", &documents, .precedence = RR_TAKES_THE_REST},
    {.path = NULL},
};
