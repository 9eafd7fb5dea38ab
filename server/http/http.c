#include "server/http/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "core/base/redact.h"
#include "server/base/loop_thread.h"
#include "server/http/internal.h"
#include "server/http/listen.h"
#include "server/observe/log.h"

enum {
  /* Bytes libmicrohttpd may use a request: what http_head_write hands on, a list of its fields, the
   * reply's head. It clears all of them behind every request. */
  RELAY_MEMORY = 64 * 1024,
  CONNECTION_OVERHEAD = 8 * 1024, /* and about so many are our own, and the allocator's */
  DESCRIPTORS_EACH =
      3, /* of a connection whose request is at work: its own, and both ends of a relay */
  RESERVED_DESCRIPTORS = 64,
  ACCEPTS_AT_ONCE = 32,
  BACKLOG_MAX = 1024 /* that are let in at the end */
};

/* --- libmicrohttpd on the loop --- */

static void drive(http_server *self);

static void on_timer(uv_timer_t *timer) { drive(timer->data); }

static void on_spin(uv_idle_t *idle) { drive(idle->data); }

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  drive(poll->data);
}

/* Comes again when libmicrohttpd wants to. At once is an idle handle's, which lets everything else
 * of the loop have its
 * turn in between; a timer of 0 ms that is set in its own callback would not (libuv 1.44 runs all
 * timers that are due
 * before it goes on). */
static void come_again(http_server *self) {
  MHD_UNSIGNED_LONG_LONG timeout = 0;
  bool waits = MHD_get_timeout(self->daemon, &timeout) == MHD_YES;
  if (waits && timeout == 0) {
    (void)uv_idle_start(&self->spin, on_spin);
    return;
  }
  (void)uv_idle_stop(&self->spin);
  if (waits) {
    (void)uv_timer_start(&self->timer, on_timer, (uint64_t)timeout, 0);
  } else {
    (void)uv_timer_stop(&self->timer);
  }
}

/* Lets libmicrohttpd do what is due. */
static void drive(http_server *self) {
  (void)MHD_run(self->daemon);
  come_again(self);
}

void http_wake(http_server *self) { (void)uv_idle_start(&self->spin, on_spin); }

void http_drive_if_woken(http_server *self) {
  if (uv_is_active((const uv_handle_t *)&self->spin)) {
    drive(self);
  }
}

static void on_daemon_log(void *context, const char *format, va_list arguments) {
  (void)context;
  char message[256];
  rr_redact(RR_REDACT_STRINGS, message, sizeof message, format,
            arguments); /* it may quote headers */
  message[strcspn(message, "\r\n")] = '\0';
  log_text(LOG_LEVEL_DEBUG, "http: %s", message);
}

/* An escaped NUL would end the path too early and make it another one: such a path stays as it
 * is. */
static size_t unescape(void *context, struct MHD_Connection *connection, char *text) {
  (void)context;
  (void)connection;
  return strstr(text, "%00") == NULL ? MHD_http_unescape(text) : strlen(text);
}

#if MHD_VERSION >= 0x00097707
/* All is on one thread. Without this, 1.0 takes a relay over only in its next run, in which nobody
 * knows any more whose it is. */
#define ONE_THREAD MHD_USE_NO_THREAD_SAFETY
#else
#define ONE_THREAD 0
#endif

/* How long a client may take is connection.c's, as is their number. */
static rr_status start_daemon(http_server *self, rr_error *err) {
  self->daemon = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG |
          MHD_USE_NO_LISTEN_SOCKET | ONE_THREAD,
      0, NULL, NULL, http_on_access, self, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log, NULL,
      MHD_OPTION_CONNECTION_LIMIT, self->config.max_connections * 2,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)RELAY_MEMORY, MHD_OPTION_NOTIFY_CONNECTION,
      http_on_relay, self, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, self,
      MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_END);
  return self->daemon != NULL ? RR_OK : rr_fail(err, RR_ERR_IO, "cannot start the HTTP server");
}

/* --- who is let in --- */

