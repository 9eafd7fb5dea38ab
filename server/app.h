/* The server as a whole: loads the model while it already answers /health, serves, and stops.
 *
 * Stopping, at the first SIGTERM or SIGINT:
 * 1. /ready and /health say 503, every reply ends its connection; all else goes on for
 *    --drain-delay, so that balancers see it before anybody is refused. A model that is not there
 *    yet has no such clients: no delay.
 * 2. Then, or at the next signal, the listening socket closes and the requests under way finish,
 *    for --drain-timeout at most (those whose body is still coming get BODY_SECONDS, or half of
 *    that; new connections FIRST_SECONDS for their first request). Connections that are kept
 *    without a request are closed.
 * 3. One more signal ends the process at once.
 */
#ifndef RR_SERVER_APP_H
#define RR_SERVER_APP_H

#include "server/options/options.h"

enum { APP_EXIT_USAGE = 2 };

/* Serves until it is told to stop. Returns the process's exit status: 0 after an orderly stop, 1
 * when it could not start or not finish its requests in time, APP_EXIT_USAGE for an unknown
 * instruction set. */
int app_run(const options *chosen);

#endif
