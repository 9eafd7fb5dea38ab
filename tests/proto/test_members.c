/* What goes through every dialect: good bodies, nulls, wrong types, lists of wrong sizes, bounds.
 */
#include <stdio.h>
#include <string.h>

#include "tests/proto/spoken.h"

static void every_dialect_takes_its_least_body_with_its_defaults(void **state) {
  (void)state;
  for (size_t i = 0; i < SPEAKERS; i++) {
    decoded out;
    assert_true(say(&speakers[i], good_candidates(&speakers[i]), "", &out));
    assert_int_equal(out.request.n_texts, 2);
    expect_text(out.request.texts[1], "b");
    assert_int_equal(out.request.truncate, RR_TRUNCATE_DEFAULT);
    assert_false(out.request.truncate_left);
    assert_int_equal(out.request.max_tokens, 0);
    assert_int_equal(out.request.max_text_tokens, 0);
    assert_int_equal(out.request.raw_scores, strcmp(speakers[i].path, "/reranking") == 0);
    rr_arena_finish(&out.arena);
  }
}

/* Calls `visit` with each name of a list with commas. */
static void each_name(const speaker *who, void (*visit)(const speaker *who, const char *name)) {
  const char *names = who->nulls;
  while (*names != '\0') {
    char name[64];
    size_t size = strcspn(names, ",");
    (void)snprintf(name, sizeof name, "%.*s", (int)size, names);
    visit(who, name);
    names += size + (names[size] == ',');
  }
}

static void take_null(const speaker *who, const char *name) {
  char more[128];
  decoded out;
  (void)snprintf(more, sizeof more, ",\"%s\":null", name);
  if (!say(who, good_candidates(who), more, &out)) {
    print_error("%s %s null: %s\n", who->path, name, out.error.message);
    fail();
  }
  rr_arena_finish(&out.arena);
}

static void refuse_object(const speaker *who, const char *name) {
  char more[128];
  decoded out;
  (void)snprintf(more, sizeof more, ",\"%s\":{}", name);
  bool ok = say(who, good_candidates(who), more, &out);
  if (ok || out.error.kind != RR_API_VALIDATION || strcmp(out.error.field, name) != 0 ||
      strstr(out.error.message, name) == NULL) {
    print_error("%s %s {}: %s (%s)\n", who->path, name, out.error.message, out.error.field);
    fail();
  }
  rr_arena_finish(&out.arena);
}

static void null_stands_for_every_optional_member(void **state) {
  (void)state;
  for (size_t i = 0; i < SPEAKERS; i++) {
    each_name(&speakers[i], take_null);
  }
}

static void every_member_of_a_wrong_type_is_named(void **state) {
  (void)state;
  for (size_t i = 0; i < SPEAKERS; i++) {
    each_name(&speakers[i], refuse_object);
  }
}

static void lists_of_wrong_sizes_and_contents_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *candidates;
    rr_api_error_kind kind;
  } lists[] = {
      {"[]", RR_API_EMPTY},
      {"[[\"a\"],[\"a\"],[\"a\"],[\"a\"],[\"a\"]]", RR_API_VALIDATION},
      {"null", RR_API_VALIDATION},
      {"7", RR_API_VALIDATION},
      {"{}", RR_API_VALIDATION},
      {"[1]", RR_API_VALIDATION},
      {"[[[\"a\"]]]", RR_API_VALIDATION},
      {"[\"a\",true,\"c\",\"d\"]", RR_API_VALIDATION},
      {"[\"\xFF\"]", RR_API_MALFORMED},
      {"[\"\\ud800\"]", RR_API_MALFORMED},
  };
  for (size_t i = 0; i < SPEAKERS; i++) {
    for (size_t l = 0; l < sizeof lists / sizeof lists[0]; l++) {
      decoded out;
      bool ok = say(&speakers[i], lists[l].candidates, "", &out);
      if (ok || out.error.kind != lists[l].kind) {
        print_error("%s %s: kind %d, %s\n", speakers[i].path, lists[l].candidates,
                    (int)out.error.kind, out.error.message);
        fail();
      }
      if (lists[l].kind != RR_API_MALFORMED) {
        assert_string_equal(out.error.field, speakers[i].list);
      }
      rr_arena_finish(&out.arena);
    }
  }
}

static void counts_have_bounds(void **state) {
  (void)state;
  static const struct {
    const char *more;
    bool good;
    size_t top_n;
  } cases[] = {
      {",\"top_n\":0", true, 0},
      {",\"top_n\":2", true, 2},
      {",\"top_n\":2.0", true, 2},
      {",\"top_n\":99999", true, 99999},
      {",\"top_n\":-1", false, 0},
      {",\"top_n\":1.5", false, 0},
      {",\"top_n\":9007199254740992", false, 0},
      {",\"top_n\":1e300", false, 0},
      {",\"top_n\":\"2\"", false, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    decoded out;
    assert_int_equal(say(&speakers[SAYS_JINA], "[\"a\"]", cases[i].more, &out), cases[i].good);
    if (cases[i].good) {
      assert_int_equal(out.request.top_n, cases[i].top_n);
    } else {
      assert_string_equal(out.error.field, "top_n");
    }
    rr_arena_finish(&out.arena);
  }
}

static void every_dialect_reads_the_time_it_has(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof speakers / sizeof speakers[SAYS_TEXTS]; i++) {
    const speaker *who = &speakers[i];
    decoded out;
    assert_true(say(who, good_candidates(who),
                    ",\"timeout_ms\":250,\"on_timeout\":\"error\",\"priority\":7", &out));
    assert_int_equal(out.request.timeout_ms, 250);
    assert_int_equal(out.request.on_timeout, RR_ON_TIMEOUT_ERROR);
    assert_int_equal(out.request.priority, 7);
    rr_arena_finish(&out.arena);
    static const char *const bad[][2] = {{",\"timeout_ms\":0", "timeout_ms"},
                                         {",\"timeout_ms\":86400001", "timeout_ms"},
                                         {",\"timeout_ms\":\"1\"", "timeout_ms"},
                                         {",\"on_timeout\":\"Partial\"", "on_timeout"},
                                         {",\"on_timeout\":[]", "on_timeout"},
                                         {",\"priority\":0.5", "priority"},
                                         {",\"priority\":9007199254740993", "priority"}};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
      assert_false(say(who, good_candidates(who), bad[k][0], &out));
      assert_int_equal(out.error.kind, RR_API_VALIDATION);
      assert_string_equal(out.error.field, bad[k][1]);
      rr_arena_finish(&out.arena);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_dialect_takes_its_least_body_with_its_defaults),
      cmocka_unit_test(null_stands_for_every_optional_member),
      cmocka_unit_test(every_member_of_a_wrong_type_is_named),
      cmocka_unit_test(lists_of_wrong_sizes_and_contents_are_refused),
      cmocka_unit_test(counts_have_bounds),
      cmocka_unit_test(every_dialect_reads_the_time_it_has),
  };
  return cmocka_run_group_tests(tests, spoken_set_up, NULL);
}
