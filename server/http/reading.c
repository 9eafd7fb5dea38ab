/* What clients send: heads into a connection's input, bodies from the socket into the exchange.
 *
 * A turn of the loop reads one piece of a connection and no more, and takes at most one head of it,
 * so that nobody who
 * sends fast, or many requests at once, holds the others up. Bodies that are not in chunks are read
 * to their end and not
 * beyond it; of those in chunks what is behind the end goes back into the input. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "core/base/alloc.h"
#include "server/http/internal.h"

enum { WORTH_READING = 4096 }; /* bytes: less room behind a body is not read into by itself */

/* --- heads --- */

static void take_off(http_connection *self, size_t size) {
  self->input_size -= size;
  memmove(self->input, self->input + size, self->input_size);
}

/* Long heads are taken from the memory of all requests: anybody may send them. */
static bool claim(http_connection *self, size_t bytes) {
  bool there = http_take_memory(self->server, self->input_claimed, bytes);
  self->input_claimed += there ? bytes : 0;
  return there;
}

static void free_input(http_connection *self) {
  http_give_memory(self->server, self->input_claimed);
  self->input_claimed = 0;
  rr_free(self->input);
  self->input = NULL;
  self->input_size = 0;
  self->input_capacity = 0;
}

/* Room for `more` bytes behind what is there. */
static bool make_room(http_connection *self, size_t more, http_fault *ret_fault) {
  size_t capacity = self->input_capacity == 0 ? HTTP_INPUT_FIRST : self->input_capacity;
  while (capacity - self->input_size < more) {
    capacity *= 2;
  }
  size_t added = capacity - self->input_capacity;
  if (added == 0) {
    return true;
  }
  if (capacity > HTTP_INPUT_FIRST && !claim(self, added)) {
    *ret_fault = (http_fault){.problem = HTTP_BODIES_TOO_MANY};
    return false;
  }
  char *input = rr_realloc(self->input, capacity);
  if (input == NULL) {
    *ret_fault = (http_fault){.problem = HTTP_OUT_OF_MEMORY};
    return false;
  }
  self->input = input;
  self->input_capacity = capacity;
  return true;
}

/* Hands the head on to libmicrohttpd, which will tell of an exchange. */
static void begin_request(http_connection *self, const char *head, size_t size) {
  char text[HTTP_TEXT_MAX];
  size_t length = self->fault.problem == HTTP_NO_PROBLEM
                      ? http_head_write(&self->head, head, size, text)
                      : http_head_write_refused(&self->head, text);
  self->used = true;
  self->unread = false;
  self->closes = self->head.closes || self->fault.problem != HTTP_NO_PROBLEM;
  self->body_left = self->head.body_size;
  self->chunks = (http_chunks){.state = CHUNK_SIZE_FIRST};
  self->relay = http_relay_take(self->server);
  if (self->relay == NULL || !http_relay_send(self->relay, text, length)) {
    http_connection_cut_off(self);
    return;
  }
  self->relay->client = self;
  http_connection_enter(self, HTTP_BODY);
  http_wake(self->server);
}

/* The head is no HTTP: nothing behind it can be read. */
static void begin_refusal(http_connection *self) { begin_request(self, NULL, 0); }

void http_read_head(http_connection *self) {
  size_t skip;
  size_t size;
  self->fault = (http_fault){.problem = HTTP_NO_PROBLEM};
  self->head = (http_head){.path = NULL};
  if (self->input_size == 0) {
    free_input(self);
    http_connection_read(self, true);
    return;
  }
  switch (
      http_head_find(self->input, self->input_size, &self->scanned, &skip, &size, &self->fault)) {
  case HTTP_FOUND_NONE: http_connection_read(self, true); return;
  case HTTP_FOUND_FAULT: begin_refusal(self); return;
  case HTTP_FOUND_HEAD: break;
  }
  if (http_head_parse(self->input + skip, size - skip, &self->head, &self->fault)) {
    begin_request(self, self->input + skip, size - skip);
  } else {
    begin_refusal(self);
  }
  if (!self->source.dead) {
    self->head.path = NULL; /* it goes now, as the host does */
    self->head.host = NULL;
    take_off(self, size);
  }
}

/* --- bodies --- */

static void end_body(http_connection *self) {
  if (self->state == HTTP_BODY) {
    http_connection_enter(self, HTTP_WAITING);
  }
  http_exchange_end_body(self->exchange);
}

/* The rest of the body is not wanted, and so the connection cannot go on. */
static void stop_reading(http_connection *self) {
  self->closes = true;
  self->unread = true;
  http_connection_read(self, false);
  end_body(self);
}

/* Returns how many of the bytes belong to the body; false where no more is to be read, also at the
 * end. */
