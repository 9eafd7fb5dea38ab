#include "bench/load/dialect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const dialect dialects[] = {
    {"tei", "/rerank", "texts", NULL, NULL, "score", ",\"truncate\":true"},
    {"cohere", "/v2/rerank", "documents", "top_n", "results", "relevance_score", ""},
    {"infinity", "/rerank", "documents", "top_n", "results", "relevance_score",
     ",\"return_documents\":false"},
    {"llamacpp", "/v1/rerank", "documents", "top_n", "results", "relevance_score", ""},
    {"jina", "/v1/rerank", "documents", "top_n", "results", "relevance_score",
     ",\"return_documents\":false"},
    {"vllm", "/rerank", "documents", "top_n", "results", "relevance_score", ""},
    {"voyage", "/v1/rerank", "documents", "top_k", "data", "relevance_score",
     ",\"return_documents\":false"},
};

const dialect *dialect_find(const char *name) {
  for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++) {
    if (strcmp(dialects[i].name, name) == 0) {
      return &dialects[i];
    }
  }
  return NULL;
}

const char *dialect_names(void) { return "tei, cohere, infinity, llamacpp, jina, vllm, voyage"; }

typedef struct sink {
  char *to;
  size_t size;
} sink;

static void put(sink *self, const char *text, size_t size) {
  if (self->to != NULL) {
    memcpy(self->to + self->size, text, size);
  }
  self->size += size;
}

static void put_text(sink *self, const char *text) { put(self, text, strlen(text)); }

size_t dialect_body(const dialect *self, const corpus *texts, const mix_plan *plan,
                    const char *model, size_t top_n, char *to) {
  sink out = {to, 0};
  const corpus_text *query = &texts->queries[plan->query].text;
  put_text(&out, "{\"query\":\"");
  put(&out, query->json, query->size);
  put_text(&out, "\",\"");
  put_text(&out, self->documents);
  put_text(&out, "\":[");
  for (size_t i = 0; i < plan->n; i++) {
    const corpus_text *text = &texts->documents[plan->documents[i].document];
    put_text(&out, i == 0 ? "\"" : ",\"");
    put(&out, text->json, text->size);
    if (plan->documents[i].variant > 0) {
      char number[32];
      (void)snprintf(number, sizeof number, " %" PRIu64, plan->documents[i].variant);
      put_text(&out, number);
    }
    put_text(&out, "\"");
  }
  put_text(&out, "]");
  put_text(&out, self->further);
  if (model != NULL) {
    put_text(&out, ",\"model\":");
    put_text(&out, model);
  }
  if (top_n > 0 && self->top_n != NULL) {
    char number[64];
    (void)snprintf(number, sizeof number, ",\"%s\":%zu", self->top_n, top_n);
    put_text(&out, number);
  }
  put_text(&out, "}");
  return out.size;
}
