/* Every dialect through the table that picks it: good bodies, nulls, wrong types, lists of wrong
 * sizes. */
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
#include "proto/dialects.h"

enum { ARENA_LIMIT = 1 << 20, MAX_TEXTS = 4 };

static const rr_rerank_limits limits = {.max_texts = MAX_TEXTS, .max_json_values = 200};

typedef struct decoded {
  rr_arena arena;
  const rr_dialect *dialect;
  rr_rerank_request request;
  rr_api_error error;
} decoded;

static bool decode(const char *path, const char *body, size_t size, decoded *out) {
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

static void decode_good(const char *path, const char *body, decoded *out) {
  if (!decode(path, body, strlen(body), out)) {
    print_error("%s %s\n  gave: %s\n", path, body, out->error.message);
    fail();
  }
}

static void expect_text(rr_text text, const char *wanted) {
  assert_int_equal(text.size, strlen(wanted));
  assert_memory_equal(text.data, wanted, text.size);
}

#define DOCUMENTS "\"query\":\"q\",\"documents\":[\"a\",\"b\"]"
#define TEXTS "\"query\":\"q\",\"texts\":[\"a\",\"b\"]"

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

/* What goes through every dialect: its path, the body without its end, its optional members. */
typedef struct speaker {
  const char *path;
  const char *before; /* the list of candidates, its name in quotes */
  const char *list;
  const char *after; /* what makes the body this dialect's */
  const char *nulls; /* every optional member */
} speaker;

static const speaker speakers[] = {
    {"/rerank", "{\"query\":\"q\",", "texts", "",
     "truncate,truncation_direction,truncation_strategy,raw_scores,return_text,timeout_ms,on_"
     "timeout,priority"},
    {"/predict", "{", "inputs", "", "truncate,raw_scores,truncation_direction,truncation_strategy"},
    {"/v1/rerank", "{\"query\":\"q\",", "documents", ",\"max_chunks_per_doc\":1",
     "model,top_n,return_documents,rank_fields,truncation_direction,truncation_strategy"},
    {"/v2/rerank", "{\"query\":\"q\",", "documents", "",
     "model,top_n,max_tokens_per_doc,priority,truncation_direction,truncation_strategy"},
    {"/v1/rerank", "{\"query\":\"q\",", "documents", "",
     "model,top_n,return_documents,truncation_direction,truncation_strategy,timeout_ms,on_timeout"},
    {"/v2/rerank", "{\"query\":\"q\",", "documents", ",\"use_activation\":true",
     "model,top_n,return_documents,truncate_prompt_tokens,max_tokens_per_doc,priority,truncation_"
     "direction"},
    {"/score", "{\"text_1\":\"q\",", "text_2", "",
     "model,truncate_prompt_tokens,max_tokens_per_doc,priority,use_activation,truncation_strategy"},
    {"/reranking", "{\"query\":\"q\",", "documents", "", "model,top_n,truncation_direction"},
    {"/reranking", "{\"query\":\"q\",", "texts", "",
     "model,top_n,return_text,truncation_direction"},
    {"/rerank", "{\"query\":\"q\",", "documents", "",
     "model,top_n,return_documents,raw_scores,truncation_direction,truncation_strategy"},
    {"/v1/rerank", "{\"query\":\"q\",", "documents", ",\"top_k\":1",
     "model,return_documents,truncation,truncation_direction,truncation_strategy"},
};
enum { SPEAKERS = sizeof speakers / sizeof speakers[0] };

static bool say(const speaker *who, const char *candidates, const char *more, decoded *out) {
  char body[2048];
  (void)snprintf(body, sizeof body, "%s\"%s\":%s%s%s}", who->before, who->list, candidates,
                 who->after, more);
  return decode(who->path, body, strlen(body), out);
}

static const char *good_candidates(const speaker *who) {
  return strcmp(who->list, "inputs") == 0 ? "[[\"q\",\"a\"],[\"b\"]]" : "[\"a\",\"b\"]";
}

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
    assert_int_equal(say(&speakers[4], "[\"a\"]", cases[i].more, &out), cases[i].good);
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
  for (size_t i = 0; i < sizeof speakers / sizeof speakers[0]; i++) {
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
  assert_false(say(&speakers[2], "[{\"title\":\"x\"}]", "", &out));
  assert_string_equal(out.error.field, "documents");
  rr_arena_finish(&out.arena);
  assert_false(say(&speakers[2], "[{\"a\":{}}]", ",\"rank_fields\":[\"a\"]", &out));
  assert_non_null(strstr(out.error.message, "`documents[0].a`"));
  rr_arena_finish(&out.arena);
  assert_false(say(&speakers[2], "[\"a\"]", ",\"rank_fields\":[1]", &out));
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

static void kept_documents_are_told(void **state) {
  (void)state;
  rr_text ids[] = {{"a\"", 2}, {"b", 1}};
  const rr_rerank_request request = {.ids = ids, .n_texts = 2, .keep = true};
  const rr_ranked ranked[] = {{.index = 0}, {.index = 1}};
  const rr_text_tokens tokens[] = {{.count = 3}, {.count = 9, .truncated = true}};
  const bool kept[] = {true, false};
  const rr_rerank_answer answer = {.request = &request,
                                   .ranked = ranked,
                                   .n = 2,
                                   .text_tokens = tokens,
                                   .kept = kept,
                                   .n_computed = 1,
                                   .tokens = 12,
                                   .model = "m",
                                   .id = "i"};
  size_t size = 0;
  char *body = rr_dialect_encode(&rr_dialect_keep, &answer, NULL, &size);
  assert_string_equal(
      body, "{\"object\":\"list\",\"model\":\"m\",\"documents\":[{\"id\":\"a\\\"\",\"tokens\":3,"
            "\"cached\":true},"
            "{\"id\":\"b\",\"tokens\":9,\"truncated\":true,\"cached\":false}],\"computed\":1,"
            "\"usage\":{\"total_tokens\":12}}");
  rr_free(body);
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

static json_t *read_back(char *bytes, size_t size) {
  json_t *json = NULL;
  rr_error problem;
  assert_non_null(bytes);
  assert_int_equal(rr_json_parse(bytes, size, SIZE_MAX, &json, &problem), RR_OK);
  rr_free(bytes);
  return json;
}

static void a_cosine_below_zero_is_zero_where_scores_are_promised_to_be(void **state) {
  (void)state;
  static const rr_ranked ranked[] = {{.index = 1, .score = 1.0000001f},
                                     {.index = 0, .score = -0.25f}};
  static const struct {
    size_t speaker;
    double least;
  } cases[] = {{2, 0}, {3, 0}, {4, 0}, {10, 0}, {5, -0.25}, {7, -0.25}, {9, -0.25}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    decoded out;
    size_t size = 0;
    assert_true(say(&speakers[cases[i].speaker], "[\"a\",\"b\"]", "", &out));
    const rr_rerank_answer answer = {
        .request = &out.request, .ranked = ranked, .n = 2, .id = "i", .model = "m"};
    char *bytes = rr_dialect_encode(out.dialect, &answer, NULL, &size);
    json_t *json = read_back(bytes, size);
    const json_t *list = json_object_get(json, cases[i].speaker == 10 ? "data" : "results");
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
    const rr_dialect *dialect;
    const char *list;
  } cases[] = {{&rr_dialect_jina, "results"},
               {&rr_dialect_cohere_v2, "results"},
               {&rr_dialect_voyage, "data"},
               {&rr_dialect_vllm_score, "data"},
               {&rr_dialect_llamacpp, "results"}};
  const rr_rerank_request request = {.n_texts = 2};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    size_t size = 0;
    const rr_rerank_answer answer = {.request = &request,
                                     .ranked = ranked,
                                     .n = 2,
                                     .unscored = unscored,
                                     .n_unscored = 1,
                                     .id = "x",
                                     .model = "m"};
    char *bytes = rr_dialect_encode(cases[i].dialect, &answer, NULL, &size);
    json_t *json = read_back(bytes, size);
    const json_t *list = json_object_get(json, cases[i].list);
    assert_int_equal(json_integer_value(json_object_get(json, "unscored")), 1);
    assert_null(json_object_get(json_array_get(list, 0), "unscored"));
    assert_true(json_is_true(json_object_get(json_array_get(list, 1), "unscored")));
    json_decref(json);
  }
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
  assert_false(say(&speakers[9], "[]", "", &out)); /* not TEI's, at its path */
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

static int set_up(void **state) {
  (void)state;
  rr_json_init();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(path_and_members_pick_the_dialect),
      cmocka_unit_test(every_dialect_takes_its_least_body_with_its_defaults),
      cmocka_unit_test(null_stands_for_every_optional_member),
      cmocka_unit_test(every_member_of_a_wrong_type_is_named),
      cmocka_unit_test(lists_of_wrong_sizes_and_contents_are_refused),
      cmocka_unit_test(counts_have_bounds),
      cmocka_unit_test(every_dialect_reads_the_time_it_has),
      cmocka_unit_test(a_dialect_is_guessed_by_the_names_at_both_ends),
      cmocka_unit_test(members_are_looked_for_in_bodies_of_a_bounded_size),
      cmocka_unit_test(documents_may_be_objects_and_fields_are_joined),
      cmocka_unit_test(equal_fields_count_once),
      cmocka_unit_test(documents_may_be_named),
      cmocka_unit_test(documents_to_keep_have_names_of_their_own),
      cmocka_unit_test(kept_documents_are_told),
      cmocka_unit_test(pairs_have_their_own_queries),
      cmocka_unit_test(each_failed_allocation_is_lack_of_memory),
      cmocka_unit_test(a_cosine_below_zero_is_zero_where_scores_are_promised_to_be),
      cmocka_unit_test(results_without_a_score_say_so),
      cmocka_unit_test(errors_have_the_shape_that_the_caller_reads),
      cmocka_unit_test(a_listed_detail_names_the_field),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
