/* The service manager that started the server, if it is systemd or speaks as it does: sockets that
 * it passes, and what it is told of the server's state.
 *
 * 1. Loop thread only, but for systemd_sockets and systemd_place. Nothing blocks: where the manager
 * does not take a message, it is told later.
 * 2. Messages go by a datagram socket that is connected before the process is confined. sd_notify
 *    would open one for each, which the filter of system calls would have to allow for good, and
 *    would wait for a manager that is busy.
 * 3. The environment's variables are removed once read.
 * 4. The watchdog is fed by a timer of the loop, unless the turn under way has lasted for seconds:
 *    a loop that hangs is
 *    restarted, also where it still runs timers; one that is busy is not.
 */
#ifndef RR_SERVER_SYSTEM_SYSTEMD_H
#define RR_SERVER_SYSTEM_SYSTEMD_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "core/base/status.h"

enum { SYSTEMD_TEXT_MAX = 256, SYSTEMD_PLACE_MAX = 128 };

typedef enum systemd_state { SYSTEMD_LOADING, SYSTEMD_SERVING, SYSTEMD_STOPPING } systemd_state;

/* One line about the present state, for people. False: the loop is stuck, and gets no sign of life.
 * */
typedef bool (*systemd_describe)(void *context, char ret_text[SYSTEMD_TEXT_MAX]);

typedef struct systemd {
  int descriptor;       /* -1: nobody wants to know */
  uint64_t interval_ms; /* between two messages */
  bool watched;         /* the manager wants a sign of life in each interval */
  systemd_state state;
  bool told;  /* that the server is ready */
  bool timed; /* the timer is there */
  uv_timer_t timer;
  systemd_describe describe;
  void *context;
} systemd;

/* The sockets that were passed, `most` at most; they are the caller's. *ret_n is 0 where there are
 * none. Before the loop runs. Errors: RR_ERR_INPUT (too many, or one does not listen for streams).
 */
rr_status systemd_sockets(int *ret_sockets, size_t most, size_t *ret_n, rr_error *err);

/* Where a socket listens: "127.0.0.1 port 80", or a path. Any thread. */
void systemd_place(int socket, char ret_text[SYSTEMD_PLACE_MAX]);

/* Before the process is confined. Messages begin once the loop runs, with SYSTEMD_LOADING. A
 * manager that cannot be reached is an error in the log, and no more. */
void systemd_start(systemd *self, uv_loop_t *loop, systemd_describe describe, void *context);

/* States are entered in their order. */
void systemd_enter(systemd *self, systemd_state state);

/* May be called for one that was never started, if it is all zero. */
void systemd_close(systemd *self);

#endif
