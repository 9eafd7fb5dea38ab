/* Bodies of every path: decoded, answered, and the answer or the error read back.
 *
 * Input: a digit that picks the path, a digit that picks limits, the body. */
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "proto/dialect.h"
#include "tests/fuzz/fuzz.h"

static const char *const paths[] = {
    "/",      "/rerank",   "/predict",   "/v1/rerank",    "/v2/rerank",
    "/score", "/v1/score", "/reranking", "/v1/reranking", "/documents"};
enum { PATHS = sizeof paths / sizeof paths[0], ARENA = 1 << 20, SMALL_ARENA = 1 << 10 };

void fuzz_set_up(void) {}

/* Takes the memory. */
static void require_json(char *text, size_t size) {
  json_t *json = NULL;
  if (text == NULL) {
    fuzz_require(fuzz_starved, "no answer");
    return;
  }
  rr_alloc_fail_at(0, 0); /* reading back is not under test */
  fuzz_require(strlen(text) == size, "an answer that holds NUL");
  fuzz_require(rr_json_parse_unique(text, size, SIZE_MAX, &json, NULL) == RR_OK,
               "an answer that is no JSON");
  json_decref(json);
  rr_free(text);
}

static void require_text(rr_text text) {
  json_t *json = NULL;
  fuzz_require(text.data != NULL || text.size == 0, "a text without data");
  if (text.size > 0) {
    json = json_stringn(text.data, text.size); /* checks UTF-8 */
    fuzz_require(json != NULL || fuzz_starved, "a text that is not UTF-8");
  }
  json_decref(json);
}

static void require_request(const rr_rerank_request *request, const rr_rerank_limits *limits) {
  fuzz_require(request->n_texts >= 1 && request->n_texts <= limits->max_texts,
               "a wrong number of texts");
  fuzz_require(request->truncate >= -1 && request->truncate <= 1, "a wrong truncate");
  fuzz_require(request->query_name != NULL && request->texts_name != NULL, "members without names");
  require_text(request->query);
  for (size_t i = 0; i < request->n_texts; i++) {
    require_text(request->texts[i]);
    if (request->queries != NULL) {
      require_text(request->queries[i]);
    }
    if (request->echoes != NULL) {
      require_text(request->echoes[i]);
    }
    if (request->ids != NULL) {
      require_text(request->ids[i]);
      fuzz_require(request->ids[i].data == NULL || request->ids[i].size > 0, "an empty name");
    }
  }
}

static void answer(const rr_dialect *dialect, const rr_rerank_request *request, rr_arena *arena) {
  size_t n = request->n_texts;
  float *scores = rr_arena_calloc(arena, n, sizeof *scores);
  rr_ranked *ranked = rr_arena_calloc(arena, n, sizeof *ranked);
  rr_text_tokens *tokens = rr_arena_calloc(arena, n, sizeof *tokens);
  bool *unscored = rr_arena_calloc(arena, n, sizeof *unscored);
  if (scores == NULL || ranked == NULL || tokens == NULL || unscored == NULL) {
    return;
  }
  for (size_t i = 0; i < n; i++) {
    scores[i] = (float)(i * 7 % 5) / 3.0f - 0.5f;
    unscored[i] = i % 3 == 2;
    tokens[i] = (rr_text_tokens){.count = (uint32_t)i, .truncated = i % 2 == 1};
  }
  for (size_t i = 0; request->keep && i < n; i++) { /* as the server does */
    request->ids[i] =
        request->ids[i].data == NULL ? (rr_text){.data = "name", .size = 4} : request->ids[i];
  }
  rr_rank(scores, n, ranked);
  const rr_result result = {
      .request = request,
      .ranked = ranked,
      .n = request->top_n == 0 || request->top_n > n ? n : request->top_n,
      .text_tokens = tokens,
      .unscored = unscored,
      .kept = unscored,
      .n_unscored = n / 3,
      .tokens = 9,
      .created = 1700000000,
      .id = "id",
      .model = "model",
      .label = "LABEL_0",
  };
  size_t size = 0;
  char *body = rr_dialect_encode(dialect, &result, NULL, &size);
  require_json(body, size);
}

static void refuse(const char *path, const rr_dialect *dialect, const rr_api_error *error) {
  fuzz_require(memchr(error->message, '\0', sizeof error->message) != NULL,
               "a message without an end");
  fuzz_require(strchr(error->message, '\n') == NULL, "a message of several lines");
  fuzz_require(rr_api_error_status(error->kind) >= 400, "an error without a status");
  size_t size = 0;
  char *body = rr_error_encode(rr_error_shape_of(path, dialect), error, &size);
  require_json(body, size);
}

void fuzz_input(const uint8_t *data, size_t size) {
  if (size < 2) {
    return;
  }
  const char *path = paths[(unsigned char)(data[0] - '0') % PATHS];
  bool few = (data[1] & 1) != 0;
  bool small = (data[1] & 2) != 0;
  const rr_rerank_limits limits = {.max_texts = few ? 3 : 1000,
                                   .max_json_values = few ? 20 : 100000};
  rr_arena arena;
  rr_arena_init(&arena, small ? SMALL_ARENA : ARENA);
  const rr_dialect *dialect = NULL;
  rr_rerank_request request;
  rr_api_error error;
  bool ok = rr_dialect_decode(rr_endpoint_at(path), (const char *)data + 2, size - 2, &limits,
                              &arena, &dialect, &request, &error);
  if (ok) {
    require_request(&request, &limits);
    answer(dialect, &request, &arena);
  } else {
    fuzz_require(error.kind != RR_API_MEMORY || fuzz_starved || small || size > ARENA / 64,
                 "out of memory");
    refuse(path, dialect, &error);
  }
  rr_arena_finish(&arena);
}
