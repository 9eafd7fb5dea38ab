#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/observe/slow_log.h"

static const uint64_t second = 1000000000;

static void a_few_at_once_are_told_and_no_more(void **state) {
  (void)state;
  slow_log self = {0};
  uint64_t untold = 99;
  uint64_t now = 5000 * second;
  for (int i = 0; i < SLOW_LOG_AT_ONCE; i++) {
    assert_true(slow_log_tell(&self, now, &untold));
    assert_int_equal(untold, 0);
  }
  for (int i = 0; i < 1000; i++) {
    assert_false(slow_log_tell(&self, now, &untold));
  }
}

static void then_one_a_second_which_counts_the_others(void **state) {
  (void)state;
  slow_log self = {0};
  uint64_t untold = 0;
  uint64_t told = 0;
  uint64_t counted = 0;
  for (uint64_t i = 0; i < 100000; i++) { /* 1000 a second for 100 seconds */
    if (slow_log_tell(&self, 77 * second + i * second / 1000, &untold)) {
      told++;
      counted += untold;
    }
  }
  assert_true(told >= SLOW_LOG_AT_ONCE + 99 && told <= SLOW_LOG_AT_ONCE + 100);
  assert_int_equal(told + counted + self.untold, 100000);
}

static void after_a_quiet_time_a_few_are_told_again(void **state) {
  (void)state;
  slow_log self = {0};
  uint64_t untold;
  for (int i = 0; i < 50; i++) {
    (void)slow_log_tell(&self, second, &untold);
  }
  int told = 0;
  for (int i = 0; i < 50; i++) {
    told += slow_log_tell(&self, 1000 * second, &untold);
    assert_true(i > 0 || untold == 40);
  }
  assert_int_equal(told, SLOW_LOG_AT_ONCE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_few_at_once_are_told_and_no_more),
      cmocka_unit_test(then_one_a_second_which_counts_the_others),
      cmocka_unit_test(after_a_quiet_time_a_few_are_told_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
