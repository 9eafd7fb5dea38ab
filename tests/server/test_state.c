/* The states of a request: what may follow what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/request/state.h"

static bool reaches(task_state from, task_state to, uint32_t seen) {
  if (from == to) {
    return true;
  }
  for (int next = 0; next < TASK_STATES; next++) {
    bool fresh = (seen & (1u << next)) == 0;
    if (fresh && task_state_may_follow(from, (task_state)next) &&
        reaches((task_state)next, to, seen | (1u << next))) {
      return true;
    }
  }
  return false;
}

static void every_state_is_reached_and_leads_to_the_end(void **state) {
  (void)state;
  for (int each = 0; each < TASK_STATES; each++) {
    assert_true(reaches(TASK_STARTING, (task_state)each, 1u << TASK_STARTING));
    assert_true(reaches((task_state)each, TASK_OVER, 1u << each));
  }
}

static void no_state_is_entered_twice(void **state) {
  (void)state;
  for (int each = 0; each < TASK_STATES; each++) {
    for (int next = 0; next < TASK_STATES; next++) {
      if (task_state_may_follow((task_state)each, (task_state)next)) {
        assert_int_not_equal(each, next);
        assert_false(reaches((task_state)next, (task_state)each, 1u << next));
      }
    }
  }
}

static void an_answer_is_given_once(void **state) {
  (void)state;
  for (int each = 0; each < TASK_STATES; each++) {
    for (int next = 0; task_state_is_answered((task_state)each) && next < TASK_STATES; next++) {
      assert_int_equal(task_state_may_follow((task_state)each, (task_state)next),
                       next == TASK_OVER);
    }
    if (task_state_may_follow((task_state)each, TASK_OVER)) {
      assert_true(task_state_is_answered((task_state)each));
    }
  }
}

static void what_is_in_vain_gets_no_reply(void **state) {
  (void)state;
  int found = 0;
  for (int each = 0; each < TASK_STATES; each++) {
    if (task_state_is_in_vain((task_state)each)) {
      found++;
      assert_true(task_state_may_follow((task_state)each, TASK_LEFT));
      assert_false(task_state_may_follow((task_state)each, TASK_ANSWERED));
      assert_false(task_state_may_follow((task_state)each, TASK_LATE));
    }
  }
  assert_int_equal(found, 2);
}

static void names_differ(void **state) {
  (void)state;
  for (int each = 0; each < TASK_STATES; each++) {
    for (int other = 0; other < each; other++) {
      assert_string_not_equal(task_state_name((task_state)each),
                              task_state_name((task_state)other));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_state_is_reached_and_leads_to_the_end),
      cmocka_unit_test(no_state_is_entered_twice),
      cmocka_unit_test(an_answer_is_given_once),
      cmocka_unit_test(what_is_in_vain_gets_no_reply),
      cmocka_unit_test(names_differ),
  };
  return cmocka_run_group_tests_name("server-state", tests, NULL, NULL);
}