static bool take_sized(http_connection *self, const char *data, size_t size, size_t *ret_used) {
  *ret_used = size < self->body_left ? size : (size_t)self->body_left;
  if (*ret_used > 0 && !http_exchange_receive(self->exchange, data, *ret_used)) {
    stop_reading(self);
    return false;
  }
  self->body_left -= *ret_used;
  if (self->body_left > 0) {
    return true;
  }
  end_body(self);
  return false;
}

/* As take_sized. */
static bool take_chunks(http_connection *self, const char *data, size_t size, size_t *ret_used) {
  *ret_used = 0;
  for (;;) {
    size_t used;
    const char *piece;
    size_t length;
    const char *text;
    http_chunks_result result = http_chunks_next(&self->chunks, data + *ret_used, size - *ret_used,
                                                 &used, &piece, &length, &text);
    *ret_used += used;
    switch (result) {
    case CHUNKS_MORE: return true;
    case CHUNKS_END: end_body(self); return false;
    case CHUNKS_DATA:
      if (!http_exchange_receive(self->exchange, piece, length)) {
        stop_reading(self);
        return false;
      }
      break;
    case CHUNKS_BROKEN:
      http_exchange_refuse(self->exchange, (http_fault){.problem = HTTP_MALFORMED, .text = text});
      stop_reading(self);
      return false;
    }
  }
}

static bool take_body(http_connection *self, const char *data, size_t size, size_t *ret_used) {
  return self->head.framing == HTTP_CHUNKED ? take_chunks(self, data, size, ret_used)
                                            : take_sized(self, data, size, ret_used);
}

void http_read_body(http_connection *self) {
  size_t used;
  if (self->state != HTTP_BODY) { /* it was answered without its body */
    return;
  }
  bool more = take_body(self, self->input, self->input_size, &used);
  take_off(self, used);
  if (more) {
    free_input(self);
    http_connection_read(self, true);
  }
}

/* --- sockets --- */

/* What is behind the body's end, for the next head. */
static void put_back(http_connection *self, const char *data, size_t size) {
  http_fault fault;
  if (size == 0) {
    return;
  }
  if (make_room(self, size, &fault)) {
    memcpy(self->input, data, size);
    self->input_size = size;
  } else {
    self->closes = true;
  }
}

/* Where a body's next bytes go: behind it, where it has room for many; else into the server's
 * piece, from where they are copied once room is made. In chunks there are lengths between them. */
static char *place_for_body(http_connection *self, size_t *ret_most, bool *ret_direct) {
  size_t spare;
  char *behind = http_exchange_spare(self->exchange, &spare);
  bool sized = self->head.framing == HTTP_SIZED;
  size_t wanted = sized && self->body_left < HTTP_PIECE ? (size_t)self->body_left : HTTP_PIECE;
  *ret_direct = sized && (spare >= wanted || spare >= WORTH_READING);
  *ret_most = *ret_direct && spare < wanted ? spare : wanted;
  return *ret_direct ? behind : self->server->piece;
}

static void read_body(http_connection *self) {
  size_t most;
  bool direct;
  char *to = place_for_body(self, &most, &direct);
  ssize_t n = recv(self->source.descriptor, to, most, 0);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
    http_connection_cut_off(self);
    return;
  }
  if (n < 0) {
    return;
  }
  size_t used = 0;
  if (direct) {
    http_exchange_received(self->exchange, (size_t)n);
    self->body_left -= (uint64_t)n;
    if (self->body_left == 0) {
      end_body(self);
    }
  } else if (self->head.framing == HTTP_CHUNKED) {
    (void)take_chunks(self, to, (size_t)n, &used);
    put_back(self, to + used, (size_t)n - used);
  } else {
    (void)take_sized(self, to, (size_t)n, &used);
  }
}

static void read_input(http_connection *self) {
  if (!make_room(self, 1, &self->fault)) {
    if (self->fault.problem ==
        HTTP_OUT_OF_MEMORY) { /* there is no knowing in which form to say so */
      http_connection_cut_off(self);
    } else {
      begin_refusal(self);
    }
    return;
  }
  ssize_t n = recv(self->source.descriptor, self->input + self->input_size,
                   self->input_capacity - self->input_size, 0);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
    http_connection_cut_off(self);
  } else if (n > 0) {
    self->input_size += (size_t)n;
    http_read_head(self);
  }
}

void http_read(http_connection *self) {
  if (self->state == HTTP_HEADERS) {
    read_input(self);
  } else if (self->exchange == NULL) { /* libmicrohttpd has not yet told of it */
    http_connection_read(self, false);
  } else {
    read_body(self);
  }
}
