/* Reading the body of POST /rerank: a table of good and of bad bodies, limits, lack of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "proto/dialect.h"

static const rr_rerank_limits limits = {.max_texts = 4, .max_json_values = 100};
enum { ARENA_LIMIT = 1 << 20 };

typedef struct decoded {
  rr_arena arena;
  rr_rerank_request request;
  rr_api_error error;
} decoded;

/* Decodes an exact-size heap copy, so that a read past the end is seen by valgrind and ASan. */
static bool decode(const char *body, size_t size, size_t arena_limit, decoded *out) {
  char *copy = malloc(size == 0 ? 1 : size);
  assert_non_null(copy);
  memcpy(copy, body, size);
  rr_arena_init(&out->arena, arena_limit);
  memset(&out->request, 0x5A, sizeof out->request);
  memset(&out->error, 0, sizeof out->error);
  const rr_dialect *dialect;
  bool ok = rr_dialect_decode(rr_endpoint_at("/rerank"), copy, size, &limits, &out->arena, &dialect,
                              &out->request, &out->error);
  free(copy);
  return ok;
}

static void decode_good(const char *body, decoded *out) {
  if (!decode(body, strlen(body), ARENA_LIMIT, out)) {
    print_error("%s\n  gave: %s\n", body, out->error.message);
    fail();
  }
}

static void expect_text(rr_text text, const char *bytes, size_t size) {
  assert_int_equal(text.size, size);
  assert_memory_equal(text.data, bytes, size);
}

static void the_least_body_gets_the_defaults(void **state) {
  (void)state;
  decoded out;
  decode_good("{\"query\":\"q\",\"texts\":[\"a\",\"bc\"]}", &out);
  expect_text(out.request.query, "q", 1);
  assert_int_equal(out.request.n_texts, 2);
  expect_text(out.request.texts[0], "a", 1);
  expect_text(out.request.texts[1], "bc", 2);
  assert_int_equal(out.request.truncate, RR_TRUNCATE_DEFAULT);
  assert_false(out.request.truncate_left);
  assert_false(out.request.raw_scores);
  assert_false(out.request.return_text);
  rr_arena_finish(&out.arena);
}

static void every_option_is_read(void **state) {
  (void)state;
  decoded out;
  decode_good(
      "{\"query\":\"q\",\"texts\":[\"a\"],\"truncate\":true,\"truncation_direction\":\"Left\","
      "\"raw_scores\":true,\"return_text\":true}",
      &out);
  assert_int_equal(out.request.truncate, 1);
  assert_true(out.request.truncate_left);
  assert_true(out.request.raw_scores);
  assert_true(out.request.return_text);
  rr_arena_finish(&out.arena);
  decode_good("{\"query\":\"q\",\"texts\":[\"a\"],\"truncate\":false,\"raw_scores\":false,"
              "\"return_text\":false}",
              &out);
  assert_int_equal(out.request.truncate, 0);
  assert_false(out.request.raw_scores);
  assert_false(out.request.return_text);
  rr_arena_finish(&out.arena);
}

static void null_stands_for_every_optional_field(void **state) {
  (void)state;
  decoded out;
  decode_good("{\"query\":\"q\",\"texts\":[\"a\"],\"truncate\":null,\"truncation_direction\":null,"
              "\"raw_scores\":null,\"return_text\":null}",
              &out);
  assert_int_equal(out.request.truncate, RR_TRUNCATE_DEFAULT);
  assert_false(out.request.truncate_left);
  assert_false(out.request.raw_scores);
  assert_false(out.request.return_text);
  rr_arena_finish(&out.arena);
}

static void null_among_the_texts_is_an_empty_text(void **state) {
  (void)state;
  decoded out;
  decode_good("{\"query\":\"q\",\"texts\":[\"a\",null]}", &out);
  assert_int_equal(out.request.n_texts, 2);
  assert_non_null(out.request.texts[1].data);
  assert_int_equal(out.request.texts[1].size, 0);
  rr_arena_finish(&out.arena);
}

