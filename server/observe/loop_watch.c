#include "server/observe/loop_watch.h"

#include "server/base/clock.h"
#include "server/base/loop_thread.h"

/* All of a turn's callbacks have been called; the loop is about to wait again. */
static void on_prepare(uv_prepare_t *prepare) {
  loop_watch *self = prepare->data;
  uint64_t now = clock_now();
  uint64_t idle = uv_metrics_idle_time(prepare->loop);
  uint64_t took = now - self->now;
  uint64_t waited = idle - self->idle;
  histogram_add(self->turns, took > waited ? (double)(took - waited) / 1e9 : 0);
  self->now = now;
  self->idle = idle;
}

bool loop_watch_is_stuck(const loop_watch *self) {
  assert_loop_thread();
  const uint64_t limit = 5000000000u;
  if (self->prepare.data == NULL) {
    return false;
  }
  uint64_t took = clock_now() - self->now;
  uint64_t waited = uv_metrics_idle_time(self->prepare.loop) - self->idle;
  return took > waited && took - waited > limit;
}

bool loop_watch_start(loop_watch *self, uv_loop_t *loop, histogram *turns) {
  loop_thread_claim();
  *self = (loop_watch){.turns = turns, .now = clock_now()};
  if (uv_loop_configure(loop, UV_METRICS_IDLE_TIME) != 0 ||
      uv_prepare_init(loop, &self->prepare) != 0) {
    return false;
  }
  self->prepare.data = self;
  (void)uv_prepare_start(&self->prepare, on_prepare);
  uv_unref((uv_handle_t *)&self->prepare);
  return true;
}

void loop_watch_close(loop_watch *self) {
  assert_loop_thread();
  if (self->prepare.data != NULL) {
    uv_close((uv_handle_t *)&self->prepare, NULL);
  }
}
