/* What the dialects answer: scores in their bounds, what has no score, errors. */
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "tests/proto/spoken.h"

static void kept_documents_are_told(void **state) {
  (void)state;
  rr_text ids[] = {{"a\"", 2}, {"b", 1}};
  const rr_rerank_request request = {.ids = ids, .n_texts = 2, .keep = true};
  const rr_ranked ranked[] = {{.index = 0}, {.index = 1}};
  const rr_text_tokens tokens[] = {{.count = 3}, {.count = 9, .truncated = true}};
  const bool kept[] = {true, false};
  const rr_result result = {.request = &request,
                            .ranked = ranked,
                            .n = 2,
                            .text_tokens = tokens,
                            .kept = kept,
                            .n_computed = 1,
                            .tokens = 12,
                            .model = "m",
                            .id = "i"};
  size_t size = 0;
  char *body = rr_dialect_encode(dialect_told("/documents", "{}"), &result, NULL, &size);
  assert_string_equal(
      body, "{\"object\":\"list\",\"model\":\"m\",\"documents\":[{\"id\":\"a\\\"\",\"tokens\":3,"
            "\"cached\":true},"
            "{\"id\":\"b\",\"tokens\":9,\"truncated\":true,\"cached\":false}],\"computed\":1,"
            "\"usage\":{\"total_tokens\":12}}");
  rr_free(body);
}

static void a_cosine_below_zero_is_zero_where_scores_are_promised_to_be(void **state) {
  (void)state;
  static const rr_ranked ranked[] = {{.index = 1, .score = 1.0000001f},
                                     {.index = 0, .score = -0.25f}};
  static const struct {
    size_t speaker;
    double least;
  } cases[] = {{SAYS_COHERE_V1, 0},   {SAYS_COHERE_V2, 0}, {SAYS_JINA, 0},
               {SAYS_VOYAGE, 0},      {SAYS_VLLM, -0.25},  {SAYS_RERANKING, -0.25},
               {SAYS_INFINITY, -0.25}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    decoded out;
    size_t size = 0;
    assert_true(say(&speakers[cases[i].speaker], "[\"a\",\"b\"]", "", &out));
    const rr_result result = {
        .request = &out.request, .ranked = ranked, .n = 2, .id = "i", .model = "m"};
    char *bytes = rr_dialect_encode(out.dialect, &result, NULL, &size);
    json_t *json = read_back(bytes, size);
    const json_t *list =
        json_object_get(json, cases[i].speaker == SAYS_VOYAGE ? "data" : "results");
    const json_t *last = json_array_get(list, 1);
    assert_int_equal(json_integer_value(json_object_get(last, "index")), 0);
    assert_true(json_number_value(json_object_get(last, "relevance_score")) == cases[i].least);
    json_decref(json);
    rr_arena_finish(&out.arena);
  }
}

static void results_without_a_score_say_so(void **state) {
  (void)state;
  static const rr_ranked ranked[] = {{.index = 1, .score = 0.5f}, {.index = 0, .score = 0}};
  static const bool unscored[] = {true, false};
  static const struct {
    const char *path;
    const char *body;
    const char *list;
  } cases[] = {{"/v1/rerank", "{}", "results"},
               {"/v2/rerank", "{}", "results"},
               {"/v1/rerank", "{\"top_k\":1}", "data"},
               {"/score", "{}", "data"},
               {"/reranking", "{}", "results"}};
  const rr_rerank_request request = {.n_texts = 2};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    size_t size = 0;
    const rr_result result = {.request = &request,
                              .ranked = ranked,
                              .n = 2,
                              .unscored = unscored,
                              .n_unscored = 1,
                              .id = "x",
                              .model = "m"};
    char *bytes =
        rr_dialect_encode(dialect_told(cases[i].path, cases[i].body), &result, NULL, &size);
    json_t *json = read_back(bytes, size);
    const json_t *list = json_object_get(json, cases[i].list);
    assert_int_equal(json_integer_value(json_object_get(json, "unscored")), 1);
    assert_null(json_object_get(json_array_get(list, 0), "unscored"));
    assert_true(json_is_true(json_object_get(json_array_get(list, 1), "unscored")));
    json_decref(json);
  }
}

static json_t *listed(const rr_api_error *error) {
  size_t size = 0;
  char *bytes = rr_error_encode(RR_ERROR_LISTED, error, &size);
  return read_back(bytes, size);
}

/* Where the request is wrong, `detail` is a list for those who read it so; else a text for them
 * too. */
static void a_listed_detail_names_the_field(void **state) {
  (void)state;
  rr_api_error error;
  (void)rr_api_fail_field(&error, RR_API_VALIDATION, "query", "it is \"wrong\"");
  json_t *json = listed(&error);
  const json_t *detail = json_object_get(json, "detail");
  const json_t *first = json_array_get(detail, 0);
  const json_t *loc = json_object_get(first, "loc");
  assert_int_equal(json_array_size(detail), 1);
  assert_int_equal(json_array_size(loc), 2);
  assert_string_equal(json_string_value(json_array_get(loc, 0)), "body");
  assert_string_equal(json_string_value(json_array_get(loc, 1)), "query");
  assert_string_equal(json_string_value(json_object_get(first, "msg")), error.message);
  assert_true(json_is_string(json_object_get(first, "type")));
  assert_string_equal(json_string_value(json_object_get(json, "message")), error.message);
  json_decref(json);
  (void)rr_api_fail(&error, RR_API_VALIDATION, "wrong as a whole");
  json = listed(&error);
  loc = json_object_get(json_array_get(json_object_get(json, "detail"), 0), "loc");
  assert_int_equal(json_array_size(loc), 1);
  json_decref(json);
  (void)rr_api_fail(&error, RR_API_OVERLOADED, "later");
  json = listed(&error);
  assert_string_equal(json_string_value(json_object_get(json, "detail")), "later");
  json_decref(json);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kept_documents_are_told),
      cmocka_unit_test(a_cosine_below_zero_is_zero_where_scores_are_promised_to_be),
      cmocka_unit_test(results_without_a_score_say_so),
      cmocka_unit_test(a_listed_detail_names_the_field),
  };
  return cmocka_run_group_tests(tests, spoken_set_up, NULL);
}
