#include "tests/proto/spoken.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"

enum { ARENA_LIMIT = 1 << 20 };

static const rr_rerank_limits limits = {.max_texts = SPOKEN_TEXTS_MAX, .max_json_values = 200};

bool decode(const char *path, const char *body, size_t size, decoded *out) {
  char *copy = malloc(size == 0 ? 1 : size);
  assert_non_null(copy);
  memcpy(copy, body, size);
  *out = (decoded){.dialect = NULL};
  rr_arena_init(&out->arena, ARENA_LIMIT);
  bool ok = rr_dialect_decode(rr_endpoint_at(path), copy, size, &limits, &out->arena, &out->dialect,
                              &out->request, &out->error);
  free(copy);
  return ok;
}

void decode_good(const char *path, const char *body, decoded *out) {
  if (!decode(path, body, strlen(body), out)) {
    print_error("%s %s\n  gave: %s\n", path, body, out->error.message);
    fail();
  }
}

void expect_text(rr_text text, const char *wanted) {
  assert_int_equal(text.size, strlen(wanted));
  assert_memory_equal(text.data, wanted, text.size);
}

const rr_dialect *dialect_told(const char *path, const char *body) {
  decoded out;
  (void)decode(path, body, strlen(body), &out);
  rr_arena_finish(&out.arena);
  assert_non_null(out.dialect);
  return out.dialect;
}

json_t *read_back(char *bytes, size_t size) {
  json_t *json = NULL;
  rr_error problem;
  assert_non_null(bytes);
  assert_int_equal(strlen(bytes), size);
  if (rr_json_parse(bytes, size, SIZE_MAX, &json, &problem) != RR_OK) {
    print_error("%s\n  gave: %s\n", bytes, problem.message);
    fail();
  }
  rr_free(bytes);
  return json;
}

const speaker speakers[SPEAKERS] = {
    [SAYS_TEXTS] =
        {"/rerank", "{\"query\":\"q\",", "texts", "",
         "truncate,truncation_direction,truncation_strategy,raw_scores,return_text,timeout_ms,on_"
         "timeout,priority"},
    [SAYS_PREDICT] = {"/predict", "{", "inputs", "",
                      "truncate,raw_scores,truncation_direction,truncation_strategy"},
    [SAYS_COHERE_V1] =
        {"/v1/rerank", "{\"query\":\"q\",", "documents", ",\"max_chunks_per_doc\":1",
         "model,top_n,return_documents,rank_fields,truncation_direction,truncation_strategy"},
    [SAYS_COHERE_V2] =
        {"/v2/rerank", "{\"query\":\"q\",", "documents", "",
         "model,top_n,max_tokens_per_doc,priority,truncation_direction,truncation_strategy"},
    [SAYS_JINA] = {"/v1/rerank", "{\"query\":\"q\",", "documents", "",
                   "model,top_n,return_documents,truncation_direction,truncation_strategy,timeout_"
                   "ms,on_timeout"},
    [SAYS_VLLM] = {"/v2/rerank", "{\"query\":\"q\",", "documents", ",\"use_activation\":true",
                   "model,top_n,return_documents,truncate_prompt_tokens,max_tokens_per_doc,"
                   "priority,truncation_"
                   "direction"},
    [SAYS_SCORE] = {"/score", "{\"text_1\":\"q\",", "text_2", "",
                    "model,truncate_prompt_tokens,max_tokens_per_doc,priority,use_activation,"
                    "truncation_strategy"},
    [SAYS_RERANKING] = {"/reranking", "{\"query\":\"q\",", "documents", "",
                        "model,top_n,truncation_direction"},
    [SAYS_RERANKING_TEXTS] = {"/reranking", "{\"query\":\"q\",", "texts", "",
                              "model,top_n,return_text,truncation_direction"},
    [SAYS_INFINITY] =
        {"/rerank", "{\"query\":\"q\",", "documents", "",
         "model,top_n,return_documents,raw_scores,truncation_direction,truncation_strategy"},
    [SAYS_VOYAGE] = {"/v1/rerank", "{\"query\":\"q\",", "documents", ",\"top_k\":1",
                     "model,return_documents,truncation,truncation_direction,truncation_strategy"},
};

bool say(const speaker *who, const char *candidates, const char *more, decoded *out) {
  char body[2048];
  (void)snprintf(body, sizeof body, "%s\"%s\":%s%s%s}", who->before, who->list, candidates,
                 who->after, more);
  return decode(who->path, body, strlen(body), out);
}

const char *good_candidates(const speaker *who) {
  return strcmp(who->list, "inputs") == 0 ? "[[\"q\",\"a\"],[\"b\"]]" : "[\"a\",\"b\"]";
}

int spoken_set_up(void **state) {
  (void)state;
  rr_json_init();
  return 0;
}
