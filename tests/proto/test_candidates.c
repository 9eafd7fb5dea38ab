/* The forms that candidates come in: objects, names, pairs; and each allocation failing in turn. */
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "tests/proto/spoken.h"

static void documents_may_be_objects_and_fields_are_joined(void **state) {
  (void)state;
  decoded out;
  decode_good(
      "/v1/rerank",
      "{\"query\":\"q\",\"return_documents\":true,\"rank_fields\":[\"title\",\"year\",\"none\"],"
      "\"documents\":[\"plain\",{\"title\":\"T\\u0000\",\"year\":1999,\"text\":\"x\"},{\"text\":"
      "\"y\"}]}",
      &out);
  expect_text(out.request.texts[0], "plain");
  assert_int_equal(out.request.texts[1].size, 7);
  assert_memory_equal(out.request.texts[1].data, "T\0\n1999", 7);
  expect_text(out.request.texts[2], "y");
  assert_int_equal(out.request.echoes[0].size, 0);
  expect_text(out.request.echoes[2], "{\"text\":\"y\"}");
  rr_arena_finish(&out.arena);
  assert_false(say(&speakers[SAYS_COHERE_V1], "[{\"title\":\"x\"}]", "", &out));
  assert_string_equal(out.error.field, "documents");
  rr_arena_finish(&out.arena);
  assert_false(say(&speakers[SAYS_COHERE_V1], "[{\"a\":{}}]", ",\"rank_fields\":[\"a\"]", &out));
  assert_non_null(strstr(out.error.message, "`documents[0].a`"));
  rr_arena_finish(&out.arena);
  assert_false(say(&speakers[SAYS_COHERE_V1], "[\"a\"]", ",\"rank_fields\":[1]", &out));
  assert_string_equal(out.error.field, "rank_fields");
  rr_arena_finish(&out.arena);
}

static void equal_fields_count_once(void **state) {
  (void)state;
  decoded out;
  decode_good("/v1/rerank",
              "{\"query\":\"q\",\"rank_fields\":[\"b\",\"a\",\"b\",\"b\",\"a\",\"c\"],"
              "\"documents\":[{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\"},{\"b\":\"4\"}]}",
              &out);
  expect_text(out.request.texts[0], "2\n1\n3");
  expect_text(out.request.texts[1], "4");
  rr_arena_finish(&out.arena);
}

static void documents_may_be_named(void **state) {
  (void)state;
  decoded out;
  decode_good("/v1/rerank",
              "{\"query\":\"q\",\"documents\":[\"a\",{\"id\":\"x\"},{\"id\":\"y\",\"text\":\"b\"}],"
              "\"return_documents\":true}",
              &out);
  assert_null(out.request.ids[0].data);
  expect_text(out.request.ids[1], "x");
  assert_null(out.request.ids[2].data);
  expect_text(out.request.texts[2], "b");
  assert_int_equal(out.request.echoes[1].size, 0);
  rr_arena_finish(&out.arena);
  decode_good("/rerank", "{\"query\":\"q\",\"texts\":[{\"id\":\"x\"},null,\"a\"]}", &out);
  expect_text(out.request.ids[0], "x");
  assert_null(out.request.ids[1].data);
  rr_arena_finish(&out.arena);
  decode_good("/v1/rerank",
              "{\"query\":\"q\",\"documents\":[{\"id\":\"x\"}],\"rank_fields\":[\"id\"]}", &out);
  assert_null(out.request.ids); /* here the name is what is ranked */
  expect_text(out.request.texts[0], "x");
  rr_arena_finish(&out.arena);
  decode_good("/rerank", "{" TEXTS "}", &out);
  assert_null(out.request.ids);
  rr_arena_finish(&out.arena);
}