static void the_longer_one_is_cut_first_only_on_request(void **state) {
  (void)state;
  static const struct {
    const char *rest;
    rr_cut cut;
  } bodies[] = {
      {"}", RR_CUT_TEXT_IF_POSSIBLE},
      {",\"truncate\":false}", RR_CUT_TEXT_IF_POSSIBLE},
      {",\"truncate\":true}", RR_CUT_LONGEST},
      {",\"truncation_direction\":\"right\"}", RR_CUT_LONGEST},
      {",\"truncation_strategy\":\"longest_first\"}", RR_CUT_LONGEST},
      {",\"truncate\":true,\"truncation_strategy\":\"only_second\"}", RR_CUT_TEXT},
  };
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    char body[128];
    decoded out;
    (void)snprintf(body, sizeof body, "{\"query\":\"q\",\"texts\":[\"a\"]%s", bodies[i].rest);
    decode_good(body, &out);
    assert_int_equal(out.request.cut, bodies[i].cut);
    rr_arena_finish(&out.arena);
  }
}

static void both_spellings_of_a_direction_are_read(void **state) {
  (void)state;
  static const struct {
    const char *name;
    bool left;
  } directions[] = {{"left", true}, {"Left", true}, {"right", false}, {"Right", false}};
  for (size_t i = 0; i < sizeof directions / sizeof directions[0]; i++) {
    char body[128];
    decoded out;
    (void)snprintf(body, sizeof body,
                   "{\"query\":\"q\",\"texts\":[\"a\"],\"truncation_direction\":\"%s\"}",
                   directions[i].name);
    decode_good(body, &out);
    assert_int_equal(out.request.truncate_left, directions[i].left);
    rr_arena_finish(&out.arena);
  }
}

static void unknown_fields_are_ignored(void **state) {
  (void)state;
  decoded out;
  decode_good("{\"model\":\"m\",\"query\":\"q\",\"top_n\":3,\"texts\":[\"a\"],"
              "\"x\":{\"texts\":[1.5e3]}}",
              &out);
  assert_int_equal(out.request.n_texts, 1);
  rr_arena_finish(&out.arena);
}

static void the_last_of_two_equal_keys_counts(void **state) {
  (void)state;
  decoded out;
  decode_good("{\"query\":\"first\",\"texts\":[],\"query\":\"second\",\"texts\":[\"a\"]}", &out);
  expect_text(out.request.query, "second", 6);
  assert_int_equal(out.request.n_texts, 1);
  rr_arena_finish(&out.arena);
}

static void empty_texts_nul_and_both_unicode_forms_survive(void **state) {
  (void)state;
  decoded out;
  decode_good(
      "{\"query\":\"\",\"texts\":[\"a\\u0000b\",\"\\ud83d\\ude00\",\"\xF0\x9F\x98\x80\",\"\"]}",
      &out);
  assert_int_equal(out.request.query.size, 0);
  expect_text(out.request.texts[0], "a\0b", 3);
  expect_text(out.request.texts[1], "\xF0\x9F\x98\x80", 4);
  expect_text(out.request.texts[2], "\xF0\x9F\x98\x80", 4);
  assert_int_equal(out.request.texts[3].size, 0);
  rr_arena_finish(&out.arena);
}

typedef struct bad_body {
  const char *body;
  rr_api_error_kind kind;
  const char *names; /* what the message must hold */
} bad_body;

#define QUERY "{\"query\":\"q\","
#define REST "\"query\":\"q\",\"texts\":[\"a\"]}"

