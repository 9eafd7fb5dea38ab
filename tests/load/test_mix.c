#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "bench/load/corpus.h"
#include "bench/load/dialect.h"
#include "bench/load/mix.h"
#include "core/base/json.h"

static rr_status read_corpus(const char *text, size_t words, corpus *ret_corpus, rr_error *err) {
  FILE *file = tmpfile();
  assert_non_null(file);
  fputs(text, file);
  rewind(file);
  rr_status status = corpus_read(file, "file", words, ret_corpus, err);
  (void)fclose(file);
  return status;
}

/* Three queries with four documents each: "q0 d0" to "q2 d3". */
static corpus small_corpus(void) {
  char text[1024] = "";
  for (int q = 0; q < 3; q++) {
    char line[256];
    (void)snprintf(line, sizeof line,
                   "{\"query\":\"q%d\",\"candidates\":[{\"text\":\"q%d d0\"},{\"text\":\"q%d "
                   "d1\"},{\"text\":\"q%d "
                   "d2\"},{\"text\":\"q%d d3\"}]}\n",
                   q, q, q, q, q);
    strcat(text, line);
  }
  corpus texts;
  assert_int_equal(read_corpus(text, 0, &texts, NULL), RR_OK);
  return texts;
}

static void all_forms_of_candidates_are_read(void **state) {
  (void)state;
  corpus texts;
  assert_int_equal(
      read_corpus("{\"query\":\"a\",\"candidates\":[{\"text\":\"1\"},\"2\"]}\n\n"
                  "{\"query\":\"b\",\"texts\":[\"3 \\\"x\\\" \\u00e9\"]}\n"
                  "{\"query\":\"c\",\"text\":\"4\"}\n{\"query\":\"c\",\"passage\":\"5\"}\n"
                  "{\"query\":\"d\",\"documents\":[]}",
                  0, &texts, NULL),
      RR_OK);
  assert_int_equal(texts.n_queries, 3);
  assert_int_equal(texts.n_documents, 5);
  assert_int_equal(texts.queries[0].n, 2);
  assert_int_equal(texts.queries[2].first, 3);
  assert_int_equal(texts.queries[2].n, 2);
  assert_string_equal(texts.documents[2].json, "3 \\\"x\\\" \xc3\xa9");
  corpus_finish(&texts);
}

static void documents_are_cut_by_words(void **state) {
  (void)state;
  corpus texts;
  assert_int_equal(
      read_corpus("{\"query\":\"one two three\",\"texts\":[\" a  b\\nc d\",\"a b\",\"\"]}", 2,
                  &texts, NULL),
      RR_OK);
  assert_string_equal(texts.queries[0].text.json, "one two three");
  assert_string_equal(texts.documents[0].json, " a  b");
  assert_string_equal(texts.documents[1].json, "a b");
  assert_string_equal(texts.documents[2].json, "");
  corpus_finish(&texts);
}

static void what_is_no_candidates_file_is_refused_with_its_line(void **state) {
  (void)state;
  static const char *const bad[] = {
      "{\"query\":\"a\",\"texts\":[\"b\"]}\n{", "{\"query\":\"a\",\"texts\":[\"b\"]}\n[1]",
      "{\"query\":\"a\",\"texts\":[\"b\"]}\n{\"query\":\"a\",\"texts\":[3]}",
      "{\"query\":\"a\",\"texts\":[\"b\"]}\n{\"query\":7,\"texts\":[\"b\"]}"};
  corpus texts = {.n_queries = 77};
  rr_error err;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(read_corpus(bad[i], 0, &texts, &err), RR_ERR_FORMAT);
    assert_non_null(strstr(err.message, "file:2: "));
  }
  assert_int_equal(read_corpus("", 0, &texts, &err), RR_ERR_INPUT);
  assert_int_equal(texts.n_queries, 77);
}

static void sizes_follow_their_weights(void **state) {
  (void)state;
  enum { N = 20000 };
  corpus texts = small_corpus();
  mix_sizes sizes;
  assert_int_equal(mix_sizes_parse("1:5,4:4,10:1", &sizes, NULL), RR_OK);
  mix *requests = mix_create(&texts, &sizes, -1, 5);
  assert_non_null(requests);
  double count[11] = {0};
  for (int i = 0; i < N; i++) {
    count[mix_next(requests).n]++;
  }
  assert_true(fabs(count[1] / N - 0.5) < 0.02 && fabs(count[4] / N - 0.4) < 0.02 &&
              fabs(count[10] / N - 0.1) < 0.02);
  assert_true(count[1] + count[4] + count[10] == N);
  mix_destroy(requests);
  corpus_finish(&texts);
}

static void wrong_sizes_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "0",
                                    "-1",
                                    "x",
                                    "10:",
                                    "10:0",
                                    "10:-1",
                                    "10:nan",
                                    "10,",
                                    "10:0.5;20",
                                    "1e3",
                                    "100001",
                                    "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    mix_sizes sizes = {.n = 77};
    assert_int_equal(mix_sizes_parse(bad[i], &sizes, NULL), RR_ERR_INPUT);
    assert_int_equal(sizes.n, 77);
  }
}

