#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/request/hold.h"

enum { MOST = 3 };

static void nobody_is_held_unless_it_is_open(void **state) {
  (void)state;
  hold self = {.most = MOST};
  http_exchange one = {.path = "/"};
  assert_false(hold_take(&self, &one));
  assert_null(hold_next(&self));
  assert_false(hold_remove(&self, &one));
}

static void who_came_first_goes_first_and_there_is_a_bound(void **state) {
  (void)state;
  hold self = {.open = true, .most = MOST};
  http_exchange all[MOST + 1] = {{.path = "/"}};
  for (int turn = 0; turn < 2; turn++) { /* what was let go may come again */
    for (int i = 0; i < MOST; i++) {
      assert_true(hold_take(&self, &all[i]));
    }
    assert_false(hold_take(&self, &all[MOST]));
    for (int i = 0; i < MOST; i++) {
      assert_ptr_equal(hold_next(&self), &all[i]);
    }
    assert_null(hold_next(&self));
    assert_int_equal(self.n, 0);
  }
}

/* Of three, each one in turn leaves, another comes. */
static void who_leaves_makes_room_wherever_it_stood(void **state) {
  (void)state;
  for (int leaves = 0; leaves < MOST; leaves++) {
    hold self = {.open = true, .most = MOST};
    http_exchange all[MOST + 1] = {{.path = "/"}};
    for (int i = 0; i < MOST; i++) {
      assert_true(hold_take(&self, &all[i]));
    }
    assert_true(hold_remove(&self, &all[leaves]));
    assert_false(hold_remove(&self, &all[leaves]));
    assert_true(hold_take(&self, &all[MOST]));
    for (int i = 0; i <= MOST; i++) {
      if (i != leaves) {
        assert_ptr_equal(hold_next(&self), &all[i]);
      }
    }
    assert_null(hold_next(&self));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nobody_is_held_unless_it_is_open),
      cmocka_unit_test(who_came_first_goes_first_and_there_is_a_bound),
      cmocka_unit_test(who_leaves_makes_room_wherever_it_stood),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
