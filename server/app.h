/* The server as a whole: loads the model while it already answers /health, serves, and stops.
 *
 * Stopping: the first SIGTERM or SIGINT closes the listening socket and lets every request under way
 * finish, for DRAIN_SECONDS at most (those whose body is still coming get BODY_SECONDS); a second one
 * ends the process at once.
 */
#ifndef RR_SERVER_APP_H
#define RR_SERVER_APP_H

#include "server/options.h"

enum { APP_EXIT_USAGE = 2 };

/* Serves until it is told to stop. Returns the process's exit status: 0 after an orderly stop, 1 when
 * it could not start or not finish its requests in time, APP_EXIT_USAGE for an unknown instruction
 * set. */
int app_run(const options *chosen);

#endif
