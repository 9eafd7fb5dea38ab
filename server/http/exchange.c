#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/base/loop_thread.h"
#include "server/http/internal.h"
#include "server/http/trace_context.h"

enum { BODY_FIRST = 16 * 1024 };

const char *http_header_of(const http_exchange *exchange, const char *name) {
  assert_loop_thread();
  assert(http_head_is_handed_on(name));
  return exchange->connection == NULL
             ? NULL
             : MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

typedef struct joined {
  const char *name;
  char *value;
  size_t size; /* of the room */
  size_t used;
  bool found;
} joined;

static enum MHD_Result join_value(void *context, enum MHD_ValueKind kind, const char *name,
                                  const char *value) {
  joined *self = context;
  (void)kind;
  if (strcasecmp(name, self->name) != 0 || value == NULL) {
    return MHD_YES;
  }
  int length = snprintf(self->value + self->used, self->size - self->used, "%s%s",
                        self->found ? "," : "", value);
  self->found = length >= 0 && (size_t)length < self->size - self->used;
  self->used += self->found ? (size_t)length : 0;
  return self->found ? MHD_YES : MHD_NO;
}

bool http_join_header(http_exchange *exchange, const char *name, char *ret_value, size_t size) {
  assert_loop_thread();
  assert(http_head_is_handed_on(name));
  joined all = {.name = name, .value = ret_value, .size = size};
  (void)MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, join_value, &all);
  return all.found;
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
  assert_loop_thread();
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
    response =
        MHD_create_response_from_buffer_with_free_callback(reply->size, reply->body, rr_free);
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
  char timing[PHASES_TEXT_MAX];
  phases_server_timing(&exchange->phases, timing);
  (void)MHD_add_response_header(response, "Server-Timing", timing);
  if (exchange->server->leaving) {
    exchange->client->closes = true;
  }
  if (exchange->client->closes) {
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  }
  return response;
}

/* A reply that was there before all of the request is written from here on. */
static void note_writing(http_exchange *exchange) {
  phase_span *of = exchange->phases.of;
  uint64_t now = clock_now();
  if (of[PHASE_READ].end == 0) {
    of[PHASE_READ].end = now;
  }
  if (of[PHASE_WRITE].begin == 0) {
    of[PHASE_WRITE].begin = now;
  }
}

static enum MHD_Result send_reply(http_exchange *exchange) {
  note_writing(exchange);
  http_connection_enter(exchange->client, HTTP_REPLYING);
  exchange->state = HTTP_STATE_REPLYING;
  struct MHD_Response *response = make_response(exchange);
  if (response == NULL) {
    return MHD_NO; /* out of memory: all that is left is to close the connection */
  }
  enum MHD_Result queued =
      MHD_queue_response(exchange->connection, (unsigned)exchange->reply.status, response);
  MHD_destroy_response(response);
  return queued;
}

/* Has libmicrohttpd ask again, where something has come of its last question. */
static void go_on(http_exchange *exchange) {
  bool due =
      exchange->client == NULL || (exchange->replied && exchange->state == HTTP_STATE_WAITING);
  if (exchange->suspended && due) {
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection);
    http_wake(exchange->server);
  }
}

void http_reply_to(http_exchange *exchange, const http_reply *reply) {
  assert_loop_thread();
  http_release_body(exchange); /* a client may take a minute to read the reply */
  exchange->reply = *reply;
  exchange->replied = true;
  if (exchange->phases.of[PHASE_READ].end != 0) {
    exchange->phases.of[PHASE_WRITE].begin = clock_now();
  }
  go_on(exchange);
}

/* Takes memory for bodies, which leave the other half of it to what is made of them. */
bool http_take_memory(http_server *self, size_t held, size_t bytes) {
  rr_budget *memory = self->config.memory;
  size_t most = rr_budget_limit(memory) / 2;
  if (self->buffered > most || bytes > most - self->buffered ||
      rr_budget_take(memory, held, bytes) != RR_REFUSAL_NONE) {
    return false;
  }
  self->buffered += bytes;
  return true;
}

