/* What http.c (the daemon on the loop), http_connection.c (clients that leave or are slow) and http_exchange.c
 * (one request and its reply) share. */
#ifndef RR_SERVER_HTTP_INTERNAL_H
#define RR_SERVER_HTTP_INTERNAL_H

#include <microhttpd.h>

#include "server/http.h"
#include "server/unix_socket.h"

/* What a connection's client is doing. */
typedef enum http_phase {
  HTTP_HEADERS, /* nothing, or sending headers */
  HTTP_BODY,
  HTTP_WAITING, /* for the reply; the connection is suspended */
  HTTP_REPLYING,
  HTTP_ENDING, /* cut off */
  HTTP_PHASES
} http_phase;

typedef struct http_connection {
  http_server *server;
  http_exchange *exchange; /* NULL: none */
  int descriptor;
  http_phase phase;
  bool used;      /* it has had a request */
  uint64_t since; /* ns, of the phase */
  uint64_t muted_at; /* ns: when the client ended its sending; 0: it has not */
  struct http_connection *next; /* in the list of its phase */
  struct http_connection *previous;
} http_connection;

/* In the order of their `since`. */
typedef struct http_connection_list {
  http_connection *first;
  http_connection *last;
} http_connection_list;

/* libmicrohttpd takes one listening socket a daemon. */
typedef struct http_listener {
  http_server *server;
  struct MHD_Daemon *daemon;
  bool open; /* it accepts */
  uv_poll_t poll;            /* of its epoll descriptor */
} http_listener;

struct http_server {
  http_listener listeners[HTTP_LISTENERS_MAX];
  size_t n_listeners;
  http_handlers handlers;
  http_config config;
  unsigned port;
  unix_socket place; /* path NULL: none */
  uv_timer_t timer;
  uv_poll_t watch; /* of `watched` */
  uv_timer_t tick;
  int watched; /* an epoll descriptor with all connections' sockets; -1: none */
  unsigned open_handles; /* not yet closed by the loop, once http_close has run */
  size_t active;
  http_connection_list connections[HTTP_PHASES];
  size_t buffered; /* bytes of all bodies */
  bool leaving;  /* connections end with their next reply */
  bool stopping; /* nobody new is let in */
};

/* Has libmicrohttpd look at its connections soon, from the loop. */
void http_wake(http_server *self);

/* libmicrohttpd's callbacks for a request, with the server as their context. */
enum MHD_Result http_on_access(void *context, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data, size_t *size,
                               void **state);
void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code);


/* libmicrohttpd 0.9.75 does not look at a suspended connection's socket, nor always see a close that comes
 * together with the last of what is sent. So all sockets are watched by a descriptor of our own:
 *
 * 1. Who ends the sending in the middle of a request is cut off within two seconds.
 * 2. A reset, or the full close of a socket in the file system, while the request waits: the client has gone.
 * 3. A client that ends its sending then may still read. One of HTTP/1.1 is sent `100 Continue`, which every
 *    such client must be able to skip; where nobody reads any more, a reset comes back. So nobody is given up
 *    who still listens, and who left is noticed after one round trip. (libmicrohttpd itself closes on one that
 *    has ended its sending right behind the first request of its connection.)
 * 4. HTTP/1.0 has no interim answers, and there "the closing of the connection by either or both parties
 *    always terminates the current request" (RFC 1945, 1.3): the client has gone.
 *
 * The same connections, in a list for each phase, are cut off when the phase has taken too long. */
bool http_connections_start(http_server *self, uv_loop_t *loop);
void http_on_connection(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_ConnectionNotificationCode code);
void http_connection_enter(http_connection *self, http_phase phase);
void http_connection_cut_off(http_connection *self);

#endif