/* As many as descriptors allow, of which the process takes what it may have. */
static size_t connection_limit(size_t most) {
  const rlim_t wanted = (rlim_t)most * DESCRIPTORS_EACH + RESERVED_DESCRIPTORS;
  struct rlimit descriptors;
  if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0) {
    return most;
  }
  if (descriptors.rlim_cur < wanted && descriptors.rlim_cur < descriptors.rlim_max) {
    rlim_t before = descriptors.rlim_cur;
    descriptors.rlim_cur = descriptors.rlim_max < wanted ? descriptors.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &descriptors) != 0) {
      descriptors.rlim_cur = before;
    }
  }
  if (descriptors.rlim_cur >= wanted) {
    return most;
  }
  rlim_t usable =
      descriptors.rlim_cur > RESERVED_DESCRIPTORS ? descriptors.rlim_cur - RESERVED_DESCRIPTORS : 0;
  size_t limit = (size_t)(usable / DESCRIPTORS_EACH);
  return limit > 4 ? limit : 4;
}

static void on_listener(uv_poll_t *poll, int status, int events);

void http_listen_on(http_server *self) {
  if (!self->full || self->n_connections >= self->max_connections) {
    return;
  }
  self->full = false;
  for (size_t i = 0; i < self->n_listeners; i++) {
    if (self->listeners[i].descriptor >= 0) {
      (void)uv_poll_start(&self->listeners[i].poll, UV_READABLE, on_listener);
    }
  }
}

/* Who comes now waits in the kernel's queue. */
static void pause_listening(http_server *self) {
  self->full = true;
  for (size_t i = 0; i < self->n_listeners; i++) {
    if (self->listeners[i].descriptor >= 0) {
      (void)uv_poll_stop(&self->listeners[i].poll);
    }
  }
}

/* Whether there may be another one. */
static bool let_in(http_listener *self) {
  http_server *server = self->server;
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (server->n_connections >= server->max_connections) {
    pause_listening(server);
    return false;
  }
  int descriptor =
      accept4(self->descriptor, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (descriptor >= 0) {
    http_connection_open(server, descriptor,
                         size >= sizeof address.ss_family && address.ss_family == AF_UNIX);
    return true;
  }
  if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
    pause_listening(server);
    return false;
  }
  return errno != EAGAIN && errno != EWOULDBLOCK;
}

static void on_listener(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  for (int i = 0; i < ACCEPTS_AT_ONCE && let_in(poll->data); i++) {
  }
}

/* Takes the socket over, also on failure. */
static rr_status add_listener(http_server *self, uv_loop_t *loop, int descriptor, rr_error *err) {
  http_listener *listener = &self->listeners[self->n_listeners];
  int yes = 1;
  /* Connections inherit it; a socket in the file system has no such option. */
  (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0 ||
      uv_poll_init(loop, &listener->poll, descriptor) != 0) {
    (void)close(descriptor);
    return rr_fail(err, RR_ERR_IO, "cannot watch the socket that listens");
  }
  listener->server = self;
  listener->descriptor = descriptor;
  listener->poll.data = listener;
  self->n_listeners++;
  return uv_poll_start(&listener->poll, UV_READABLE, on_listener) == 0
             ? RR_OK
             : rr_fail(err, RR_ERR_IO, "cannot watch the socket that listens");
}

/* All of them are taken over, also on failure. */
static rr_status add_listeners(http_server *self, uv_loop_t *loop, const int *sockets, size_t n,
                               rr_error *err) {
  rr_status status = RR_OK;
  for (size_t i = 0; i < n; i++) {
    if (status == RR_OK) {
      status = add_listener(self, loop, sockets[i], err);
    } else {
      (void)close(sockets[i]);
    }
  }
  return status;
}

/* *ret_socket is new, as the configuration has it. */
static rr_status open_socket(http_server *self, int *ret_socket, rr_error *err) {
  const http_config *config = &self->config;
  return config->unix_socket != NULL
             ? unix_socket_listen(config->unix_socket, ret_socket, &self->place, err)
             : http_listen(config->hostname, config->port, ret_socket, &self->port, err);
}

/* --- its life --- */

static rr_status watch(http_server *self, uv_loop_t *loop, rr_error *err) {
  (void)uv_timer_init(loop, &self->timer);
  (void)uv_idle_init(loop, &self->spin);
  self->timer.data = self;
  self->spin.data = self;
  self->poll.data = self;
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(self->daemon, MHD_DAEMON_INFO_EPOLL_FD);
  if (!http_connections_start(self, loop) || info == NULL ||
      uv_poll_init(loop, &self->poll, info->epoll_fd) != 0 ||
      uv_poll_start(&self->poll, UV_READABLE, on_poll) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot watch the HTTP server's descriptors");
  }
  return RR_OK;
}

