#include "server/redis/link.h"

#include <string.h>

#include "core/base/alloc.h"
#include "server/base/loop_thread.h"

enum { KEEPALIVE_SECONDS = 60 };

typedef struct outgoing {
  uv_write_t request; /* first */
  char *bytes;
} outgoing;

void redis_link_init(redis_link *self, uv_loop_t *loop, const redis_address *address,
                     const redis_link_events *events) {
  assert_loop_thread();
  *self = (redis_link){.loop = loop, .address = address, .events = *events};
}

static void on_closed(uv_handle_t *handle) { ((redis_link *)handle->data)->has_socket = false; }

void redis_link_close(redis_link *self) {
  assert_loop_thread();
  self->wanted = false;
  if (self->looking_up) {
    self->lingers = uv_cancel((uv_req_t *)&self->lookup) != 0 || self->lingers;
  }
  if (self->has_socket && !uv_is_closing(&self->socket.handle)) {
    uv_close(&self->socket.handle, on_closed);
  }
}

bool redis_link_lingers(const redis_link *self) {
  assert_loop_thread();
  return self->lingers;
}

static void go_down(redis_link *self, const char *reason) {
  if (self->wanted) {
    redis_link_close(self);
    self->events.down(self->events.context, reason);
  }
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret_buffer) {
  (void)wanted;
  redis_link *self = handle->data;
  *ret_buffer = uv_buf_init(self->chunk, sizeof self->chunk);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer) {
  redis_link *self = stream->data;
  if (got < 0) {
    go_down(self, got == UV_EOF ? "closed by the other side" : uv_strerror((int)got));
  } else if (got > 0 && self->wanted) {
    self->events.received(self->events.context, buffer->base, (size_t)got);
  }
}

static void on_connected(uv_connect_t *request, int status) {
  redis_link *self = request->data;
  if (!self->wanted) {
    return;
  }
  if (status == 0) {
    status = uv_read_start(&self->socket.stream, on_alloc, on_read);
  }
  if (status != 0) {
    go_down(self, uv_strerror(status));
    return;
  }
  self->turn--; /* this one will do the next time too */
  self->events.up(self->events.context);
}

static void connect_to(redis_link *self, const struct sockaddr *address) {
  self->connecting.data = self;
  int status;
  if (address == NULL) {
    status = uv_pipe_init(self->loop, &self->socket.pipe, 0);
  } else {
    status = uv_tcp_init(self->loop, &self->socket.tcp);
  }
  if (status != 0) {
    go_down(self, uv_strerror(status));
    return;
  }
  self->socket.handle.data = self;
  self->has_socket = true;
  if (address == NULL) {
    uv_pipe_connect(&self->connecting, &self->socket.pipe, self->address->host, on_connected);
    return;
  }
  (void)uv_tcp_nodelay(&self->socket.tcp, 1);
  (void)uv_tcp_keepalive(&self->socket.tcp, 1, KEEPALIVE_SECONDS);
  status = uv_tcp_connect(&self->connecting, &self->socket.tcp, address, on_connected);
  if (status != 0) {
    go_down(self, uv_strerror(status));
  }
}

/* The C library has put them in order; after one that does not answer the next one is tried. */
static const struct sockaddr *address_of_turn(redis_link *self, const struct addrinfo *found) {
  unsigned n = 0;
  for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
    n++;
  }
  const struct addrinfo *chosen = found;
  for (unsigned i = self->turn++ % n; i > 0; i--) {
    chosen = chosen->ai_next;
  }
  return chosen->ai_addr;
}

static void on_found(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found) {
  redis_link *self = lookup->data;
  self->looking_up = false;
  self->lingers = false;
  if (self->wanted && status != 0) {
    go_down(self, uv_strerror(status));
  } else if (self->wanted) {
    connect_to(self, address_of_turn(self, found));
  }
  uv_freeaddrinfo(found);
}

static void look_up(redis_link *self) {
  const struct addrinfo hints = {
      .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
  self->lookup.data = self;
  int status = uv_getaddrinfo(self->loop, &self->lookup, on_found, self->address->host,
                              self->address->port, &hints);
  self->looking_up = status == 0;
  if (status != 0) {
    go_down(self, uv_strerror(status));
  }
}

static void connect_by_number(redis_link *self) {
  const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                 .ai_socktype = SOCK_STREAM,
                                 .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
  struct addrinfo *found = NULL;
  int status =
      getaddrinfo(self->address->host, self->address->port, &hints, &found); /* asks nobody */
  if (status != 0) {
    go_down(self, gai_strerror(status));
    return;
  }
  connect_to(self, found->ai_addr);
  freeaddrinfo(found);
}

void redis_link_open(redis_link *self) {
  assert_loop_thread();
  self->wanted = true;
  if (self->has_socket || self->looking_up) {
    go_down(self, "the last connection has not ended yet");
  } else if (self->address->local) {
    connect_to(self, NULL);
  } else if (redis_address_is_name(self->address)) {
    look_up(self);
  } else {
    connect_by_number(self);
  }
}

static void on_written(uv_write_t *request, int status) {
  outgoing *sent = (outgoing *)request;
  redis_link *self = request->data;
  rr_free(sent->bytes);
  rr_free(sent);
  if (status != 0 && status != UV_ECANCELED) {
    go_down(self, uv_strerror(status));
  }
}

bool redis_link_write(redis_link *self, char *bytes, size_t size) {
  assert_loop_thread();
  outgoing *sent = self->wanted ? rr_calloc(1, sizeof *sent) : NULL;
  if (sent == NULL) {
    rr_free(bytes);
    return false;
  }
  sent->bytes = bytes;
  sent->request.data = self;
  uv_buf_t buffer = uv_buf_init(bytes, (unsigned)size);
  if (uv_write(&sent->request, &self->socket.stream, &buffer, 1, on_written) != 0) {
    rr_free(bytes);
    rr_free(sent);
    return false;
  }
  return true;
}

size_t redis_link_waiting(const redis_link *self) {
  assert_loop_thread();
  return self->wanted && self->has_socket ? uv_stream_get_write_queue_size(&self->socket.stream)
                                          : 0;
}