static void documents_to_keep_have_names_of_their_own(void **state) {
  (void)state;
  decoded out;
  decode_good("/documents",
              "{\"documents\":[{\"id\":\"x\",\"text\":\"a\"},\"b\",{\"id\":null,\"text\":\"\"}],"
              "\"max_tokens_per_doc\":7,\"truncate\":false}",
              &out);
  assert_true(out.request.keep && out.request.in_order && out.request.no_part);
  assert_int_equal(out.request.n_texts, 3);
  assert_int_equal(out.request.max_text_tokens, 7);
  assert_int_equal(out.request.truncate, 0);
  expect_text(out.request.ids[0], "x");
  assert_null(out.request.ids[1].data);
  assert_null(out.request.ids[2].data);
  expect_text(out.request.texts[1], "b");
  rr_arena_finish(&out.arena);
  static const struct {
    const char *documents;
    const char *says;
  } wrong[] = {
      {"[{\"id\":\"x\",\"text\":\"a\"},{\"id\":\"x\",\"text\":\"a\"}]", "`documents[1].id`: 'x'"},
      {"[{\"id\":\"x\"}]", "`documents[0]`"},
      {"[{\"id\":\"\",\"text\":\"a\"}]", "`documents[0].id`"},
      {"[{\"id\":\"a\\u0000\",\"text\":\"a\"}]", "`documents[0].id`"},
      {"[{\"id\":[],\"text\":\"a\"}]", "`documents[0].id`"},
      {"[\"a\",null]", "`documents[1]`"}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    char body[256];
    (void)snprintf(body, sizeof body, "{\"documents\":%s}", wrong[i].documents);
    assert_false(decode("/documents", body, strlen(body), &out));
    assert_int_equal(out.error.kind, RR_API_VALIDATION);
    assert_non_null(strstr(out.error.message, wrong[i].says));
    rr_arena_finish(&out.arena);
  }
}

static void pairs_have_their_own_queries(void **state) {
  (void)state;
  decoded out;
  decode_good("/score", "{\"text_1\":[\"p\",\"q\"],\"text_2\":[\"a\",\"b\"]}", &out);
  expect_text(out.request.queries[1], "q");
  assert_true(out.request.in_order);
  rr_arena_finish(&out.arena);
  decode_good("/score", "{\"text_1\":[\"p\"],\"text_2\":[\"a\",\"b\"]}", &out);
  assert_null(out.request.queries);
  expect_text(out.request.query, "p");
  rr_arena_finish(&out.arena);
  static const char uneven[] = "{\"text_1\":[\"p\",\"q\"],\"text_2\":[\"a\",\"b\",\"c\"]}";
  assert_false(decode("/score", uneven, sizeof uneven - 1, &out));
  assert_string_equal(out.error.field, "text_1");
  rr_arena_finish(&out.arena);
  decode_good("/predict", "{\"inputs\":[\"q\",\"a\"]}", &out);
  assert_false(out.request.batch);
  expect_text(out.request.queries[0], "q");
  expect_text(out.request.texts[0], "a");
  rr_arena_finish(&out.arena);
  decode_good("/predict", "{\"inputs\":[[\"a\"],[\"q\",\"b\"]]}", &out);
  assert_true(out.request.batch);
  assert_null(out.request.queries[0].data);
  expect_text(out.request.queries[1], "q");
  rr_arena_finish(&out.arena);
}

static void each_failed_allocation_is_lack_of_memory(void **state) {
  (void)state;
  static const char *const bodies[][2] = {
      {"/v1/rerank", "{\"query\":\"q\",\"return_documents\":true,\"rank_fields\":[\"a\",\"text\"],"
                     "\"documents\":[\"x\",{\"a\":1.5,\"text\":\"y\"}]}"},
      {"/score", "{\"text_1\":[\"p\",\"q\"],\"text_2\":[\"a\",\"b\"]}"},
      {"/predict", "{\"inputs\":[[\"p\",\"q\"],[\"a\"]]}"},
      {"/documents", "{\"documents\":[{\"id\":\"x\",\"text\":\"a\"},\"b\"]}"},
      {"/rerank", "{\"query\":\"q\",\"texts\":[\"a\",{\"id\":\"x\"}]}"},
  };
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    unsigned long failed = 0;
    for (;;) {
      decoded out;
      rr_alloc_fail_at(failed + 1, 0);
      bool ok = decode(bodies[i][0], bodies[i][1], strlen(bodies[i][1]), &out);
      bool reached = rr_alloc_count() > failed;
      rr_alloc_fail_at(0, 0);
      rr_arena_finish(&out.arena);
      if (!reached) {
        assert_true(ok);
        break;
      }
      assert_false(ok);
      assert_int_equal(out.error.kind, RR_API_MEMORY);
      failed++;
    }
    assert_true(failed > 5);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(documents_may_be_objects_and_fields_are_joined),
      cmocka_unit_test(equal_fields_count_once),
      cmocka_unit_test(documents_may_be_named),
      cmocka_unit_test(documents_to_keep_have_names_of_their_own),
      cmocka_unit_test(pairs_have_their_own_queries),
      cmocka_unit_test(each_failed_allocation_is_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, spoken_set_up, NULL);
}