void http_give_memory(http_server *self, size_t bytes) {
  self->buffered -= bytes;
  rr_budget_give(self->config.memory, bytes);
}

http_body http_take_body(http_exchange *exchange) {
  assert_loop_thread();
  http_body body = {.server = exchange->server,
                    .data = exchange->body,
                    .size = exchange->body_size,
                    .capacity = exchange->body_capacity};
  exchange->body = NULL;
  exchange->body_size = 0;
  exchange->body_capacity = 0;
  return body;
}

void http_free_body(http_body *body) {
  assert_loop_thread();
  if (body->server != NULL) {
    http_give_memory(body->server, body->capacity);
  }
  rr_free(body->data);
  *body = (http_body){.data = NULL};
}

void http_release_body(http_exchange *exchange) {
  http_body body = http_take_body(exchange);
  http_free_body(&body);
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
  capacity = capacity < exchange->body_limit ? capacity : exchange->body_limit;
  size_t added = capacity - exchange->body_capacity;
  if (!http_take_memory(self, exchange->body_capacity, added)) {
    *ret_problem = HTTP_BODIES_TOO_MANY;
    return false;
  }
  char *body = rr_realloc(exchange->body, capacity);
  if (body == NULL) {
    http_give_memory(self, added);
    *ret_problem = HTTP_OUT_OF_MEMORY;
    return false;
  }
  exchange->body = body;
  exchange->body_capacity = capacity;
  return true;
}

char *http_exchange_spare(const http_exchange *exchange, size_t *ret_size) {
  bool kept = !exchange->replied && exchange->body != NULL;
  *ret_size = kept ? exchange->body_capacity - exchange->body_size : 0;
  return *ret_size == 0 ? NULL : exchange->body + exchange->body_size;
}

void http_exchange_received(http_exchange *exchange, size_t size) {
  assert(!exchange->replied && size <= exchange->body_capacity - exchange->body_size);
  exchange->received_bytes += size;
  exchange->body_size += size;
}

bool http_exchange_receive(http_exchange *exchange, const char *data, size_t size) {
  http_server *self = exchange->server;
  http_problem problem;
  if (!exchange->replied && !grow_body(exchange, size, &problem)) {
    http_release_body(exchange);
    self->handlers.reject(self->handlers.context, exchange, (http_fault){.problem = problem});
  }
  exchange->received_bytes += size;
  if (!exchange->replied) {
    memcpy(exchange->body + exchange->body_size, data, size);
    exchange->body_size += size;
  }
  return !exchange->replied || exchange->received_bytes <= self->config.drain_limit;
}

void http_exchange_refuse(http_exchange *exchange, http_fault fault) {
  http_server *self = exchange->server;
  if (!exchange->replied) {
    http_release_body(exchange);
    self->handlers.reject(self->handlers.context, exchange, fault);
  }
}

