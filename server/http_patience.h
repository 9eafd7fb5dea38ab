/* How long a client may take: a connection whose request is not all there, or whose answer is not taken, is cut off
 * after a while, however busy the client makes it look by a byte now and then. While a request is at work its client
 * only waits, and may. All on the loop's thread. */
#ifndef RR_SERVER_HTTP_PATIENCE_H
#define RR_SERVER_HTTP_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#include <microhttpd.h>

typedef struct http_connection http_connection;

/* MHD_OPTION_NOTIFY_CONNECTION, with an http_server as its context. */
void http_on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                        enum MHD_ConnectionNotificationCode code);

/* The server has it now (at work), or it waits for the client from now on. */
void http_patience_set(struct MHD_Connection *connection, bool at_work);

/* Cuts off who has kept the server waiting for longer than this. */
void http_patience_sweep(http_connection *first, uint64_t longest_ns);

#endif