static const bad_body bad_bodies[] = {
    {"", RR_API_MALFORMED, "invalid JSON"},
    {" ", RR_API_MALFORMED, "invalid JSON"},
    {"{", RR_API_MALFORMED, "line 1"},
    {"{\"query\":\"q\",\"texts\":[\"a\"]", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"q\",\"texts\":[\"a\",]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"q\" \"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{'query':'q','texts':['a']}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"q\",\"texts\":[\"a\"]}{}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"a\nb\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"\xFF\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"\xC0\x80\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"\xED\xA0\x80\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"\xF4\x90\x80\x80\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"\xEF\xBB\xBF{\"query\":\"q\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"\\ud800\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"\\udc00\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"\\ud800\\u0041\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"query\":\"\\u00g0\",\"texts\":[\"a\"]}", RR_API_MALFORMED, "invalid JSON"},
    {"{\"a\\u0000b\":1," REST, RR_API_MALFORMED, "invalid JSON"},
    {"{\"n\":123456789012345678901234567890," REST, RR_API_MALFORMED, "invalid JSON"},
    {"{\"n\":1e999," REST, RR_API_MALFORMED, "invalid JSON"},
    {"{\"n\":NaN," REST, RR_API_MALFORMED, "invalid JSON"},
    {"{\"n\":01," REST, RR_API_MALFORMED, "invalid JSON"},
    {"null", RR_API_VALIDATION, "null"},
    {"7", RR_API_VALIDATION, "a number"},
    {"\"text\"", RR_API_VALIDATION, "a string"},
    {"[]", RR_API_VALIDATION, "an array"},
    {"{}", RR_API_VALIDATION, "`query`"},
    {"{\"texts\":[\"a\"]}", RR_API_VALIDATION, "missing field `query`"},
    {QUERY "\"text\":[\"a\"]}", RR_API_VALIDATION, "missing field `texts`"},
    {"{\"query\":null,\"texts\":[\"a\"]}", RR_API_VALIDATION, "`query` must be a string, not null"},
    {"{\"query\":1,\"texts\":[\"a\"]}", RR_API_VALIDATION, "`query`"},
    {"{\"query\":[\"q\"],\"texts\":[\"a\"]}", RR_API_VALIDATION, "`query`"},
    {QUERY "\"texts\":null}", RR_API_VALIDATION, "`texts`"},
    {QUERY "\"texts\":\"a\"}", RR_API_VALIDATION, "`texts`"},
    {QUERY "\"texts\":{\"0\":\"a\"}}", RR_API_VALIDATION, "`texts`"},
    {QUERY "\"texts\":[]}", RR_API_EMPTY, "`texts` cannot be empty"},
    {QUERY "\"texts\":[\"a\",1.5]}", RR_API_VALIDATION,
     "`texts[1]` must be a string, not a number"},
    {QUERY "\"texts\":[true]}", RR_API_VALIDATION, "`texts[0]`"},
    {QUERY "\"texts\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", RR_API_VALIDATION,
     "batch size 5 > maximum allowed batch size 4"},
    {QUERY "\"texts\":[\"a\"],\"truncate\":1}", RR_API_VALIDATION, "`truncate`"},
    {QUERY "\"texts\":[\"a\"],\"truncate\":\"true\"}", RR_API_VALIDATION, "`truncate`"},
    {QUERY "\"texts\":[\"a\"],\"raw_scores\":0}", RR_API_VALIDATION, "`raw_scores`"},
    {QUERY "\"texts\":[\"a\"],\"return_text\":{}}", RR_API_VALIDATION, "`return_text`"},
    {QUERY "\"texts\":[\"a\"],\"truncation_direction\":\"LEFT\"}", RR_API_VALIDATION,
     "`truncation_direction`"},
    {QUERY "\"texts\":[\"a\"],\"truncation_direction\":\"\"}", RR_API_VALIDATION,
     "`truncation_direction`"},
    {QUERY "\"texts\":[\"a\"],\"truncation_direction\":true}", RR_API_VALIDATION,
     "`truncation_direction`"},
};

static void bad_bodies_are_refused_with_their_reason(void **state) {
  (void)state;
  rr_rerank_request untouched;
  memset(&untouched, 0x5A, sizeof untouched);
  for (size_t i = 0; i < sizeof bad_bodies / sizeof bad_bodies[0]; i++) {
    const bad_body *bad = &bad_bodies[i];
    decoded out;
    bool ok = decode(bad->body, strlen(bad->body), ARENA_LIMIT, &out);
    rr_arena_finish(&out.arena);
    if (ok || out.error.kind != bad->kind || strstr(out.error.message, bad->names) == NULL) {
      print_error("%s\n  gave kind %d: %s\n", bad->body, (int)out.error.kind, out.error.message);
      fail();
    }
    assert_memory_equal(&out.request, &untouched, sizeof untouched);
  }
}

