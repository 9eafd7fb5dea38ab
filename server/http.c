#include "server/http.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "server/clock.h"
#include "server/http_listen.h"
#include "server/log.h"
#include "server/trace.h"
#include "server/unix_socket.h"

enum {
  CONNECTION_MEMORY = 32 * 1024, /* bytes libmicrohttpd may use a connection: bounds the headers */
  CONNECTIONS_MAX = 8192,
  RESERVED_DESCRIPTORS = 64,
  BODY_FIRST = 16 * 1024
};

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
  size_t buffered; /* bytes of all bodies */
  bool stopping;
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

const char *http_header_of(const http_exchange *exchange, const char *name) {
  return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

void http_add_header(http_reply *reply, const char *name, const char *format, ...) {
  if (reply->n_headers == HTTP_HEADERS_MAX) {
    return;
  }
  http_header *header = &reply->headers[reply->n_headers++];
  header->name = name;
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(header->value, sizeof header->value, format, arguments);
  va_end(arguments);
}

void http_add_own_header(http_exchange *exchange, const char *name, const char *value) {
  if (exchange->n_headers < HTTP_OWN_HEADERS_MAX) {
    http_header *header = &exchange->headers[exchange->n_headers++];
    header->name = name;
    (void)snprintf(header->value, sizeof header->value, "%s", value);
  }
}

static void add_headers(struct MHD_Response *response, const http_header *headers, size_t n) {
  for (size_t i = 0; i < n; i++) {
    (void)MHD_add_response_header(response, headers[i].name, headers[i].value);
  }
}

static struct MHD_Response *make_response(http_exchange *exchange) {
  http_reply *reply = &exchange->reply;
  struct MHD_Response *response;
  if (reply->borrowed || reply->body == NULL) {
    response = MHD_create_response_from_buffer(reply->size, reply->body, MHD_RESPMEM_PERSISTENT);
  } else {
    response = MHD_create_response_from_buffer_with_free_callback(reply->size, reply->body, rr_free);
    if (response != NULL) {
      reply->body = NULL; /* the response's from here on */
    }
  }
  if (response == NULL) {
    return NULL;
  }
  if (reply->content_type != NULL) {
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type);
  }
  (void)MHD_add_response_header(response, "x-request-id", exchange->request_id);
  add_headers(response, reply->headers, reply->n_headers);
  add_headers(response, exchange->headers, exchange->n_headers);
  if (exchange->server->stopping) {
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  }
  return response;
}

static enum MHD_Result send_reply(http_exchange *exchange) {
  struct MHD_Response *response = make_response(exchange);
  if (response == NULL) {
    return MHD_NO; /* out of memory: all that is left is to close the connection */
  }
  enum MHD_Result queued =
      MHD_queue_response(exchange->connection, (unsigned)exchange->reply.status, response);
  MHD_destroy_response(response);
  return queued;
}

void http_reply_to(http_exchange *exchange, const http_reply *reply) {
  http_server *self = exchange->server;
  exchange->reply = *reply;
  exchange->replied = true;
  if (exchange->suspended) {
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection);
    (void)uv_timer_start(&self->timer, on_timer, 0, 0);
  }
}

void http_release_body(http_exchange *exchange) {
  exchange->server->buffered -= exchange->body_capacity;
  rr_free(exchange->body);
  exchange->body = NULL;
  exchange->body_size = 0;
  exchange->body_capacity = 0;
}

/* Makes room for `more` bytes, by doubling, within the limits. */
static bool grow_body(http_exchange *exchange, size_t more, http_problem *ret_problem) {
  http_server *self = exchange->server;
  if (more > exchange->body_limit - exchange->body_size) {
    *ret_problem = HTTP_BODY_TOO_LARGE;
    return false;
  }
  size_t needed = exchange->body_size + more;
  if (needed <= exchange->body_capacity) {
    return true;
  }
  size_t capacity = exchange->body_capacity == 0 ? BODY_FIRST : exchange->body_capacity;
  while (capacity < needed) {
    capacity *= 2;
  }
  size_t added = capacity - exchange->body_capacity;
  if (added > self->config.max_buffered_bytes - self->buffered) {
    *ret_problem = HTTP_BODIES_TOO_MANY;
    return false;
  }
  char *body = rr_realloc(exchange->body, capacity);
  if (body == NULL) {
    *ret_problem = HTTP_OUT_OF_MEMORY;
    return false;
  }
  self->buffered += added;
  exchange->body = body;
  exchange->body_capacity = capacity;
  return true;
}

static void cut_off(const http_exchange *exchange) {
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  if (info != NULL) {
    (void)shutdown(info->connect_fd, SHUT_RDWR);
  }
}

/* The body's announced size; 0 where there is none (or it comes in chunks). */
static uint64_t announced_size(const http_exchange *exchange) {
  const char *text = http_header_of(exchange, MHD_HTTP_HEADER_CONTENT_LENGTH);
  return text == NULL ? 0 : strtoull(text, NULL, 10);
}

/* libmicrohttpd 0.9.75 does not see a client close that comes together with its last data, and would
 * hold the exchange until the idle timeout. Shutting the socket down on this side makes it look again. */
static void notice_lost_client(const http_exchange *exchange) {
  char byte;
  if (exchange->received_bytes >= announced_size(exchange)) {
    return; /* the request is whole; a client may have closed its sending side */
  }
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  if (info != NULL && recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
    cut_off(exchange);
  }
}

