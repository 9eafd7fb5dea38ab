#include "proto/results.h"

enum { DOCUMENTS_PER_UNIT = 100 };

static void put_key(rr_json_writer *writer, const char *name) {
  rr_json_put_raw(writer, "\"");
  rr_json_put_raw(writer, name);
  rr_json_put_raw(writer, "\":");
}

static void put_count(rr_json_writer *writer, const char *name, uint64_t value) {
  put_key(writer, name);
  rr_json_put_unsigned(writer, value);
}

static void put_document(const rr_rerank_request *request, uint32_t index, rr_document_form form,
                         rr_json_writer *writer) {
  const rr_text *echo = request->echoes == NULL ? NULL : &request->echoes[index];
  rr_json_put_raw(writer, ",\"document\":");
  if (form == RR_DOCUMENT_STRING) {
    rr_json_put_text(writer, request->texts[index]);
  } else if (echo != NULL && echo->size > 0) {
    rr_json_put_bytes(writer, *echo);
  } else {
    rr_json_put_raw(writer, "{\"text\":");
    rr_json_put_text(writer, request->texts[index]);
    rr_json_put_raw(writer, "}");
  }
}

/* NaN stays what it is, and fails the writer. */
static float clamp(float score) { return score < 0 ? 0 : score > 1 ? 1 : score; }

static void put_ranked(const rr_result *result, const rr_ranked *ranked,
                       const rr_results_form *form, rr_json_writer *writer) {
  rr_json_put_raw(writer, "{");
  put_count(writer, "index", ranked->index);
  if (form->result_object != NULL) {
    rr_json_put_raw(writer, ",\"object\":");
    rr_json_put_string(writer, form->result_object);
  }
  rr_json_put_raw(writer, ",");
  put_key(writer, form->score);
  rr_json_put_float(writer, form->unit_scores ? clamp(ranked->score) : ranked->score);
  if (result->request->return_text && form->document != RR_DOCUMENT_NONE) {
    put_document(result->request, ranked->index, form->document, writer);
  }
  if (result->text_tokens != NULL) {
    rr_json_put_raw(writer, ",");
    put_count(writer, "tokens", result->text_tokens[ranked->index].count);
    rr_json_put_raw(writer,
                    result->text_tokens[ranked->index].truncated ? ",\"truncated\":true" : "");
  }
  if (result->unscored != NULL && result->unscored[ranked->index]) {
    rr_json_put_raw(writer, ",\"unscored\":true");
  }
  rr_json_put_raw(writer, "}");
}

static void put_head(const rr_result *result, const rr_results_form *form, rr_json_writer *writer) {
  if (form->id_prefix != NULL) {
    rr_json_put_raw(writer, "\"id\":\"");
    rr_json_put_raw(writer, form->id_prefix);
    rr_json_put_raw(writer, result->id); /* made of characters that need no escape */
    rr_json_put_raw(writer, "\",");
  }
  if (form->object != NULL) {
    rr_json_put_raw(writer, "\"object\":");
    rr_json_put_string(writer, form->object);
    rr_json_put_raw(writer, ",");
  }
  if (form->created) {
    put_count(writer, "created", (uint64_t)result->created);
    rr_json_put_raw(writer, ",");
  }
  if (form->model) {
    rr_json_put_raw(writer, "\"model\":");
    rr_json_put_string(writer, result->model);
    rr_json_put_raw(writer, ",");
  }
}

static void put_usage(const rr_result *result, const rr_results_form *form,
                      rr_json_writer *writer) {
  if (form->usage) {
    rr_json_put_raw(writer, ",\"usage\":{");
    if (form->prompt_tokens) {
      put_count(writer, "prompt_tokens", result->tokens);
      rr_json_put_raw(writer, ",");
    }
    put_count(writer, "total_tokens", result->tokens);
    rr_json_put_raw(writer, "}");
  }
  if (form->api_version != NULL) {
    size_t units = (result->request->n_texts + DOCUMENTS_PER_UNIT - 1) / DOCUMENTS_PER_UNIT;
    rr_json_put_raw(writer, ",\"meta\":{\"api_version\":{\"version\":");
    rr_json_put_string(writer, form->api_version);
    rr_json_put_raw(writer, "},\"billed_units\":{");
    put_count(writer, "search_units", units);
    rr_json_put_raw(writer, "},\"tokens\":{");
    put_count(writer, "input_tokens", result->tokens);
    rr_json_put_raw(writer, "}}");
  }
}

void rr_results_put(const rr_result *result, const rr_results_form *form, rr_json_writer *writer) {
  rr_json_put_raw(writer, "{");
  put_head(result, form, writer);
  put_key(writer, form->list);
  rr_json_put_raw(writer, "[");
  for (size_t i = 0; i < result->n; i++) {
    rr_json_put_raw(writer, i == 0 ? "" : ",");
    put_ranked(result, &result->ranked[i], form, writer);
  }
  rr_json_put_raw(writer, "]");
  put_usage(result, form, writer);
  if (result->n_unscored > 0) {
    rr_json_put_raw(writer, ",");
    put_count(writer, "unscored", result->n_unscored);
  }
  rr_json_put_raw(writer, "}");
}

void rr_put_ranked_texts(const rr_result *result, rr_json_writer *writer) {
  rr_json_put_raw(writer, "[");
  for (size_t i = 0; i < result->n; i++) {
    rr_json_put_raw(writer, i == 0 ? "{\"index\":" : ",{\"index\":");
    rr_json_put_unsigned(writer, result->ranked[i].index);
    if (result->request->return_text) {
      rr_json_put_raw(writer, ",\"text\":");
      rr_json_put_text(writer, result->request->texts[result->ranked[i].index]);
    }
    rr_json_put_raw(writer, ",\"score\":");
    rr_json_put_float(writer, result->ranked[i].score);
    rr_json_put_raw(writer, "}");
  }
  rr_json_put_raw(writer, "]");
}
