/* A timer of the loop that is exact to microseconds, where the loop's own knows milliseconds: a bound of 2 ms cannot be
 * kept by those. A descriptor of the kernel's (timerfd). Loop thread. */
#ifndef RR_SERVER_REDIS_CLOCK_H
#define RR_SERVER_REDIS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

typedef struct shared_clock {
  uv_poll_t poll;
  int fd;
  void (*ring)(void *context);
  void *context;
} shared_clock;

/* At a fixed address. False where there are no descriptors. */
bool shared_clock_init(shared_clock *self, uv_loop_t *loop, void (*ring)(void *context), void *context);

/* Rings once at that time of clock_now, or soon where it has come; 0: no more. In place of what was set before. */
void shared_clock_set(shared_clock *self, uint64_t at);

/* The loop has to run until it is closed. */
void shared_clock_close(shared_clock *self);

#endif
