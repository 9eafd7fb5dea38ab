#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/clock.h"
#include "server/observe/phases.h"

enum { US = 1000, MS = 1000000 };

static void what_was_never_begun_or_has_not_ended_takes_no_time(void **state) {
  (void)state;
  assert_int_equal(phase_ns((phase_span){0, 0}), 0);
  assert_int_equal(phase_ns((phase_span){0, 7}), 0);
  assert_int_equal(phase_ns((phase_span){7, 0}), 0);
  assert_int_equal(phase_ns((phase_span){7, 7}), 0);
  assert_int_equal(phase_ns((phase_span){7, 9}), 2);
}

static void the_header_tells_what_has_ended_in_order(void **state) {
  (void)state;
  char text[PHASES_TEXT_MAX];
  request_phases phases = {.begun = 1000 * MS, .ended = 1012 * MS + 345 * US + 999};
  phases.of[PHASE_COMPUTE] = (phase_span){1003 * MS, 1011 * MS + 5 * US};
  phases.of[PHASE_READ] = (phase_span){1000 * MS, 1000 * MS};
  phases.of[PHASE_WRITE] = (phase_span){1011 * MS, 0};
  phases_server_timing(&phases, text);
  assert_string_equal(text, "read;dur=0.000, compute;dur=8.005, total;dur=12.345");
}

static void the_longest_header_has_room(void **state) {
  (void)state;
  char text[PHASES_TEXT_MAX];
  request_phases phases = {.begun = 1, .ended = UINT64_MAX};
  for (int i = 0; i < REQUEST_PHASES; i++) {
    phases.of[i] = (phase_span){1, UINT64_MAX};
  }
  phases_server_timing(&phases, text);
  assert_true(strlen(text) < PHASES_TEXT_MAX - 1);
  assert_non_null(strstr(text, "total;dur=86399999.999"));
}

static void ending_ends_the_whole_and_what_is_open(void **state) {
  (void)state;
  request_phases phases;
  phases_begin(&phases);
  assert_int_equal(phases.of[PHASE_READ].begin, phases.begun);
  assert_true(phases.wall > (uint64_t)1700000000 * 1000 * MS);
  phases.of[PHASE_READ].end = phases.begun + 1;
  phases.of[PHASE_WRITE].begin = phases.begun + 1;
  phases_end(&phases);
  assert_int_equal(phases.of[PHASE_READ].end, phases.begun + 1);
  assert_int_equal(phases.of[PHASE_WRITE].end, phases.ended);
  assert_int_equal(phases.of[PHASE_QUEUE].end, 0);
  assert_int_equal(phases_total(&phases), phases.ended - phases.begun);
}

static void what_no_phase_accounts_for_is_between_them(void **state) {
  (void)state;
  request_phases phases = {.begun = 100, .ended = 200};
  phases.of[PHASE_READ] = (phase_span){100, 110};
  phases.of[PHASE_PARSE] = (phase_span){115, 135};
  phases.of[PHASE_WRITE] = (phase_span){190, 200};
  assert_int_equal(phases_between(&phases), 60);
}

static void every_phase_has_a_name_of_its_own(void **state) {
  (void)state;
  for (int i = 0; i < REQUEST_PHASES; i++) {
    for (int j = 0; j < i; j++) {
      assert_string_not_equal(phase_name((request_phase)i), phase_name((request_phase)j));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_never_begun_or_has_not_ended_takes_no_time),
      cmocka_unit_test(the_header_tells_what_has_ended_in_order),
      cmocka_unit_test(the_longest_header_has_room),
      cmocka_unit_test(ending_ends_the_whole_and_what_is_open),
      cmocka_unit_test(what_no_phase_accounts_for_is_between_them),
      cmocka_unit_test(every_phase_has_a_name_of_its_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
