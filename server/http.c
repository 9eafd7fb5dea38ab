#include "server/http.h"

#include <poll.h>
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
  CONNECTION_OVERHEAD = 8 * 1024, /* and about so many are our own, and the allocator's */
  RESERVED_DESCRIPTORS = 64,
  BACKLOG_TURNS = 256
};

static void on_timer(uv_timer_t *timer);

/* Sets the timer for what libmicrohttpd waits for. */
static void set_timer(http_server *self) {
  bool waits = false;
  MHD_UNSIGNED_LONG_LONG soonest = 0;
  for (size_t i = 0; i < self->n_listeners; i++) {
    MHD_UNSIGNED_LONG_LONG timeout = 0;
    if (MHD_get_timeout(self->listeners[i].daemon, &timeout) == MHD_YES) {
      soonest = waits && soonest < timeout ? soonest : timeout;
      waits = true;
    }
  }
  if (waits) {
    (void)uv_timer_start(&self->timer, on_timer, (uint64_t)soonest, 0);
  } else {
    (void)uv_timer_stop(&self->timer);
  }
}

/* Lets libmicrohttpd do what is due. */
static void drive(http_listener *listener) {
  (void)MHD_run(listener->daemon);
  set_timer(listener->server);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  drive(poll->data);
}

static void on_timer(uv_timer_t *timer) {
  http_server *self = timer->data;
  for (size_t i = 0; i < self->n_listeners; i++) {
    (void)MHD_run(self->listeners[i].daemon);
  }
  set_timer(self);
}

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

size_t http_connection_bytes(void) { return CONNECTION_MEMORY + CONNECTION_OVERHEAD; }

static unsigned connection_limit(unsigned most) {
  struct rlimit descriptors;
  if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0 ||
      descriptors.rlim_cur >= most + RESERVED_DESCRIPTORS) {
    return most;
  }
  rlim_t usable = descriptors.rlim_cur;
  return usable > 2 * RESERVED_DESCRIPTORS ? (unsigned)(usable - RESERVED_DESCRIPTORS)
                                           : RESERVED_DESCRIPTORS;
}

/* Takes the socket over. */
static rr_status start_daemon(http_server *self, int socket, unsigned limit, rr_error *err) {
  /* The stricter bound of each phase is http_connection.c's. */
  unsigned silence = self->config.idle_seconds > self->config.client_seconds ? self->config.idle_seconds
                                                                             : self->config.client_seconds;
  http_listener *listener = &self->listeners[self->n_listeners];
  listener->server = self;
  listener->daemon = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
      http_on_access, self, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log, NULL, MHD_OPTION_LISTEN_SOCKET,
      socket, MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, silence,
      MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, self, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed,
      self, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
      MHD_OPTION_END);
  if (listener->daemon == NULL) {
    (void)close(socket);
    return rr_fail(err, RR_ERR_IO, "cannot start the HTTP server");
  }
  listener->open = true;
  self->n_listeners++;
  return RR_OK;
}

/* On all sockets, with an equal share of the connections each. All of them are taken over, also on failure. */
static rr_status start_daemons(http_server *self, const int *sockets, size_t n, rr_error *err) {
  unsigned limit = connection_limit(self->config.max_connections) / (unsigned)n;
  rr_status status = RR_OK;
  for (size_t i = 0; i < n; i++) {
    if (status == RR_OK) {
      status = start_daemon(self, sockets[i], limit, err);
    } else {
      (void)close(sockets[i]);
    }
  }
  return status;
}

static bool watch_daemon(http_listener *self, uv_loop_t *loop) {
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(self->daemon, MHD_DAEMON_INFO_EPOLL_FD);
  if (info == NULL || uv_poll_init(loop, &self->poll, info->epoll_fd) != 0) {
    return false;
  }
  self->poll.data = self;
  return uv_poll_start(&self->poll, UV_READABLE, on_poll) == 0;
}