static void every_cut_of_a_good_body_is_malformed(void **state) {
  (void)state;
  static const char body[] =
      "{\"query\":\"\xC3\xA9\\u00e9\",\"texts\":[\"a\\n\",\"\xF0\x9F\x98\x80\"],"
      "\"truncate\":true,\"n\":-1.5e3}";
  for (size_t size = 0; size < sizeof body - 1; size++) {
    decoded out;
    assert_false(decode(body, size, ARENA_LIMIT, &out));
    assert_int_equal(out.error.kind, RR_API_MALFORMED);
    rr_arena_finish(&out.arena);
  }
}

static void deep_nesting_is_malformed(void **state) {
  (void)state;
  enum { DEPTH = 1000000 };
  static const rr_rerank_limits many = {.max_texts = 4, .max_json_values = SIZE_MAX};
  char *body = malloc(DEPTH);
  assert_non_null(body);
  for (int i = 0; i < 2; i++) {
    rr_arena arena;
    rr_rerank_request request;
    rr_api_error error;
    memset(body, '[', DEPTH);
    if (i == 1) {
      for (size_t at = 0; at + 5 <= DEPTH; at += 5) {
        memcpy(body + at, "{\"a\":", 5);
      }
    }
    rr_arena_init(&arena, ARENA_LIMIT);
    const rr_dialect *dialect;
    assert_false(rr_dialect_decode(rr_endpoint_at("/rerank"), body, DEPTH, &many, &arena, &dialect,
                                   &request, &error));
    assert_int_equal(error.kind, RR_API_MALFORMED);
    rr_arena_finish(&arena);
  }
  free(body);
}

static void too_many_values_are_refused_before_parsing(void **state) {
  (void)state;
  char body[1024] = QUERY "\"texts\":[\"a\"],\"more\":[0";
  for (int i = 0; i < 120; i++) {
    strcat(body, ",0");
  }
  strcat(body, "]}");
  decoded out;
  assert_false(decode(body, strlen(body), ARENA_LIMIT, &out));
  assert_int_equal(out.error.kind, RR_API_VALIDATION);
  assert_non_null(strstr(out.error.message, "JSON values"));
  rr_arena_finish(&out.arena);
}

static const char whole_body[] =
    "{\"query\":\"a query that is longer than the first token buffer\",\"texts\":[\"a\\u00e9\","
    "\"a text that is quite a bit longer than the query, so that buffers grow once more\"],"
    "\"truncate\":null,\"return_text\":true,\"nested\":{\"array\":[1,2.5,true,{}]}}";

static void an_exhausted_arena_is_lack_of_memory(void **state) {
  (void)state;
  decoded out;
  assert_false(decode(whole_body, strlen(whole_body), 64, &out));
  assert_int_equal(out.error.kind, RR_API_MEMORY);
  rr_arena_finish(&out.arena);
}

/* Fails the first, second, third... allocation, alone or with all that follow, until none is
 * hit. */
static void each_failed_allocation_is_lack_of_memory(void **state) {
  (void)state;
  for (int sticky = 0; sticky <= 1; sticky++) {
    unsigned long failed = 0;
    for (;;) {
      decoded out;
      rr_alloc_fail_at(failed + 1, sticky);
      bool ok = decode(whole_body, strlen(whole_body), ARENA_LIMIT, &out);
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
    assert_true(failed > 10);
  }
}

static int set_up(void **state) {
  (void)state;
  rr_json_init();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_least_body_gets_the_defaults),
      cmocka_unit_test(every_option_is_read),
      cmocka_unit_test(null_stands_for_every_optional_field),
      cmocka_unit_test(null_among_the_texts_is_an_empty_text),
      cmocka_unit_test(the_longer_one_is_cut_first_only_on_request),
      cmocka_unit_test(both_spellings_of_a_direction_are_read),
      cmocka_unit_test(unknown_fields_are_ignored),
      cmocka_unit_test(the_last_of_two_equal_keys_counts),
      cmocka_unit_test(empty_texts_nul_and_both_unicode_forms_survive),
      cmocka_unit_test(bad_bodies_are_refused_with_their_reason),
      cmocka_unit_test(every_cut_of_a_good_body_is_malformed),
      cmocka_unit_test(deep_nesting_is_malformed),
      cmocka_unit_test(too_many_values_are_refused_before_parsing),
      cmocka_unit_test(an_exhausted_arena_is_lack_of_memory),
      cmocka_unit_test(each_failed_allocation_is_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
