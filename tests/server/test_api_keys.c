/* API keys, and the names that callers give to requests. */
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
#include "server/http/api_keys.h"
#include "server/http/trace_context.h"

static char path[] = "/tmp/rerankd-keys-XXXXXX";

static void write_keys(const char *text) {
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  (void)fputs(text, out);
  (void)fclose(out);
}

static void keys_come_from_lists_and_from_a_file(void **state) {
  (void)state;
  const char *lists[] = {"one, two ,", "three"};
  api_keys *keys = NULL;
  write_keys("# a comment\n\n  four\r\nfive,not split\nsix");
  assert_int_equal(api_keys_load(lists, 2, path, &keys, NULL), RR_OK);
  assert_int_equal(api_keys_count(keys), 6);
  static const char *const right[] = {"one", "two", "three", "four", "five,not split", "six"};
  static const char *const wrong[] = {"",         "on",          "onee", "One",
                                      "one, two", "# a comment", "five", "seven"};
  for (size_t i = 0; i < 6; i++) {
    assert_true(api_keys_match(keys, right[i]));
  }
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    assert_false(api_keys_match(keys, wrong[i]));
  }
  api_keys_destroy(keys);
}

static void the_longest_key_fits_and_a_longer_one_is_refused(void **state) {
  (void)state;
  char key[API_KEY_BYTES + 1];
  const char *list = key;
  api_keys *keys = NULL;
  rr_error err = {.message = ""};
  memset(key, 'k', sizeof key);
  key[API_KEY_BYTES - 1] = '\0';
  assert_int_equal(api_keys_load(&list, 1, NULL, &keys, &err), RR_OK);
  assert_true(api_keys_match(keys, key));
  key[API_KEY_BYTES - 1] = 'k';
  key[API_KEY_BYTES] = '\0';
  assert_false(api_keys_match(keys, key));
  api_keys_destroy(keys);
  keys = NULL;
  assert_int_equal(api_keys_load(&list, 1, NULL, &keys, &err), RR_ERR_INPUT);
  write_keys(key);
  assert_int_equal(api_keys_load(NULL, 0, path, &keys, &err), RR_ERR_INPUT);
  assert_null(keys);
}

static void a_key_may_carry_a_priority(void **state) {
  (void)state;
  const char *lists[] = {"one priority=5,two", "three \t priority=-1000"};
  api_keys *keys = NULL;
  rr_error err = {.message = ""};
  int32_t priority = 7;
  write_keys("a key of words priority=1000\r\nfour priority=0\npriority=5\nnot priority=\tx\n");
  assert_int_equal(api_keys_load(lists, 2, path, &keys, &err), RR_OK);
  static const struct {
    const char *key;
    int32_t priority;
  } right[] = {{"one", 5},
               {"two", API_KEY_NO_PRIORITY},
               {"three", -1000},
               {"a key of words", 1000},
               {"four", 0},
               {"priority=5", API_KEY_NO_PRIORITY},
               {"not priority=\tx", API_KEY_NO_PRIORITY}};
  for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
    assert_true(api_keys_find(keys, right[i].key, &priority));
    assert_int_equal(priority, right[i].priority);
  }
  assert_false(api_keys_find(keys, "one priority=5", &priority));
  assert_int_equal(priority, API_KEY_NO_PRIORITY);
  api_keys_destroy(keys);
  static const char *const wrong[] = {"k priority=",
                                      "k priority=1001",
                                      "k priority=-1001",
                                      "k priority=1x",
                                      "k priority=99999999999999999999",
                                      "k priority= "};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    assert_int_equal(api_keys_load(&wrong[i], 1, NULL, &keys, &err), RR_ERR_INPUT);
    assert_non_null(strstr(err.message, "priority"));
  }
}

static void nothing_is_not_a_key(void **state) {
  (void)state;
  const char *list = " , ,";
  api_keys *keys = NULL;
  rr_error err = {.message = ""};
  assert_int_equal(api_keys_load(NULL, 0, NULL, &keys, &err), RR_OK);
  assert_int_equal(api_keys_count(keys), 0);
  assert_false(api_keys_match(keys, ""));
  api_keys_destroy(keys);
  assert_int_equal(api_keys_load(&list, 1, NULL, &keys, &err), RR_ERR_INPUT);
  write_keys("# none\n");
  assert_int_equal(api_keys_load(NULL, 0, path, &keys, &err), RR_ERR_INPUT);
  assert_non_null(strstr(err.message, path));
  assert_int_equal(api_keys_load(NULL, 0, "/nowhere/keys", &keys, &err), RR_ERR_IO);
}

