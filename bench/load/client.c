#include "bench/load/client.h"

#include <http_parser.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 64 << 10, HANDLES = 2 };

typedef struct connection {
  client *owner;
  struct connection *next, *previous; /* of all that are open */
  struct connection *next_idle;
  uv_tcp_t tcp;
  uv_timer_t timer;
  uv_connect_t connecting;
  uv_write_t writing;
  http_parser parser;
  char *request; /* NULL once written */
  size_t request_size;
  client_callback callback; /* NULL while idle */
  void *tag;
  char *body;
  size_t size, capacity;
  bool any_byte, complete, keep, closing;
  int open_handles;
} connection;

struct client {
  uv_loop_t *loop;
  client_config config;
  connection *open, *idle;
  size_t held; /* bytes of all connections' bodies */
  bool destroyed;
  char buffer[READ_BYTES]; /* libuv reads one connection at a time */
};

client *client_create(uv_loop_t *loop, const client_config *config) {
  client *self = calloc(1, sizeof *self);
  if (self != NULL) {
    self->loop = loop;
    self->config = *config;
  }
  return self;
}

/* --- closing ---------------------------------------------------------------------------------- */

static void free_if_gone(client *self) {
  if (self->destroyed && self->open == NULL) {
    free(self);
  }
}

static void on_closed(uv_handle_t *handle) {
  connection *self = handle->data;
  client *owner = self->owner;
  if (--self->open_handles > 0) {
    return;
  }
  *(self->previous == NULL ? &owner->open : &self->previous->next) = self->next;
  if (self->next != NULL) {
    self->next->previous = self->previous;
  }
  owner->held -= self->capacity;
  free(self->request);
  free(self->body);
  free(self);
  free_if_gone(owner);
}

static void close_connection(connection *self) {
  if (self->closing) {
    return;
  }
  for (connection **at = &self->owner->idle; *at != NULL; at = &(*at)->next_idle) {
    if (*at == self) {
      *at = self->next_idle;
      break;
    }
  }
  self->closing = true;
  uv_close((uv_handle_t *)&self->tcp, on_closed);
  uv_close((uv_handle_t *)&self->timer, on_closed);
}

/* Ends the request, if there is one. The connection is idle or closing already: the callback may
 * send the next request over it, so that the body is taken out of it before. */
static void deliver(connection *self, outcome_kind kind) {
  client_callback callback = self->callback;
  if (callback == NULL) {
    return;
  }
  client_outcome outcome = {.kind = kind};
  char *body = self->body;
  size_t capacity = self->capacity;
  if (kind == OUTCOME_ANSWER) {
    outcome.status = self->parser.status_code;
    outcome.body = body;
    outcome.size = self->size;
  }
  self->callback = NULL;
  self->body = NULL;
  self->capacity = 0;
  callback(self->tag, &outcome);
  self->owner->held -= capacity;
  free(body);
}

static void fail(connection *self, outcome_kind kind) {
  close_connection(self);
  deliver(self, kind);
}

/* --- the answer ------------------------------------------------------------------------------- */

static int on_body(http_parser *parser, const char *data, size_t size) {
  connection *self = parser->data;
  client *owner = self->owner;
  if (self->size + size > self->capacity) {
    size_t wanted = self->size + size > 2 * self->capacity ? self->size + size : 2 * self->capacity;
    bool fits = wanted - self->capacity <= owner->config.max_answers - owner->held;
    char *grown = fits ? realloc(self->body, wanted) : NULL;
    if (grown == NULL) {
      return 1;
    }
    owner->held += wanted - self->capacity;
    self->body = grown;
    self->capacity = wanted;
  }
  memcpy(self->body + self->size, data, size);
  self->size += size;
  return 0;
}

static int on_complete(http_parser *parser) {
  connection *self = parser->data;
  if (parser->status_code >= 200) { /* what comes before is no answer yet */
    self->complete = true;
    self->keep = http_should_keep_alive(parser) != 0;
    http_parser_pause(parser, 1);
  }
  return 0;
}

static const http_parser_settings parser_settings = {.on_body = on_body,
                                                     .on_message_complete = on_complete};

static void finish_answer(connection *self) {
  /* An answer before all of the request was taken leaves a connection that cannot be used again. */
  if (!self->keep || self->request != NULL) {
    fail(self, OUTCOME_ANSWER);
    return;
  }
  (void)uv_timer_stop(&self->timer);
  self->next_idle = self->owner->idle;
  self->owner->idle = self;
  deliver(self, OUTCOME_ANSWER);
}

