/* Opening the listening socket. */
#ifndef RR_SERVER_HTTP_LISTEN_H
#define RR_SERVER_HTTP_LISTEN_H

#include "core/base/status.h"

/* Resolves the host, binds and listens, non-blocking; tells the port. *ret_socket is the caller's.
 * Errors: RR_ERR_INPUT (unknown host), RR_ERR_IO. Blocks on the resolver: not while serving. */
rr_status http_listen(const char *hostname, unsigned port, int *ret_socket, unsigned *ret_port,
                      rr_error *err);

#endif
