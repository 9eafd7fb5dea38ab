/* A timer of the loop that is exact to microseconds, where the loop's own knows milliseconds: a
 * bound of 2 ms cannot be kept by those. A descriptor of the kernel's (timerfd). Loop thread only.
 */
#ifndef RR_SERVER_REDIS_CLOCK_H
#define RR_SERVER_REDIS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

typedef struct redis_clock {
  uv_poll_t poll;
  int fd;
  void (*ring)(void *context);
  void *context;
} redis_clock;

/* At a fixed address. False where there are no descriptors. */
bool redis_clock_init(redis_clock *self, uv_loop_t *loop, void (*ring)(void *context),
                      void *context);

/* Rings once at that time of clock_now, or soon where it has come; 0: no more. In place of what was
 * set before. */
void redis_clock_set(redis_clock *self, uint64_t at);

/* The loop has to run until it is closed. */
void redis_clock_close(redis_clock *self);

#endif
