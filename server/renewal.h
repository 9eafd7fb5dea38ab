/* API keys that are read again while the server serves (SIGHUP).
 *
 * 1. One thread of the pool reads at a time. What is asked for meanwhile is done once more
 *    behind it: the file may have been read already when it was changed.
 * 2. The thread touches `read` alone, between the start and the end of its work; the loop does
 *    not, then.
 * 3. Keys that cannot be read leave the old ones in force, and the next renewal is as good as
 *    the first. */
#ifndef RR_SERVER_RENEWAL_H
#define RR_SERVER_RENEWAL_H

#include <stdbool.h>
#include <uv.h>

#include "core/base/status.h"
#include "server/http/api_keys.h"
#include "server/options/options.h"

typedef struct renewal {
  uv_loop_t *loop;
  void *context;
  /* New keys, which are the receiver's from here on. On the loop, as all here. */
  void (*renewed)(void *context, api_keys *keys);
  bool running;
  bool again; /* was asked for while it ran */
  uv_work_t work;
  struct {
    const options *options;
    api_keys *keys; /* NULL: see error */
    rr_error error;
  } read;
} renewal;

/* The keys that the options name, read at once. Any thread. Errors as api_keys_load. */
rr_status renewal_load(const options *chosen, api_keys **ret_keys, rr_error *err);

/* In the caller's memory, which must outlive the loop. The options' lists and key file are read
 * each time. */
void renewal_init(renewal *self, uv_loop_t *loop, const options *chosen,
                  void (*renewed)(void *context, api_keys *keys), void *context);

/* Reads the keys soon; what the file holds when this is called, or later. */
void renewal_ask(renewal *self);

/* None is begun from here on. */
void renewal_stop(renewal *self);

/* Whether a thread is at it. */
bool renewal_is_running(const renewal *self);

#endif
