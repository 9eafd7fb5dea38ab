#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/observe/loop_watch.h"

static const uint64_t long_ago = 6000000000u; /* ns: longer than a turn may last */

typedef struct fixture {
  uv_loop_t loop;
  uv_timer_t timer;
  loop_watch watch;
  histogram turns;
  bool before;  /* what was told at first, in a callback */
  bool working; /* and as if the turn had begun long ago */
  bool waiting; /* and as if all that time had been spent waiting for an event */
} fixture;

static void on_timer(uv_timer_t *timer) {
  fixture *self = timer->data;
  self->before = loop_watch_is_stuck(&self->watch);
  self->watch.now -= long_ago;
  self->working = loop_watch_is_stuck(&self->watch);
  self->watch.idle -= long_ago;
  self->waiting = loop_watch_is_stuck(&self->watch);
}

static void a_turn_that_lasts_for_seconds_is_stuck_and_waiting_is_not(void **state) {
  fixture self = {.before = true};
  (void)state;
  assert_int_equal(uv_loop_init(&self.loop), 0);
  assert_true(loop_watch_start(&self.watch, &self.loop, &self.turns));
  assert_int_equal(uv_timer_init(&self.loop, &self.timer), 0);
  self.timer.data = &self;
  assert_int_equal(uv_timer_start(&self.timer, on_timer, 20, 0), 0);
  (void)uv_run(&self.loop, UV_RUN_DEFAULT);
  assert_false(self.before);
  assert_true(self.working);
  assert_false(self.waiting);
  loop_watch_close(&self.watch);
  uv_close((uv_handle_t *)&self.timer, NULL);
  (void)uv_run(&self.loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&self.loop), 0);
}

static void a_watch_that_never_started_is_not_stuck(void **state) {
  const loop_watch none = {.now = 0};
  (void)state;
  assert_false(loop_watch_is_stuck(&none));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_turn_that_lasts_for_seconds_is_stuck_and_waiting_is_not),
      cmocka_unit_test(a_watch_that_never_started_is_not_stuck),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
