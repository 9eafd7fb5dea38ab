#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/load/journal.h"

static const uint64_t ms = 1000000, second = 1000000000;

static void every_way_to_end_is_a_line(void **state) {
  (void)state;
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  assert_non_null(out);
  stats_event event = {
      .kind = OUTCOME_ANSWER, .status = 200, .intended = 6 * second, .begun = 6 * second};
  event.ended = event.intended + 12 * ms + ms / 2;
  journal_end(out, 5 * second, &event);
  event.verdict = CHECK_ORDER;
  journal_end(out, 5 * second, &event);
  event.status = 503;
  journal_end(out, 5 * second, &event);
  event.kind = OUTCOME_RESET;
  journal_end(out, 5 * second, &event);
  event.kind = OUTCOME_CANCELLED;
  journal_end(out, 5 * second, &event);
  journal_drop(out, 5 * second, 7 * second);
  assert_int_equal(journal_close(out, "memory", NULL), RR_OK);
  assert_string_equal(text, "1.000000,12.500,right\n"
                            "1.000000,12.500,wrong: not descending\n"
                            "1.000000,12.500,status 503\n"
                            "1.000000,12.500,reset\n"
                            "1.000000,12.500,cancelled\n"
                            "2.000000,0.000,dropped\n");
  free(text);
}

static void none_takes_everything(void **state) {
  (void)state;
  FILE *journal = stdout;
  assert_int_equal(journal_open(NULL, &journal, NULL), RR_OK);
  assert_null(journal);
  journal_end(journal, 0, &(stats_event){.kind = OUTCOME_RESET});
  journal_drop(journal, 0, 1);
  assert_int_equal(journal_close(journal, NULL, NULL), RR_OK);
}

static void what_cannot_be_written_is_told(void **state) {
  (void)state;
  FILE *journal = NULL;
  rr_error err;
  assert_int_equal(journal_open("/none/journal", &journal, &err), RR_ERR_IO);
  assert_non_null(strstr(err.message, "/none/journal"));
  assert_null(journal);
  assert_int_equal(journal_open("/dev/full", &journal, &err), RR_OK);
  journal_drop(journal, 0, 1);
  assert_int_equal(journal_close(journal, "/dev/full", &err), RR_ERR_IO);
  assert_non_null(strstr(err.message, "/dev/full"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_way_to_end_is_a_line),
      cmocka_unit_test(none_takes_everything),
      cmocka_unit_test(what_cannot_be_written_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
