/* What http.c (the daemon on the loop) and http_exchange.c (one request and its reply) share. */
#ifndef RR_SERVER_HTTP_INTERNAL_H
#define RR_SERVER_HTTP_INTERNAL_H

#include <microhttpd.h>

#include "server/http.h"
#include "server/unix_socket.h"

struct http_server {
  struct MHD_Daemon *daemon;
  http_handlers handlers;
  http_config config;
  unsigned port;
  unix_socket place; /* path NULL: none */
  uv_poll_t poll;
  uv_timer_t timer;
  unsigned open_handles;
  size_t active;
  http_exchange *exchanges; /* all of them */
  struct http_connection *connections;
  uv_timer_t sweep;
  size_t buffered; /* bytes of all bodies */
  bool stopping;
};

/* Has libmicrohttpd look at its connections soon, from the loop. */
void http_wake(http_server *self);

/* libmicrohttpd's callbacks for a request, with the server as their context. */
enum MHD_Result http_on_access(void *context, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data, size_t *size,
                               void **state);
void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code);

/* Shuts the client's connection down. */
void http_cut_off(const http_exchange *exchange);

#endif
