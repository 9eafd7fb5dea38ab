#include "bench/load/corpus.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "core/base/json.h"

enum { LINE_MAX_BYTES = 64 << 20, LINE_MAX_VALUES = 1 << 20, BYTES_MAX = 1 << 30 };

/* The size of a text's first max_words words; words are what white space parts. */
static size_t cut(const char *text, size_t size, size_t max_words) {
  size_t words = 0;
  for (size_t i = 0; max_words > 0 && i < size; i++) {
    bool space = isspace((unsigned char)text[i]);
    if (space && i > 0 && !isspace((unsigned char)text[i - 1]) && ++words == max_words) {
      return i;
    }
  }
  return size;
}

static rr_status escape(corpus *self, const json_t *string, size_t max_words, corpus_text *ret_text,
                        rr_error *err) {
  const char *text = json_string_value(string);
  json_t *shorter = json_stringn(text, cut(text, json_string_length(string), max_words));
  char *json = shorter == NULL ? NULL : json_dumps(shorter, JSON_ENCODE_ANY);
  json_decref(shorter);
  if (json == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  size_t size = strlen(json) - 2;
  memmove(json, json + 1, size);
  json[size] = '\0';
  if (self->bytes + size > BYTES_MAX) {
    free(json);
    return rr_fail(err, RR_ERR_INPUT, "more than %d bytes of texts", BYTES_MAX);
  }
  self->bytes += size;
  *ret_text = (corpus_text){json, size};
  return RR_OK;
}

/* Room for one more element. */
static rr_status grow(void **array, size_t *capacity, size_t n, size_t element, rr_error *err) {
  if (n < *capacity) {
    return RR_OK;
  }
  size_t wanted = *capacity == 0 ? 256 : 2 * *capacity;
  void *grown = realloc(*array, wanted * element);
  if (grown == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  *array = grown;
  *capacity = wanted;
  return RR_OK;
}

static rr_status add_query(corpus *self, const json_t *query, rr_error *err) {
  rr_status status = grow((void **)&self->queries, &self->queries_capacity, self->n_queries,
                          sizeof *self->queries, err);
  corpus_text text = {0};
  if (status == RR_OK) {
    status = escape(self, query, 0, &text, err);
  }
  if (status == RR_OK) {
    self->queries[self->n_queries++] = (corpus_query){text, self->n_documents, 0};
  }
  return status;
}

/* A document of the last query. */
static rr_status add_document(corpus *self, const json_t *document, size_t max_words,
                              rr_error *err) {
  if (json_is_object(document)) {
    document = json_object_get(document, "text");
  }
  if (!json_is_string(document)) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "a document that is neither a string nor has a string `text`");
  }
  rr_status status = grow((void **)&self->documents, &self->documents_capacity, self->n_documents,
                          sizeof *self->documents, err);
  if (status == RR_OK) {
    status = escape(self, document, max_words, &self->documents[self->n_documents], err);
  }
  if (status == RR_OK) {
    self->n_documents++;
    self->queries[self->n_queries - 1].n++;
  }
  return status;
}

static bool is_last_query(const corpus *self, const json_t *query) {
  if (self->n_queries == 0) {
    return false;
  }
  char *json = json_dumps(query, JSON_ENCODE_ANY);
  const corpus_text *last = &self->queries[self->n_queries - 1].text;
  bool same = json != NULL && strlen(json) == last->size + 2 &&
              memcmp(json + 1, last->json, last->size) == 0;
  free(json);
  return same;
}

static const json_t *member(const json_t *object, const char *const *names, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const json_t *value = json_object_get(object, names[i]);
    if (value != NULL) {
      return value;
    }
  }
  return NULL;
}

static rr_status add_line(corpus *self, const json_t *line, size_t max_words, rr_error *err) {
  static const char *const lists[] = {"candidates", "documents", "texts", "passages"};
  static const char *const singles[] = {"text", "passage"};
  const json_t *query = json_object_get(line, "query");
  const json_t *list = member(line, lists, sizeof lists / sizeof *lists);
  const json_t *single = member(line, singles, sizeof singles / sizeof *singles);
  if (!json_is_string(query) || (!json_is_array(list) && !json_is_string(single))) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "not an object with a string `query` and a list `candidates`");
  }
  rr_status status = RR_OK;
  if (!json_is_array(list)) {
    if (!is_last_query(self, query)) {
      status = add_query(self, query, err);
    }
    return status == RR_OK ? add_document(self, single, max_words, err) : status;
  }
  size_t i;
  json_t *document;
  if (json_array_size(list) > 0) {
    status = add_query(self, query, err);
  }
  json_array_foreach(list, i, document) {
    if (status == RR_OK) {
      status = add_document(self, document, max_words, err);
    }
  }
  return status;
}

static bool is_blank(const char *line) {
  while (isspace((unsigned char)*line)) {
    line++;
  }
  return *line == '\0';
}

rr_status corpus_read(FILE *file, const char *name, size_t max_words, corpus *ret_corpus,
                      rr_error *err) {
  corpus self = {0};
  char *line = NULL;
  size_t capacity = 0;
  rr_status status = RR_OK;
  rr_error inner = {0};
  ssize_t size;
  for (size_t number = 1; status == RR_OK && (size = getline(&line, &capacity, file)) >= 0;
       number++) {
    json_t *json = NULL;
    if (is_blank(line)) {
      continue;
    }
    status = size > LINE_MAX_BYTES
                 ? rr_fail(&inner, RR_ERR_INPUT, "a line of more than %d bytes", LINE_MAX_BYTES)
                 : rr_json_parse(line, (size_t)size, LINE_MAX_VALUES, &json, &inner);
    if (status == RR_OK) {
      status = add_line(&self, json, max_words, &inner);
    }
    json_decref(json);
    if (status != RR_OK) {
      (void)rr_fail(err, status, "%s:%zu: %.180s", name, number, inner.message);
    }
  }
  free(line);
  if (status == RR_OK && ferror(file)) {
    status = rr_fail(err, RR_ERR_IO, "%s: %s", name, strerror(errno));
  }
  if (status == RR_OK && self.n_documents == 0) {
    status = rr_fail(err, RR_ERR_INPUT, "%s: no query with a document", name);
  }
  if (status != RR_OK) {
    corpus_finish(&self);
    return status;
  }
  *ret_corpus = self;
  return RR_OK;
}

void corpus_finish(corpus *self) {
  for (size_t i = 0; i < self->n_queries; i++) {
    free(self->queries[i].text.json);
  }
  for (size_t i = 0; i < self->n_documents; i++) {
    free(self->documents[i].json);
  }
  free(self->queries);
  free(self->documents);
  *self = (corpus){0};
}
