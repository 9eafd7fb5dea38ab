#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/observe/log.h"

static char logged[1 << 20];

/* Runs `write_some` with a started log whose lines go to a temporary file, and reads them back. */
static void capture(log_level level, bool json, void (*write_some)(void)) {
  FILE *file = tmpfile();
  assert_non_null(file);
  int saved = dup(STDERR_FILENO);
  assert_true(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
  bool started = log_start(level, json);
  if (started) {
    write_some();
    log_stop();
  }
  assert_true(dup2(saved, STDERR_FILENO) >= 0);
  (void)close(saved);
  assert_true(started);
  rewind(file);
  size_t size = fread(logged, 1, sizeof logged - 1, file);
  logged[size] = '\0';
  (void)fclose(file);
}

static const log_request_fields request = {.request_id = "abc-1",
                                           .method = "POST",
                                           .path = "/rerank\n\"x\"\xff",
                                           .status = 200,
                                           .total = 12345678,
                                           .body_bytes = 99,
                                           .texts = 3,
                                           .tokens = 77,
                                           .cached = 2,
                                           .parse = 1000000,
                                           .error = "bad \"\x01 thing"};

static void log_one_request(void) { log_request(LOG_LEVEL_INFO, &request); }

static void json_lines_parse_and_carry_the_fields(void **state) {
  (void)state;
  capture(LOG_LEVEL_INFO, true, log_one_request);
  json_error_t error;
  json_t *line = json_loads(logged, 0, &error);
  assert_non_null(line);
  assert_string_equal(json_string_value(json_object_get(line, "request_id")), "abc-1");
  assert_string_equal(json_string_value(json_object_get(line, "path")), "/rerank?\"x\"?");
  assert_int_equal(json_integer_value(json_object_get(line, "status")), 200);
  assert_int_equal(json_integer_value(json_object_get(line, "tokens")), 77);
  assert_int_equal(json_integer_value(json_object_get(line, "cached")), 2);
  assert_string_equal(json_string_value(json_object_get(line, "level")), "info");
  json_decref(line);
  assert_ptr_equal(strchr(logged, '\n'), logged + strlen(logged) - 1);
}

static void readable_lines_hold_no_control_characters(void **state) {
  (void)state;
  capture(LOG_LEVEL_INFO, false, log_one_request);
  assert_non_null(
      strstr(logged, "POST /rerank?\"x\"? 200 12.3ms id=abc-1 bytes=99 texts=3 tokens=77"));
  assert_non_null(strstr(logged, " cached=2 "));
  assert_ptr_equal(strchr(logged, '\n'), logged + strlen(logged) - 1);
}

static void log_slow_request(void) {
  request_phases phases = {.begun = 1, .ended = 30000001};
  phases.of[PHASE_READ] = (phase_span){1, 2000001};
  phases.of[PHASE_COMPUTE] = (phase_span){10000001, 30000001};
  log_request_fields slow = request;
  slow.phases = &phases;
  slow.untold = 4;
  log_request(LOG_LEVEL_WARN, &slow);
}

static void slow_requests_carry_their_phases(void **state) {
  (void)state;
  capture(LOG_LEVEL_WARN, true, log_slow_request);
  json_error_t error;
  json_t *line = json_loads(logged, 0, &error);
  assert_non_null(line);
  assert_string_equal(json_string_value(json_object_get(line, "message")), "slow request");
  assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
  assert_int_equal(json_integer_value(json_object_get(line, "slow_untold")), 4);
  const json_t *phases = json_object_get(line, "phases_ms");
  assert_int_equal(json_object_size(phases), 3);
  assert_true(json_real_value(json_object_get(phases, "read")) == 2.0);
  assert_true(json_real_value(json_object_get(phases, "compute")) == 20.0);
  assert_true(json_real_value(json_object_get(phases, "between")) == 8.0);
  json_decref(line);
  capture(LOG_LEVEL_WARN, false, log_slow_request);
  assert_non_null(strstr(logged, " WARN  POST /rerank?\"x\"? 200 12.3ms id=abc-1 "));
  assert_non_null(
      strstr(logged, " cached=2 SLOW read:2.0 compute:20.0 between:8.0 untold:4 error="));
}

static void log_all_levels(void) {
  log_text(LOG_LEVEL_ERROR, "one error");
  log_text(LOG_LEVEL_WARN, "one warning");
  log_text(LOG_LEVEL_INFO, "one fact");
  log_text(LOG_LEVEL_DEBUG, "one detail");
}

static void lines_above_the_level_are_left_out(void **state) {
  (void)state;
  capture(LOG_LEVEL_WARN, false, log_all_levels);
  assert_non_null(strstr(logged, "one error"));
  assert_non_null(strstr(logged, "one warning"));
  assert_null(strstr(logged, "one fact"));
  assert_null(strstr(logged, "one detail"));
}

static void log_a_long_line(void) {
  char *text = malloc(100001);
  assert_non_null(text);
  memset(text, 'x', 100000);
  text[100000] = '\0';
  log_text(LOG_LEVEL_INFO, "%s", text);
  free(text);
}

static void long_lines_are_cut_and_still_end(void **state) {
  (void)state;
  capture(LOG_LEVEL_INFO, false, log_a_long_line);
  assert_true(strlen(logged) < 4096);
  assert_int_equal(logged[strlen(logged) - 1], '\n');
}

static void level_names_are_read(void **state) {
  (void)state;
  log_level level;
  assert_true(log_level_parse("debug", &level));
  assert_int_equal(level, LOG_LEVEL_DEBUG);
  assert_false(log_level_parse("DEBUG", &level));
  assert_false(log_level_parse("", &level));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(json_lines_parse_and_carry_the_fields),
      cmocka_unit_test(readable_lines_hold_no_control_characters),
      cmocka_unit_test(lines_above_the_level_are_left_out),
      cmocka_unit_test(slow_requests_carry_their_phases),
      cmocka_unit_test(long_lines_are_cut_and_still_end),
      cmocka_unit_test(level_names_are_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