static enum MHD_Result receive(http_exchange *exchange, const char *data, size_t *size) {
  http_server *self = exchange->server;
  http_problem problem;
  if (!exchange->replied && !grow_body(exchange, *size, &problem)) {
    http_release_body(exchange);
    self->handlers.reject(self->handlers.context, exchange, problem);
  }
  exchange->received_bytes += *size;
  if (exchange->replied) {
    if (exchange->received_bytes > self->config.drain_limit) {
      return MHD_NO;
    }
  } else {
    memcpy(exchange->body + exchange->body_size, data, *size);
    exchange->body_size += *size;
  }
  *size = 0;
  notice_lost_client(exchange);
  return MHD_YES;
}

/* Slashes in a row come from clients that join a base that ends in one. */
static void copy_path(const char *path, char ret_path[HTTP_NAME_BYTES]) {
  size_t size = 0;
  for (; *path != '\0' && size + 1 < HTTP_NAME_BYTES; path++) {
    if (*path != '/' || size == 0 || ret_path[size - 1] != '/') {
      ret_path[size++] = *path;
    }
  }
  ret_path[size] = '\0';
}

static http_exchange *begin(http_server *self, struct MHD_Connection *connection, const char *path,
                            const char *method) {
  http_exchange *exchange = rr_calloc(1, sizeof *exchange);
  if (exchange == NULL) {
    return NULL;
  }
  exchange->server = self;
  exchange->connection = connection;
  exchange->received_at = clock_now();
  (void)snprintf(exchange->method, sizeof exchange->method, "%s", method);
  copy_path(path, exchange->path);
  trace_request_id(http_header_of(exchange, "x-request-id"), exchange->request_id);
  trace_context(http_header_of(exchange, "traceparent"), exchange->trace, exchange->parent);
  exchange->receiving = true;
  exchange->next = self->exchanges;
  if (exchange->next != NULL) {
    exchange->next->previous = exchange;
  }
  self->exchanges = exchange;
  self->active++;
  return exchange;
}

static void unlink_exchange(http_exchange *exchange) {
  http_server *self = exchange->server;
  if (exchange->previous != NULL) {
    exchange->previous->next = exchange->next;
  } else {
    self->exchanges = exchange->next;
  }
  if (exchange->next != NULL) {
    exchange->next->previous = exchange->previous;
  }
  self->active--;
}

/* After the headers: who is refused here gets the answer at once if nobody has sent the body yet, or
 * if there is too much of it to read. */
static enum MHD_Result open_exchange(http_exchange *exchange) {
  http_server *self = exchange->server;
  uint64_t announced = announced_size(exchange);
  notice_lost_client(exchange);
  exchange->body_limit = self->handlers.accept(self->handlers.context, exchange);
  if (!exchange->replied && announced > exchange->body_limit) {
    self->handlers.reject(self->handlers.context, exchange, HTTP_BODY_TOO_LARGE);
  }
  bool waits = http_header_of(exchange, MHD_HTTP_HEADER_EXPECT) != NULL;
  if (exchange->replied && (waits || announced > self->config.drain_limit)) {
    return send_reply(exchange);
  }
  return MHD_YES;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *path,
                                 const char *method, const char *version, const char *data, size_t *size,
                                 void **state) {
  (void)version;
  http_server *self = context;
  http_exchange *exchange = *state;
  if (exchange == NULL) {
    exchange = begin(self, connection, path, method);
    if (exchange == NULL) {
      return MHD_NO;
    }
    *state = exchange;
    return open_exchange(exchange);
  }
  if (*size > 0) {
    return receive(exchange, data, size);
  }
  exchange->receiving = false;
  if (!exchange->replied) {
    self->handlers.respond(self->handlers.context, exchange);
  }
  if (!exchange->replied) {
    exchange->suspended = true;
    MHD_suspend_connection(connection);
    return MHD_YES;
  }
  return send_reply(exchange);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
  (void)connection;
  http_server *self = context;
  http_exchange *exchange = *state;
  if (exchange == NULL) {
    return;
  }
  self->handlers.finished(self->handlers.context, exchange,
                          code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
  http_release_body(exchange);
  if (!exchange->reply.borrowed) {
    rr_free(exchange->reply.body);
  }
  unlink_exchange(exchange);
  rr_free(exchange);
  *state = NULL;
}

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
  self->daemon = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
      on_access, self, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log, NULL, MHD_OPTION_LISTEN_SOCKET,
      listener, MHD_OPTION_CONNECTION_LIMIT, connection_limit(), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, self->config.idle_seconds,
      MHD_OPTION_NOTIFY_COMPLETED, on_completed, self, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
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
  if (uv_poll_start(&self->poll, UV_READABLE, on_poll) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot watch the HTTP server's descriptor");
  }
  drive(self);
  return RR_OK;
}

rr_status http_start(uv_loop_t *loop, const http_config *config, const http_handlers *handlers,
                     http_server **ret_server, rr_error *err) {
  http_server *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the HTTP server");
  }
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
  for (http_exchange *exchange = server->exchanges; exchange != NULL; exchange = exchange->next) {
    if (exchange->receiving) {
      cut_off(exchange);
    }
  }
}

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
  if (server->open_handles == 0) {
    rr_free(server);
    return;
  }
  if (server->open_handles > 1) {
    uv_close((uv_handle_t *)&server->timer, on_closed);
  }
  uv_close((uv_handle_t *)&server->poll, on_closed);
}
