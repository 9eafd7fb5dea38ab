#include "server/redis/clock.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "server/base/loop_thread.h"

static const uint64_t second = 1000000000;

static void on_readable(uv_poll_t *poll, int status, int events) {
  redis_clock *self = poll->data;
  uint64_t times;
  (void)events;
  if (status == 0 && read(self->fd, &times, sizeof times) == (ssize_t)sizeof times) {
    self->ring(self->context);
  }
}

bool redis_clock_init(redis_clock *self, uv_loop_t *loop, void (*ring)(void *context),
                      void *context) {
  assert_loop_thread();
  *self = (redis_clock){.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC),
                        .ring = ring,
                        .context = context};
  if (self->fd < 0) {
    return false;
  }
  if (uv_poll_init(loop, &self->poll, self->fd) != 0) {
    (void)close(self->fd);
    return false;
  }
  self->poll.data = self;
  (void)uv_poll_start(&self->poll, UV_READABLE, on_readable);
  return true;
}

void redis_clock_set(redis_clock *self, uint64_t at) {
  assert_loop_thread();
  const struct itimerspec when = {
      .it_value = {.tv_sec = (time_t)(at / second), .tv_nsec = (long)(at % second)}};
  (void)timerfd_settime(self->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void on_closed(uv_handle_t *handle) { (void)close(((redis_clock *)handle->data)->fd); }

void redis_clock_close(redis_clock *self) {
  assert_loop_thread();
  (void)uv_poll_stop(&self->poll);
  uv_close((uv_handle_t *)&self->poll, on_closed);
}