static rr_status start_listening(http_server *self, uv_loop_t *loop, rr_error *err) {
  const http_config *config = &self->config;
  if (config->n_passed > 0) {
    return add_listeners(self, loop, config->passed, config->n_passed, err);
  }
  int own;
  rr_status status = open_socket(self, &own, err);
  return status == RR_OK ? add_listeners(self, loop, &own, 1, err) : status;
}

rr_status http_start(uv_loop_t *loop, const http_config *config, const http_handlers *handlers,
                     http_server **ret_server, rr_error *err) {
  loop_thread_claim();
  http_server *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the HTTP server");
  }
  self->watched = epoll_create1(EPOLL_CLOEXEC);
  self->config = *config;
  self->handlers = *handlers;
  self->max_connections = connection_limit(config->max_connections);
  rr_status status = start_listening(self, loop, err);
  status = status == RR_OK ? start_daemon(self, err) : status;
  status = status == RR_OK ? watch(self, loop, err) : status;
  if (status != RR_OK) {
    http_close(self);
    return status;
  }
  *ret_server = self;
  return RR_OK;
}

unsigned http_port(const http_server *server) {
  assert_loop_thread();
  return server->port;
}

void http_drop_receiving(http_server *server) {
  assert_loop_thread();
  while (server->connections[HTTP_BODY].first != NULL) {
    http_connection_cut_off(server->connections[HTTP_BODY].first);
  }
}

size_t http_connection_bytes(void) {
  return HTTP_INPUT_FIRST + RELAY_MEMORY + HTTP_PIECE + CONNECTION_OVERHEAD;
}

size_t http_buffered(const http_server *server) {
  assert_loop_thread();
  return server->buffered;
}

size_t http_active(const http_server *server) {
  assert_loop_thread();
  return server->active;
}

bool http_expects_first(const http_server *server) {
  assert_loop_thread();
  const http_connection *at = server->connections[HTTP_HEADERS].first;
  while (at != NULL && at->used) {
    at = at->next;
  }
  return at != NULL;
}

bool http_ends_gently(const http_server *server) {
  assert_loop_thread();
  return server->connections[HTTP_ENDING].first != NULL;
}

void http_ask_to_leave(http_server *server) {
  assert_loop_thread();
  server->leaving = true;
}

static void close_listener(http_listener *self) {
  if (self->descriptor >=
      0) { /* this process's listening ends, no other's: a passed socket is never shut down */
    (void)uv_poll_stop(&self->poll);
    (void)close(self->descriptor);
    self->descriptor = -1;
  }
}

void http_stop_accepting(http_server *server) {
  assert_loop_thread();
  if (server->stopping) {
    return;
  }
  server->leaving = true;
  server->stopping = true;
  unix_socket_remove(&server->place);
  for (size_t i = 0; i < server->n_listeners; i++) {
    /* Lets in who waits in the backlog: closing it would reset them. */
    for (int n = 0; n < BACKLOG_MAX && let_in(&server->listeners[i]); n++) {
    }
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
  assert_loop_thread();
  if (server == NULL) {
    return;
  }
  http_connections_close(server);
  close_handle(server, (uv_handle_t *)&server->poll); /* before what it watches */
  if (server->daemon != NULL) {
    (void)MHD_run(server->daemon); /* what was suspended must not be so when it stops */
    MHD_stop_daemon(server->daemon);
  }
  for (size_t i = 0; i < server->n_listeners; i++) {
    close_listener(&server->listeners[i]);
    close_handle(server, (uv_handle_t *)&server->listeners[i].poll);
  }
  server->n_listeners = 0;
  close_handle(server, (uv_handle_t *)&server->timer);
  close_handle(server, (uv_handle_t *)&server->spin);
  close_handle(server, (uv_handle_t *)&server->watch);
  close_handle(server, (uv_handle_t *)&server->tick);
  if (server->watched >= 0) {
    (void)close(server->watched);
  }
  http_connections_bury(server);
  if (server->open_handles == 0) {
    rr_free(server);
  }
}