static rr_status watch(http_server *self, uv_loop_t *loop, rr_error *err) {
  (void)uv_timer_init(loop, &self->timer);
  self->timer.data = self;
  bool good = http_connections_start(self, loop);
  for (size_t i = 0; good && i < self->n_listeners; i++) {
    good = watch_daemon(&self->listeners[i], loop);
  }
  if (!good) {
    return rr_fail(err, RR_ERR_IO, "cannot watch the HTTP server's descriptors");
  }
  http_wake(self); /* nothing is read from a client before the loop runs */
  return RR_OK;
}

/* *ret_socket is new, as the configuration has it. */
static rr_status open_socket(http_server *self, int *ret_socket, rr_error *err) {
  const http_config *config = &self->config;
  return config->unix_socket != NULL
             ? unix_socket_listen(config->unix_socket, ret_socket, &self->place, err)
             : http_listen(config->hostname, config->port, ret_socket, &self->port, err);
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
  int own;
  rr_status status = config->n_passed > 0 ? RR_OK : open_socket(self, &own, err);
  if (status == RR_OK) {
    status = config->n_passed > 0 ? start_daemons(self, config->passed, config->n_passed, err)
                                  : start_daemons(self, &own, 1, err);
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

bool http_expects_first(const http_server *server) {
  const http_connection *at = server->connections[HTTP_HEADERS].first;
  while (at != NULL && at->used) {
    at = at->next;
  }
  return at != NULL;
}

void http_ask_to_leave(http_server *server) { server->leaving = true; }

/* Lets in who waits in the backlog: closing it would reset them. libmicrohttpd takes a few at a time, and none where
 * there are too many connections. */
static void empty_backlog(http_listener *self) {
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(self->daemon, MHD_DAEMON_INFO_LISTEN_FD);
  struct pollfd waiting = {.fd = info == NULL ? -1 : info->listen_fd, .events = POLLIN};
  for (int i = 0; i < BACKLOG_TURNS && poll(&waiting, 1, 0) > 0; i++) {
    drive(self);
  }
}

/* Ends this process's listening, and no other's: a passed socket is never shut down. */
static void close_listener(http_listener *self) {
  MHD_socket socket = self->open ? MHD_quiesce_daemon(self->daemon) : MHD_INVALID_SOCKET;
  self->open = false;
  if (socket != MHD_INVALID_SOCKET) {
    (void)close(socket);
  }
}

void http_stop_accepting(http_server *server) {
  if (server->stopping) {
    return;
  }
  server->leaving = true;
  server->stopping = true;
  for (size_t i = 0; i < server->n_listeners; i++) {
    empty_backlog(&server->listeners[i]);
  }
  unix_socket_remove(&server->place);
  for (size_t i = 0; i < server->n_listeners; i++) {
    close_listener(&server->listeners[i]);
  }
}

static void on_closed(uv_handle_t *handle) {
  http_server *self = handle->data;
  self->open_handles--;
  if (self->open_handles == 0) {
    rr_free(self);
  }
}

/* Those that were never started have no loop. */
static void close_handle(http_server *self, uv_handle_t *handle) {
  if (handle->loop != NULL) {
    handle->data = self;
    self->open_handles++;
    uv_close(handle, on_closed);
  }
}

void http_close(http_server *server) {
  if (server == NULL) {
    return;
  }
  for (size_t i = 0; i < server->n_listeners; i++) {
    http_listener *listener = &server->listeners[i];
    close_handle(server, (uv_handle_t *)&listener->poll); /* before what it watches */
    close_listener(listener);
    MHD_stop_daemon(listener->daemon);
  }
  server->n_listeners = 0;
  close_handle(server, (uv_handle_t *)&server->timer);
  close_handle(server, (uv_handle_t *)&server->watch);
  close_handle(server, (uv_handle_t *)&server->tick);
  if (server->watched >= 0) {
    (void)close(server->watched);
  }
  if (server->open_handles == 0) {
    rr_free(server);
  }
}
