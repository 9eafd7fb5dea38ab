#include "server/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "server/http_internal.h"
#include "server/http_listen.h"
#include "server/log.h"

enum {
  CONNECTION_MEMORY = 32 * 1024, /* bytes libmicrohttpd may use a connection: bounds the headers */
  CONNECTIONS_MAX = 8192,
  RESERVED_DESCRIPTORS = 64
};

static void on_timer(uv_timer_t *timer);

/* Lets libmicrohttpd do what is due and sets the timer for what it waits for. */
static void drive(http_server *self) {
  MHD_UNSIGNED_LONG_LONG timeout = 0;
  (void)MHD_run(self->daemon);
  if (MHD_get_timeout(self->daemon, &timeout) == MHD_YES) {
    (void)uv_timer_start(&self->timer, on_timer, (uint64_t)timeout, 0);
  } else {
    (void)uv_timer_stop(&self->timer);
  }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  drive(poll->data);
}

static void on_timer(uv_timer_t *timer) { drive(timer->data); }

void http_wake(http_server *self) { (void)uv_timer_start(&self->timer, on_timer, 0, 0); }

static void on_daemon_log(void *context, const char *format, va_list arguments) {
  (void)context;
  char message[256];
  (void)vsnprintf(message, sizeof message, format, arguments);
  message[strcspn(message, "\r\n")] = '\0';
  log_text(LOG_LEVEL_DEBUG, "http: %s", message);
}

/* An escaped NUL would end the path too early and make it another one: such a path stays as it is. */
static size_t unescape(void *context, struct MHD_Connection *connection, char *text) {
  (void)context;
  (void)connection;
  return strstr(text, "%00") == NULL ? MHD_http_unescape(text) : strlen(text);
}

static unsigned connection_limit(void) {
  struct rlimit descriptors;
  if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0 ||
      descriptors.rlim_cur >= CONNECTIONS_MAX + RESERVED_DESCRIPTORS) {
    return CONNECTIONS_MAX;
  }
  rlim_t usable = descriptors.rlim_cur;
  return usable > 2 * RESERVED_DESCRIPTORS ? (unsigned)(usable - RESERVED_DESCRIPTORS)
                                           : RESERVED_DESCRIPTORS;
}

static rr_status start_daemon(http_server *self, int listener, rr_error *err) {
  /* The stricter bound of each phase is http_connection.c's. */
  unsigned silence = self->config.idle_seconds > self->config.client_seconds ? self->config.idle_seconds
                                                                             : self->config.client_seconds;
  self->daemon = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
      http_on_access, self, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log, NULL, MHD_OPTION_LISTEN_SOCKET,
      listener, MHD_OPTION_CONNECTION_LIMIT, connection_limit(), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, silence,
      MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, self, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed,
      self, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
      MHD_OPTION_END);
  if (self->daemon == NULL) {
    (void)close(listener);
    return rr_fail(err, RR_ERR_IO, "cannot start the HTTP server");
  }
  return RR_OK;
}

static rr_status watch(http_server *self, uv_loop_t *loop, rr_error *err) {
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(self->daemon, MHD_DAEMON_INFO_EPOLL_FD);
  if (info == NULL || uv_poll_init(loop, &self->poll, info->epoll_fd) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot watch the HTTP server's descriptor");
  }
  self->poll.data = self;
  self->open_handles++;
  (void)uv_timer_init(loop, &self->timer);
  self->timer.data = self;
  self->open_handles++;
  if (!http_connections_start(self, loop) || uv_poll_start(&self->poll, UV_READABLE, on_poll) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot watch the HTTP server's descriptor");
  }
  http_wake(self); /* nothing is read from a client before the loop runs */
  return RR_OK;
}

rr_status http_start(uv_loop_t *loop, const http_config *config, const http_handlers *handlers,
                     http_server **ret_server, rr_error *err) {
  http_server *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the HTTP server");
  }
  self->watched = epoll_create1(EPOLL_CLOEXEC);
  self->config = *config;
  self->handlers = *handlers;
  int listener;
  rr_status status =
      config->unix_socket != NULL
          ? unix_socket_listen(config->unix_socket, &listener, &self->place, err)
          : http_listen(config->hostname, config->port, &listener, &self->port, err);
  if (status == RR_OK) {
    status = start_daemon(self, listener, err);
  }
  if (status == RR_OK) {
    status = watch(self, loop, err);
  }
  if (status != RR_OK) {
    http_close(self);
    return status;
  }
  *ret_server = self;
  return RR_OK;
}

unsigned http_port(const http_server *server) { return server->port; }

void http_drop_receiving(http_server *server) {
  while (server->connections[HTTP_BODY].first != NULL) {
    http_connection_cut_off(server->connections[HTTP_BODY].first);
  }
}

size_t http_buffered(const http_server *server) { return server->buffered; }

size_t http_active(const http_server *server) { return server->active; }

void http_stop_accepting(http_server *server) {
  if (server->stopping) {
    return;
  }
  drive(server); /* takes in what already waits in the backlog */
  server->stopping = true;
  unix_socket_remove(&server->place);
  MHD_socket listener = MHD_quiesce_daemon(server->daemon);
  if (listener != MHD_INVALID_SOCKET) {
    (void)close(listener);
  }
}

static void on_closed(uv_handle_t *handle) {
  http_server *self = handle->data;
  self->open_handles--;
  if (self->open_handles == 0) {
    rr_free(self);
  }
}

void http_close(http_server *server) {
  if (server == NULL) {
    return;
  }
  if (server->open_handles > 0) {
    (void)uv_poll_stop(&server->poll);
  }
  if (server->daemon != NULL) {
    MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
  }
  if (server->open_handles > 3) {
    uv_close((uv_handle_t *)&server->tick, on_closed);
  }
  if (server->open_handles > 2) {
    uv_close((uv_handle_t *)&server->watch, on_closed);
  }
  if (server->watched >= 0) {
    (void)close(server->watched);
  }
  if (server->open_handles == 0) {
    rr_free(server);
    return;
  }
  if (server->open_handles > 1) {
    uv_close((uv_handle_t *)&server->timer, on_closed);
  }
  uv_close((uv_handle_t *)&server->poll, on_closed);
}
