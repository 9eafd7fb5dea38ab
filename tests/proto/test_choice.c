/* Which dialect a request speaks: by its path and members, by a look at its bytes; whose errors it
 * gets; and that the table leaves no choice open. */
#include <stdio.h>
#include <string.h>

#include "proto/dialects/declare.h"
#include "tests/proto/spoken.h"

static void path_and_members_pick_the_dialect(void **state) {
  (void)state;
  static const struct {
    const char *path;
    const char *body;
    const char *dialect;
  } cases[] = {
      {"/", "{" TEXTS "}", "tei"},
      {"/rerank", "{" TEXTS "}", "tei"},
      {"/predict", "{\"inputs\":\"a\"}", "tei"},
      {"/v1/rerank", "{" TEXTS "}", "tei"},
      {"/v2/rerank", "{" TEXTS "}", "tei"},
      {"/rerank", "{" DOCUMENTS "}", "infinity"},
      {"/rerank", "{" DOCUMENTS ",\"texts\":[]}", "infinity"},
      {"/rerank", "{" DOCUMENTS ",\"texts\":null}", "infinity"},
      {"/rerank", "{" TEXTS ",\"documents\":null}", "tei"},
      {"/documents", "{\"documents\":[\"a\"]}", "documents"},
      {"/score", "{\"text_1\":\"q\",\"text_2\":\"a\",\"queries\":null,\"documents\":null}", "vllm"},
      {"/rerank", "{" DOCUMENTS ",\"top_k\":null}", "voyage"},
      {"/rerank", "{" DOCUMENTS ",\"priority\":-3}", "vllm"},
      {"/v1/rerank", "{" DOCUMENTS ",\"top_n\":1}", "jina"},
      {"/v1/rerank", "{" DOCUMENTS ",\"truncation\":true}", "voyage"},
      {"/v1/rerank", "{" DOCUMENTS ",\"rank_fields\":null}", "cohere-v1"},
      {"/v1/rerank", "{" DOCUMENTS ",\"max_chunks_per_doc\":10}", "cohere-v1"},
      {"/v1/rerank", "{" DOCUMENTS ",\"use_activation\":false}", "vllm"},
      {"/v1/rerank", "{" DOCUMENTS ",\"raw_scores\":true}", "infinity"},
      {"/v2/rerank", "{" DOCUMENTS "}", "cohere-v2"},
      {"/v2/rerank", "{" DOCUMENTS ",\"max_tokens_per_doc\":null}", "cohere-v2"},
      {"/v2/rerank", "{" DOCUMENTS ",\"truncate_prompt_tokens\":9}", "vllm"},
      {"/score", "{\"text_1\":\"q\",\"text_2\":[\"a\"]}", "vllm"},
      {"/v1/score", "{\"queries\":\"q\",\"documents\":\"a\"}", "vllm"},
      {"/reranking", "{" DOCUMENTS "}", "llamacpp"},
      {"/v1/reranking", "{" TEXTS "}", "llamacpp"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    decoded out;
    decode_good(cases[i].path, cases[i].body, &out);
    if (strcmp(rr_dialect_name(out.dialect), cases[i].dialect) != 0) {
      print_error("%s %s\n  was taken for %s\n", cases[i].path, cases[i].body,
                  rr_dialect_name(out.dialect));
      fail();
    }
    rr_arena_finish(&out.arena);
  }
  assert_null(rr_endpoint_at("/rerank/"));
  assert_null(rr_endpoint_at("/v3/rerank"));
}

/* What is guessed is what reading finds, wherever the names stand; strings that hold them do not
 * count. */
static void a_dialect_is_guessed_by_the_names_at_both_ends(void **state) {
  (void)state;
  static const struct {
    const char *path, *body, *name;
  } cases[] = {
      {"/rerank", "{\"query\":\"q\",\"texts\":[\"a\"]}", "tei"},
      {"/rerank", "{\"query\":\"q\",\"documents\":[\"a\"]}", "infinity"},
      {"/rerank", "{\"documents\":[\"a\"],\"query\":\"q\",\"top_k\":1}", "voyage"},
      {"/rerank", "{\"query\":\"\\\"documents\\\"\",\"texts\":[\"a\"]}", "tei"},
      {"/v1/rerank", "{\"query\":\"q\",\"documents\":[\"a\"],\"use_activation\":true}", "vllm"},
      {"/v1/rerank", "{\"query\":\"q\"}", NULL},
      {"/rerank", "", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const rr_dialect *found =
        rr_dialect_guess(rr_endpoint_at(cases[i].path), cases[i].body, strlen(cases[i].body));
    assert_true((found == NULL) == (cases[i].name == NULL));
    assert_true(found == NULL || strcmp(rr_dialect_name(found), cases[i].name) == 0);
  }
}

static void members_are_looked_for_in_bodies_of_a_bounded_size(void **state) {
  (void)state;
  static char body[RR_JSON_SEARCH_MAX + 1];
  memset(body, ' ', sizeof body);
  assert_false(rr_json_may_name(body, 0, "timeout_ms"));
  assert_false(rr_json_may_name(body, RR_JSON_SEARCH_MAX, "timeout_ms"));
  assert_true(rr_json_may_name(body, RR_JSON_SEARCH_MAX + 1, "timeout_ms")); /* not searched */
  memcpy(body + RR_JSON_SEARCH_MAX - 12, "\"timeout_ms\"", 12);
  assert_true(rr_json_may_name(body, RR_JSON_SEARCH_MAX, "timeout_ms"));
  assert_false(rr_json_may_name(body, RR_JSON_SEARCH_MAX - 1, "timeout_ms"));
  assert_false(rr_json_may_name(body, RR_JSON_SEARCH_MAX, "timeout"));
}

static void errors_have_the_shape_that_the_caller_reads(void **state) {
  (void)state;
  static const struct {
    const char *path;
    rr_error_shape shape;
  } cases[] = {{"/rerank", RR_ERROR_TERSE},    {"/", RR_ERROR_TERSE},
               {"/predict", RR_ERROR_TERSE},   {"/nowhere", RR_ERROR_TERSE},
               {"/info", RR_ERROR_TERSE},      {"/score", RR_ERROR_FULL},
               {"/reranking", RR_ERROR_FULL},  {"/v1/rerank", RR_ERROR_FULL},
               {"/v1/nowhere", RR_ERROR_FULL}, {"/v2/rerank", RR_ERROR_FULL}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(rr_error_shape_of(cases[i].path, NULL), cases[i].shape);
  }
  decoded out;
  assert_false(say(&speakers[SAYS_INFINITY], "[]", "", &out)); /* not TEI's, at its path */
  assert_int_equal(rr_error_shape_of("/rerank", out.dialect), RR_ERROR_LISTED);
  assert_int_equal(rr_error_shape_of("/v1/rerank", out.dialect), RR_ERROR_LISTED);
  size_t size = 0;
  char *bytes = rr_error_encode(RR_ERROR_FULL, &out.error, &size);
  json_t *json = read_back(bytes, size);
  const json_t *inner = json_object_get(json, "error");
  assert_string_equal(json_string_value(json_object_get(json, "message")), out.error.message);
  assert_string_equal(json_string_value(json_object_get(json, "detail")), out.error.message);
  assert_string_equal(json_string_value(json_object_get(inner, "param")), "documents");
  assert_int_equal(json_integer_value(json_object_get(inner, "code")), 400);
  json_decref(json);
  rr_arena_finish(&out.arena);
  rr_error problem;
  const char *fallback = rr_error_fallback(RR_ERROR_FULL, RR_API_MEMORY, &size);
  assert_int_equal(rr_json_parse(fallback, size, SIZE_MAX, &json, &problem), RR_OK);
  json_decref(json);
}

static const char *name_of(const rr_endpoint *endpoint) {
  return rr_dialect_name(endpoint->dialect);
}

/* Calls `visit` with each endpoint and each other one at its path. */
static void each_pair(void (*visit)(const rr_endpoint *one, const rr_endpoint *other)) {
  for (const rr_endpoint *const *list = rr_endpoints_declared; *list != NULL; list++) {
    for (const rr_endpoint *one = *list; one->path != NULL; one++) {
      for (const rr_endpoint *const *others = rr_endpoints_declared; *others != NULL; others++) {
        for (const rr_endpoint *other = *others; other->path != NULL; other++) {
          if (one != other && strcmp(one->path, other->path) == 0) {
            visit(one, other);
          }
        }
      }
    }
  }
}

static void refuse_equal_rank(const rr_endpoint *one, const rr_endpoint *other) {
  if (one->precedence == other->precedence) {
    print_error("%s: %s and %s have the precedence %d\n", one->path, name_of(one), name_of(other),
                one->precedence);
    fail();
  }
  assert_int_equal(one->dialect->operation, other->dialect->operation);
}

static void no_two_at_one_path_have_the_same_precedence(void **state) {
  (void)state;
  each_pair(refuse_equal_rank);
}

/* With the test above: exactly one does. */
static void at_every_path_one_takes_the_rest(void **state) {
  (void)state;
  size_t n = 0;
  for (const rr_endpoint *const *list = rr_endpoints_declared; *list != NULL; list++) {
    for (const rr_endpoint *one = *list; one->path != NULL; one++, n++) {
      assert_int_equal(one->any[0] == NULL, one->precedence == RR_TAKES_THE_REST);
      assert_true(one->precedence >= RR_TOLD_FIRST && one->precedence <= RR_TAKES_THE_REST);
      if (rr_endpoint_at(one->path) == NULL) {
        print_error("%s: nobody takes what no member tells\n", one->path);
        fail();
      }
    }
  }
  assert_true(n > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(path_and_members_pick_the_dialect),
      cmocka_unit_test(no_two_at_one_path_have_the_same_precedence),
      cmocka_unit_test(at_every_path_one_takes_the_rest),
      cmocka_unit_test(a_dialect_is_guessed_by_the_names_at_both_ends),
      cmocka_unit_test(members_are_looked_for_in_bodies_of_a_bounded_size),
      cmocka_unit_test(errors_have_the_shape_that_the_caller_reads),
  };
  return cmocka_run_group_tests(tests, spoken_set_up, NULL);
}