static void on_end(connection *self) {
  if (self->callback == NULL) {
    close_connection(self);
    return;
  }
  (void)http_parser_execute(&self->parser, &parser_settings, NULL,
                            0); /* a body may end with the connection */
  if (self->complete) {
    self->keep = false;
    finish_answer(self);
    return;
  }
  fail(self, self->any_byte ? OUTCOME_CUT : OUTCOME_RESET);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
  connection *self = stream->data;
  if (n == 0 || self->closing) {
    return;
  }
  if (n < 0) {
    if (n == UV_EOF) {
      on_end(self);
    } else {
      fail(self, self->any_byte ? OUTCOME_CUT : OUTCOME_RESET);
    }
    return;
  }
  if (self->callback == NULL) { /* nobody asked */
    close_connection(self);
    return;
  }
  self->any_byte = true;
  size_t taken = http_parser_execute(&self->parser, &parser_settings, buffer->base, (size_t)n);
  if (self->complete) {
    self->keep = self->keep && taken == (size_t)n;
    finish_answer(self);
  } else if (HTTP_PARSER_ERRNO(&self->parser) != HPE_OK || self->parser.upgrade) {
    fail(self,
         HTTP_PARSER_ERRNO(&self->parser) == HPE_CB_body ? OUTCOME_TOO_LARGE : OUTCOME_PROTOCOL);
  }
}

static void on_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
  (void)suggested;
  connection *self = handle->data;
  *ret_buffer = uv_buf_init(self->owner->buffer, READ_BYTES);
}

/* --- the request ------------------------------------------------------------------------------ */

static void on_written(uv_write_t *request, int status) {
  connection *self = request->data;
  /* A failed write shows in reading too, and there perhaps an answer comes first. */
  if (status == 0) {
    free(self->request);
    self->request = NULL;
  }
}

/* What could not even be begun is told from the loop, as everything else. */
static void on_no_connection(uv_timer_t *timer) { fail(timer->data, OUTCOME_CONNECT); }
static void on_no_write(uv_timer_t *timer) { fail(timer->data, OUTCOME_RESET); }

static void write_request(connection *self) {
  uv_buf_t buffer = uv_buf_init(self->request, (unsigned)self->request_size);
  if (uv_write(&self->writing, (uv_stream_t *)&self->tcp, &buffer, 1, on_written) != 0) {
    (void)uv_timer_start(&self->timer, on_no_write, 0, 0);
  }
}

static void on_connected(uv_connect_t *request, int status) {
  connection *self = request->data;
  if (self->closing) {
    return;
  }
  if (status != 0 || uv_read_start((uv_stream_t *)&self->tcp, on_buffer, on_read) != 0) {
    fail(self, OUTCOME_CONNECT);
    return;
  }
  (void)uv_tcp_nodelay(&self->tcp, 1);
  write_request(self);
}

static void on_timeout(uv_timer_t *timer) { fail(timer->data, OUTCOME_TIMEOUT); }

static connection *open_connection(client *owner) {
  connection *self = calloc(1, sizeof *self);
  if (self == NULL) {
    return NULL;
  }
  self->owner = owner;
  self->open_handles = HANDLES;
  self->tcp.data = self->timer.data = self->connecting.data = self->writing.data = self;
  (void)uv_tcp_init(owner->loop, &self->tcp);
  (void)uv_timer_init(owner->loop, &self->timer);
  self->next = owner->open;
  if (owner->open != NULL) {
    owner->open->previous = self;
  }
  owner->open = self;
  return self;
}

bool client_send(client *self, char *bytes, size_t size, client_callback callback, void *tag) {
  connection *taken = self->idle;
  bool fresh = taken == NULL;
  if (fresh) {
    taken = open_connection(self);
    if (taken == NULL) {
      return false;
    }
  } else {
    self->idle = taken->next_idle;
  }
  taken->request = bytes;
  taken->request_size = size;
  taken->callback = callback;
  taken->tag = tag;
  taken->size = 0;
  taken->any_byte = taken->complete = taken->keep = false;
  http_parser_init(&taken->parser, HTTP_RESPONSE);
  taken->parser.data = taken;
  (void)uv_timer_start(&taken->timer, on_timeout, self->config.timeout_ms, 0);
  if (!fresh) {
    write_request(taken);
  } else if (uv_tcp_connect(&taken->connecting, &taken->tcp,
                            (const struct sockaddr *)&self->config.address, on_connected) != 0) {
    (void)uv_timer_start(&taken->timer, on_no_connection, 0, 0);
  }
  return true;
}

void client_cancel(client *self) {
  for (connection *at = self->open, *next; at != NULL; at = next) {
    next = at->next;
    fail(at, OUTCOME_CANCELLED);
  }
}

void client_destroy(client *self) {
  if (self != NULL) {
    self->destroyed = true;
    client_cancel(self);
    free_if_gone(self);
  }
}
