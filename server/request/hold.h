/* Requests that wait for the model. Sockets that outlive a process bring clients who must not
 * notice its restart: what they ask while the new process loads is held for a moment instead of
 * refused. Pure; of one thread. */
#ifndef RR_SERVER_REQUEST_HOLD_H
#define RR_SERVER_REQUEST_HOLD_H

#include <stdbool.h>
#include <stddef.h>

#include "server/http/http.h"

/* All zero: nothing is held. */
typedef struct hold {
  bool open;
  size_t n;
  size_t most;
  http_exchange *first; /* linked by next_held */
  http_exchange *last;
} hold;

/* Returns false where it is closed, or holds `most`. The exchange must be whole and without a
 * reply. */
bool hold_take(hold *self, http_exchange *exchange);

/* Takes out the exchange; false where it was not held. */
bool hold_remove(hold *self, const http_exchange *exchange);

/* Takes out who has waited longest; NULL: nobody. */
http_exchange *hold_next(hold *self);

#endif
