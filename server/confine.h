/* Giving away what serving does not need: root's rights, capabilities, system calls. */
#ifndef RR_SERVER_CONFINE_H
#define RR_SERVER_CONFINE_H

#include <stdbool.h>

#include "core/base/status.h"
#include "server/options/options.h"

typedef struct confinement {
  const options *options;
  bool connects; /* to a collector of spans */
  bool filters;  /* system calls can be filtered, and shall be */
  bool filtered; /* they are */
  bool wide;     /* it still allows what getting the model takes */
} confinement;

/* Before the first event loop is made: what the filter will not let a loop use must not be there
 * when one is made. Logs why there will be no filter. Errors: as confine_start. */
rr_status confine_prepare(confinement *self, const options *chosen, rr_error *err);

/* Once listening, before anything a client sent is read and before any thread of ours runs.
 * `connects`: serving opens connections to a collector of spans, whose name it looks up; what the
 * shared cache needs is in the options. Logs what was done, and what could not be. Errors: what was
 * asked for explicitly cannot be had. */
rr_status confine_start(confinement *self, bool connects, rr_error *err);

/* Once the model is there: no files are written from here on, and no sockets opened that were not
 * announced. Any thread. */
rr_status confine_loaded(confinement *self, rr_error *err);

#endif