static void each_failed_allocation_is_lack_of_memory(void **state) {
  (void)state;
  const char *list = "a,b,c,d,e,f,g,h,i";
  for (unsigned long failed = 0; failed < 100; failed++) {
    api_keys *keys = NULL;
    rr_alloc_fail_at(failed + 1, 0);
    rr_status status = api_keys_load(&list, 1, NULL, &keys, NULL);
    bool reached = rr_alloc_count() > failed;
    rr_alloc_fail_at(0, 0);
    assert_int_equal(status, reached ? RR_ERR_MEMORY : RR_OK);
    if (!reached) {
      assert_true(failed > 2);
      api_keys_destroy(keys);
      return;
    }
  }
  fail();
}

static void a_trace_context_is_taken_whole_or_not_at_all(void **state) {
  (void)state;
  char trace[TRACE_CONTEXT_BYTES];
  char parent[TRACE_PARENT_BYTES];
  uint8_t flags;
#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
  static const char *const good[] = {"00-" TRACE "-" PARENT "-01", "00-" TRACE "-" PARENT "-00",
                                     "cc-" TRACE "-" PARENT "-01-what-the-future-will-be"};
  static const char *const bad[] = {NULL,
                                    "",
                                    "00",
                                    "00-" TRACE "-" PARENT,
                                    "00-" TRACE "-" PARENT "-0",
                                    "00-" TRACE "-" PARENT "-01-more",
                                    "ff-" TRACE "-" PARENT "-01",
                                    "00-00000000000000000000000000000000-" PARENT "-01",
                                    "00-" TRACE "-0000000000000000-01",
                                    "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
                                    "00_" TRACE "-" PARENT "-01",
                                    "00-" TRACE "-" PARENT "-0x",
                                    "0x-" TRACE "-" PARENT "-01",
                                    "cc-" TRACE "-" PARENT "-01x"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    trace_context(good[i], trace, parent, &flags);
    assert_int_equal(flags, i == 1 ? 0 : TRACE_SAMPLED);
    assert_string_equal(trace, TRACE);
    assert_string_equal(parent, PARENT);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    trace_context(bad[i], trace, parent, &flags);
    assert_int_equal(flags, 0);
    assert_string_equal(trace, "");
    assert_string_equal(parent, "");
  }
}

static void a_file_of_keys_has_a_bound(void **state) {
  (void)state;
  api_keys *keys = NULL;
  rr_error problem;
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  for (int i = 0; i < 90000; i++) { /* 3.8 MB */
    (void)fprintf(out, "# a line that says something of no key...\n");
  }
  (void)fprintf(out, "key\n");
  assert_int_equal(fclose(out), 0);
  assert_int_equal(api_keys_load(NULL, 0, path, &keys, &problem), RR_OK);
  assert_int_equal(api_keys_count(keys), 1);
  api_keys_destroy(keys);
  keys = NULL;
  assert_int_equal(truncate(path, 5 << 20), 0);
  assert_int_equal(api_keys_load(NULL, 0, path, &keys, &problem), RR_ERR_FORMAT);
  assert_non_null(strstr(problem.message, path));
  assert_null(keys);
}

static int make_file(void **state) {
  (void)state;
  int fd = mkstemp(path);
  return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state) {
  (void)state;
  return unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_come_from_lists_and_from_a_file),
      cmocka_unit_test(the_longest_key_fits_and_a_longer_one_is_refused),
      cmocka_unit_test(a_key_may_carry_a_priority),
      cmocka_unit_test(nothing_is_not_a_key),
      cmocka_unit_test(each_failed_allocation_is_lack_of_memory),
      cmocka_unit_test(a_file_of_keys_has_a_bound),
      cmocka_unit_test(a_trace_context_is_taken_whole_or_not_at_all),
  };
  return cmocka_run_group_tests(tests, make_file, remove_file);
}