static void a_request_has_its_querys_candidates_first(void **state) {
  (void)state;
  corpus texts = small_corpus();
  mix_sizes sizes;
  assert_int_equal(mix_sizes_parse("6", &sizes, NULL), RR_OK);
  mix *requests = mix_create(&texts, &sizes, -1, 5);
  assert_non_null(requests);
  unsigned seen = 0;
  for (int i = 0; i < 3; i++) {
    mix_plan plan = mix_next(requests);
    seen |= 1u << plan.query;
    for (size_t at = 0; at < plan.n; at++) {
      assert_int_equal(plan.documents[at].document, (4 * plan.query + at) % 12);
      assert_int_equal(plan.documents[at].variant, 0);
    }
  }
  assert_int_equal(seen, 7); /* every query before one comes again */
  mix_destroy(requests);
  corpus_finish(&texts);
}

static void the_seed_decides_the_requests(void **state) {
  (void)state;
  corpus texts = small_corpus();
  mix_sizes sizes;
  assert_int_equal(mix_sizes_parse("3,5", &sizes, NULL), RR_OK);
  mix *a = mix_create(&texts, &sizes, 0.5, 1), *b = mix_create(&texts, &sizes, 0.5, 1),
      *c = mix_create(&texts, &sizes, 0.5, 2);
  bool differs = false;
  for (int i = 0; i < 200; i++) {
    mix_plan of_a = mix_next(a), of_b = mix_next(b), of_c = mix_next(c);
    assert_int_equal(of_a.query, of_b.query);
    assert_int_equal(of_a.n, of_b.n);
    for (size_t at = 0; at < of_a.n; at++) {
      assert_int_equal(of_a.documents[at].document, of_b.documents[at].document);
      assert_int_equal(of_a.documents[at].variant, of_b.documents[at].variant);
    }
    differs = differs || of_a.query != of_c.query || of_a.n != of_c.n;
  }
  assert_true(differs);
  mix_destroy(a);
  mix_destroy(b);
  mix_destroy(c);
  corpus_finish(&texts);
}

/* The documents that repeats of this share were among those sent before; checks that all others are
 * new. */
static double repeated(double share) {
  enum { REQUESTS = 2000, PER = 5, MAX = REQUESTS * PER };
  static mix_document sent[MAX];
  size_t n = 0, again = 0;
  corpus texts = small_corpus();
  mix_sizes sizes;
  assert_int_equal(mix_sizes_parse("5", &sizes, NULL), RR_OK);
  mix *requests = mix_create(&texts, &sizes, share, 11);
  assert_non_null(requests);
  for (int i = 0; i < REQUESTS; i++) {
    mix_plan plan = mix_next(requests);
    size_t before = n, found = 0;
    for (size_t at = 0; at < plan.n; at++) {
      bool seen = false;
      for (size_t k = 0; k < before && !seen; k++) {
        seen = sent[k].document == plan.documents[at].document &&
               sent[k].variant == plan.documents[at].variant;
      }
      for (size_t k = before; k < n; k++) { /* never twice in one request */
        assert_false(sent[k].document == plan.documents[at].document &&
                     sent[k].variant == plan.documents[at].variant);
      }
      found += seen;
      sent[n++] = plan.documents[at];
    }
    assert_int_equal(found, plan.repeats);
    again += found;
  }
  mix_destroy(requests);
  corpus_finish(&texts);
  return (double)again / MAX;
}

static void the_repeat_rate_is_the_share_of_documents_sent_before(void **state) {
  (void)state;
  assert_true(repeated(0) == 0);
  assert_true(fabs(repeated(0.3) - 0.3) < 0.02);
  assert_true(repeated(1) > 0.99); /* the first has nothing to repeat */
}

static void bodies_are_json_as_each_dialect_wants_it(void **state) {
  (void)state;
  corpus texts;
  assert_int_equal(
      read_corpus("{\"query\":\"\\\"q\\\"\",\"texts\":[\"a\\n\",\"b\"]}", 0, &texts, NULL), RR_OK);
  const mix_document documents[] = {{1, 0}, {0, 12}};
  const mix_plan plan = {0, 2, 0, documents};
  static const struct {
    const char *name, *wanted;
  } cases[] = {
      {"tei",
       "{\"query\":\"\\\"q\\\"\",\"texts\":[\"b\",\"a\\n 12\"],\"truncate\":true,\"model\":\"m\"}"},
      {"cohere",
       "{\"query\":\"\\\"q\\\"\",\"documents\":[\"b\",\"a\\n 12\"],\"model\":\"m\",\"top_n\":1}"},
      {"voyage", "{\"query\":\"\\\"q\\\"\",\"documents\":[\"b\",\"a\\n "
                 "12\"],\"return_documents\":false,\"model\":\"m\",\"top_k\":1}"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char body[256] = "";
    size_t size = dialect_body(dialect_find(cases[i].name), &texts, &plan, "\"m\"", 1, NULL);
    assert_true(size < sizeof body);
    assert_int_equal(dialect_body(dialect_find(cases[i].name), &texts, &plan, "\"m\"", 1, body),
                     size);
    assert_string_equal(body, cases[i].wanted);
  }
  assert_null(dialect_find("smoke"));
  corpus_finish(&texts);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_forms_of_candidates_are_read),
      cmocka_unit_test(documents_are_cut_by_words),
      cmocka_unit_test(what_is_no_candidates_file_is_refused_with_its_line),
      cmocka_unit_test(sizes_follow_their_weights),
      cmocka_unit_test(wrong_sizes_are_refused),
      cmocka_unit_test(a_request_has_its_querys_candidates_first),
      cmocka_unit_test(the_seed_decides_the_requests),
      cmocka_unit_test(the_repeat_rate_is_the_share_of_documents_sent_before),
      cmocka_unit_test(bodies_are_json_as_each_dialect_wants_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
