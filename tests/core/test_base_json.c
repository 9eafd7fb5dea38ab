#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/json.h"

static rr_error problem;

static rr_status parse(const char *text, size_t max_values) {
  json_t *json = NULL;
  rr_status status = rr_json_parse(text, strlen(text), max_values, &json, &problem);
  assert_true((status == RR_OK) == (json != NULL));
  json_decref(json);
  return status;
}

static void values_are_counted_before_they_are_built(void **state) {
  (void)state;
  assert_int_equal(parse("[1,2,3,4]", 100), RR_OK);
  assert_int_equal(parse("[1,2,3,4]", 3), RR_ERR_INPUT);
  /* Commas inside of strings are no values, escaped quotes end none. */
  assert_int_equal(parse("[\"a,b,c,\\\",,,[[[\"]", 3), RR_OK);
}

static void malformed_text_is_told_with_its_place(void **state) {
  (void)state;
  static const char *const bad[] = {"",    "{",        "[1,]",        "{\"a\":}",
                                    "nul", "\"\xff\"", "\"\\ud800\"", "[1] 2"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_int_equal(parse(bad[i], 100), RR_ERR_FORMAT);
    assert_non_null(strstr(problem.message, "line"));
  }
}

static void messages_are_one_line_whatever_they_quote(void **state) {
  (void)state;
  assert_int_equal(parse("{\"\\u00\n0\"", 100), RR_ERR_FORMAT);
  assert_null(strpbrk(problem.message, "\n\r\t"));
}

/* Who parses what a client sent is told of it apart from the message. */
static void foreign_text_is_not_quoted_in_the_message(void **state) {
  (void)state;
  const char *text = "{\"a\": secret}";
  json_t *json = NULL;
  rr_json_fault fault;
  assert_int_equal(rr_json_parse_foreign(text, strlen(text), 100, &json, &fault, &problem),
                   RR_ERR_FORMAT);
  assert_int_equal(fault.line, 1);
  assert_non_null(strstr(fault.text, "secret"));
  assert_null(strstr(problem.message, "secret"));
  assert_non_null(strstr(problem.message, "line 1"));
}

static void deep_nesting_is_an_error_and_no_crash(void **state) {
  (void)state;
  enum { DEPTH = 500000 };
  char *text = malloc(DEPTH + 1);
  assert_non_null(text);
  memset(text, '[', DEPTH);
  text[DEPTH] = '\0';
  assert_int_equal(parse(text, SIZE_MAX), RR_ERR_FORMAT);
  free(text);
}

static void each_failing_allocation_is_reported_and_leaks_nothing(void **state) {
  (void)state;
  /* The long ones make jansson's buffer of a token grow in the midst of one. */
  static const char *const texts[] = {
      "{\"a\":[1,2,{\"b\":\"text\"}],\"c\":null}",
      "[\"a text that is longer than what a buffer of sixteen bytes holds \\ud83d\\ude00 \\n, and "
      "than the next\"]",
      "[123456789012345678]",
      "[1234567890.12345678901234567890e+0000000000000000000000000000000000001]",
      "{\"abcdefghijklmno\":{\"abcdefghijklmnopqrstuvwxyzabcde\":0}}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    rr_status status = RR_ERR_MEMORY;
    unsigned long n = 1;
    for (; status == RR_ERR_MEMORY && n < 1000; n++) {
      rr_alloc_fail_at(n, 0);
      status = parse(texts[i], 100);
      rr_alloc_fail_at(0, 0);
    }
    assert_int_equal(status, RR_OK);
    assert_true(n > 5);
  }
}

static void files_are_bounded_and_errors_name_them(void **state) {
  (void)state;
  char path[] = "/tmp/rr_json_XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "[1,2]", 5), 5);
  json_t *json = NULL;
  assert_int_equal(rr_json_load(path, 5, &json, &problem), RR_OK);
  assert_int_equal(json_array_size(json), 2);
  json_decref(json);
  assert_int_equal(rr_json_load(path, 4, &json, &problem), RR_ERR_FORMAT);
  assert_non_null(strstr(problem.message, path));
  assert_int_equal(rr_json_load("/nonexistent/file", 4, &json, &problem), RR_ERR_IO);
  assert_int_equal(rr_json_load("/tmp", 4, &json, &problem), RR_ERR_IO);
  (void)close(fd);
  (void)unlink(path);
}

static int use_own_heap(void **state) {
  (void)state;
  rr_json_init();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_are_counted_before_they_are_built),
      cmocka_unit_test(malformed_text_is_told_with_its_place),
      cmocka_unit_test(messages_are_one_line_whatever_they_quote),
      cmocka_unit_test(foreign_text_is_not_quoted_in_the_message),
      cmocka_unit_test(deep_nesting_is_an_error_and_no_crash),
      cmocka_unit_test(each_failing_allocation_is_reported_and_leaks_nothing),
      cmocka_unit_test(files_are_bounded_and_errors_name_them),
  };
  return cmocka_run_group_tests(tests, use_own_heap, NULL);
}
