/* How long the event loop's turns take, waiting left out: so long whatever happens in one may wait.
 * Loop thread only. */
#ifndef RR_SERVER_OBSERVE_LOOP_WATCH_H
#define RR_SERVER_OBSERVE_LOOP_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "server/observe/histogram.h"

typedef struct loop_watch {
  uv_prepare_t prepare;
  histogram *turns; /* seconds; borrowed */
  uint64_t now;     /* ns at the last turn's end, as the next */
  uint64_t idle;    /* ns waited since the start */
} loop_watch;

/* Before the loop runs; it does not keep the loop running. False where libuv cannot. */
bool loop_watch_start(loop_watch *self, uv_loop_t *loop, histogram *turns);

/* Whether the turn under way, in which the caller is, has been at work for more than 5 seconds:
 * then what is to be done in
 * the turns after it waits, and for all that can be known, for ever. */
bool loop_watch_is_stuck(const loop_watch *self);

/* Closes the handle, if it was started. */
void loop_watch_close(loop_watch *self);

#endif
