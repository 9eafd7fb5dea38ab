#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/load/options.h"
#include "bench/load/target.h"

static rr_status parse(const char *line, options *ret_options, rr_error *err) {
  static char copy[512];
  char *arguments[32] = {"load"};
  int n = 1;
  (void)snprintf(copy, sizeof copy, "%s", line);
  for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
    arguments[n++] = word;
  }
  return options_parse(n, arguments, ret_options, err);
}

static void defaults_are_those_that_help_tells(void **state) {
  (void)state;
  options settings;
  assert_int_equal(parse("--candidates f --rate 2.5", &settings, NULL), RR_OK);
  assert_string_equal(settings.spoken->name, "tei");
  assert_true(settings.rate == 2.5 && settings.duration == 10 && settings.repeat < 0);
  assert_int_equal(settings.sizes.size[0], 100);
  assert_string_equal(settings.label, settings.url);
}

static void nonsense_is_refused_with_its_name(void **state) {
  (void)state;
  static const struct {
    const char *line, *words;
  } bad[] = {
      {"--rate 5", "--candidates"},
      {"--candidates f", "one of --rate"},
      {"--candidates f --rate 5 --connections 2", "one of --rate"},
      {"--candidates f --rate 5 --arrivals file", "one of --rate"},
      {"--candidates f --arrivals even", "one of --rate"},
      {"--candidates f --rate 0", "--rate wants"},
      {"--candidates f --rate nan", "--rate wants"},
      {"--candidates f --rate 5 --seed 1.5", "--seed wants a whole"},
      {"--candidates f --rate 5 --repeat 1.5", "--repeat wants"},
      {"--candidates f --rate 5 --dialect smoke", "--dialect knows tei, cohere"},
      {"--candidates f --rate 5 --sizes 0", "--sizes wants"},
      {"--candidates f --rate 5 --header novalue", "--header wants"},
      {"--candidates f --rate 5 --path x", "--path wants"},
      {"--candidates f --rate", "--rate wants a value"},
      {"--candidates f --rate 5 --wrong", "--wrong is not an option"},
      {"--candidates f --rate 5 more", "more is not an option"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    options settings;
    rr_error err;
    assert_int_equal(parse(bad[i].line, &settings, &err), RR_ERR_INPUT);
    assert_non_null(strstr(err.message, bad[i].words));
  }
}

static rr_status aim(const char *url, const char *more, target *where, rr_error *err) {
  char line[256];
  options settings;
  (void)snprintf(line, sizeof line, "--candidates f --rate 5 --url %s %s", url, more);
  assert_int_equal(parse(line, &settings, NULL), RR_OK);
  return target_init(where, &settings, err);
}

static void the_head_of_a_request_follows_the_url(void **state) {
  (void)state;
  target where;
  assert_int_equal(aim("http://127.0.0.1:81/base/", "--api-key k --header a:b", &where, NULL),
                   RR_OK);
  where.head[where.head_size] = '\0';
  assert_string_equal(
      where.head,
      "POST /base/rerank HTTP/1.1\r\nHost: 127.0.0.1:81\r\nContent-Type: application/json\r\n"
      "Accept: application/json\r\nUser-Agent: rerankd-load\r\nAuthorization: Bearer k\r\na:b\r\n"
      "Content-Length: ");
  char *bytes;
  size_t head, size;
  assert_int_equal(target_request(&where, 2, &bytes, &head, &size), RR_OK);
  assert_int_equal(size, head + 2);
  assert_memory_equal(bytes + head - 5, "2\r\n\r\n", 5);
  free(bytes);
  assert_int_equal(aim("http://[::1]:81", "--path /other", &where, NULL), RR_OK);
  assert_memory_equal(where.head, "POST /other HTTP/1.1\r\nHost: [::1]:81\r\n", 38);
}

static void only_loopback_is_spoken_to_unless_allowed(void **state) {
  (void)state;
  target where;
  rr_error err;
  static const char *const remote[] = {"http://192.0.2.1:80", "http://[2001:db8::1]:80",
                                       "http://0.0.0.0:80", "http://128.0.0.1"};
  for (size_t i = 0; i < sizeof remote / sizeof *remote; i++) {
    assert_int_equal(aim(remote[i], "", &where, &err), RR_ERR_INPUT);
    assert_non_null(strstr(err.message, "--allow-remote"));
    assert_int_equal(aim(remote[i], "--allow-remote", &where, &err),
                     RR_OK); /* looked up, not spoken to */
  }
  assert_int_equal(aim("http://127.255.0.1", "", &where, &err), RR_OK);
}

static void what_is_no_url_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "https://127.0.0.1",  "127.0.0.1:80",        "http://",
      "http://127.0.0.1:",  "http://127.0.0.1:8x", "http://127.0.0.1:123456",
      "http://[::1",        "http://[::1]x",       "http://u@127.0.0.1",
      "http://127.0.0.1/?a"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    target where;
    rr_error err;
    assert_int_equal(aim(bad[i], "", &where, &err), RR_ERR_INPUT);
    assert_non_null(strstr(err.message, "--url"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_are_those_that_help_tells),
      cmocka_unit_test(nonsense_is_refused_with_its_name),
      cmocka_unit_test(the_head_of_a_request_follows_the_url),
      cmocka_unit_test(only_loopback_is_spoken_to_unless_allowed),
      cmocka_unit_test(what_is_no_url_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