void http_exchange_end_body(http_exchange *exchange) {
  http_server *self = exchange->server;
  exchange->state = HTTP_STATE_WAITING;
  if (exchange->phases.of[PHASE_READ].end == 0) {
    exchange->phases.of[PHASE_READ].end = clock_now();
  }
  if (!exchange->replied) {
    self->handlers.respond(self->handlers.context, exchange);
  } else {
    go_on(exchange);
  }
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

/* Twice is as bad as wrong: which of the two is meant? */
static void take_trace(http_exchange *exchange) {
  char given[HTTP_NAME_BYTES];
  bool there = http_join_header(exchange, "traceparent", given, sizeof given);
  trace_context(there ? given : NULL, exchange->trace, exchange->parent, &exchange->trace_flags);
}

/* What stands in the place of a request line that could not be read. */
static void describe(http_exchange *exchange, const char *path, const char *method) {
  bool known = exchange->client->head.readable;
  (void)snprintf(exchange->method, sizeof exchange->method, "%s", known ? method : "-");
  copy_path(known ? path : "-", exchange->path);
}

static http_exchange *begin(http_server *self, struct MHD_Connection *connection, const char *path,
                            const char *method) {
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  const http_relay *relay = info->socket_context;
  http_connection *client = relay == NULL ? NULL : relay->client;
  http_exchange *exchange = client == NULL ? NULL : rr_calloc(1, sizeof *exchange);
  if (exchange == NULL) {
    return NULL;
  }
  exchange->client = client;
  client->exchange = exchange;
  exchange->server = self;
  exchange->old = client->head.old;
  exchange->connection = connection;
  phases_begin(&exchange->phases);
  exchange->received_at = exchange->phases.begun;
  describe(exchange, path, method);
  trace_request_id(http_header_of(exchange, "x-request-id"), exchange->request_id);
  take_trace(exchange);
  self->active++;
  return exchange;
}

/* The reply goes out before the body is read: nobody has sent that yet, or there is too much of it,
 * or no telling where
 * it ends. */
static void answer_at_once(http_exchange *exchange) {
  exchange->client->closes = true;
  exchange->client->unread = true;
  http_connection_enter(exchange->client, HTTP_WAITING);
  exchange->state = HTTP_STATE_WAITING;
}

/* After the headers. */
static void open_exchange(http_exchange *exchange) {
  http_server *self = exchange->server;
  http_connection *client = exchange->client;
  uint64_t announced = client->head.framing == HTTP_SIZED ? client->head.body_size : 0;
  bool waits = client->head.expects && client->input_size == 0;
  if (client->fault.problem != HTTP_NO_PROBLEM) {
    self->handlers.reject(self->handlers.context, exchange, client->fault);
    answer_at_once(exchange);
    return;
  }
  exchange->body_limit = self->handlers.accept(self->handlers.context, exchange);
  if (!exchange->replied && announced > exchange->body_limit) {
    self->handlers.reject(self->handlers.context, exchange,
                          (http_fault){.problem = HTTP_BODY_TOO_LARGE});
  }
  if (exchange->replied && (waits || announced > self->config.drain_limit)) {
    answer_at_once(exchange);
    return;
  }
  if (waits && !exchange->replied) {
    http_connection_send_line(client, "HTTP/1.1 100 Continue\r\n\r\n");
  }
  http_read_body(client);
}

enum MHD_Result http_on_access(void *context, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **state) {
  http_exchange *exchange = *state;
  (void)version;
  (void)data;
  (void)size; /* a body never comes this way */
  if (exchange == NULL) {
    *state = begin(context, connection, path, method);
    if (*state != NULL) {
      open_exchange(*state);
    }
    return *state != NULL ? MHD_YES : MHD_NO;
  }
  if (exchange->client == NULL) {
    return MHD_NO;
  }
  if (exchange->replied && exchange->state == HTTP_STATE_WAITING) {
    return send_reply(exchange);
  }
  exchange->suspended = true;
  MHD_suspend_connection(connection);
  return MHD_YES;
}

void http_exchange_finish(http_exchange *exchange, bool sent) {
  http_server *self = exchange->server;
  phases_end(&exchange->phases);
  self->handlers.finished(self->handlers.context, exchange, sent);
  http_release_body(exchange);
  if (!exchange->reply.borrowed) {
    rr_free(exchange->reply.body);
  }
  self->active--;
  rr_free(exchange);
}

void http_exchange_lose(http_exchange *exchange) {
  exchange->client = NULL;
  if (exchange->state == HTTP_STATE_WRITTEN) {
    http_exchange_finish(exchange, false);
  } else if (exchange->state != HTTP_STATE_WAITING ||
             exchange->replied) { /* else a handler has it */
    go_on(exchange);
  }
}

void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code) {
  http_exchange *exchange = *state;
  (void)context;
  (void)connection;
  *state = NULL;
  if (exchange == NULL) {
    return;
  }
  exchange->state = HTTP_STATE_WRITTEN;
  exchange->connection = NULL;
  if (exchange->client == NULL) {
    http_exchange_finish(exchange, false);
  } else if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK) {
    http_relay_flow(exchange->client->relay);
  } else {
    http_connection_cut_off(exchange->client);
  }
}
