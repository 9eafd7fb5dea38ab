/* Clients' connections: their life, what is watched for, and how long it may take.
 *
 * 1. Who ends the sending in the middle of a request is cut off: the rest will never come.
 * 2. A reset, or the full close of a socket in the file system, while the request waits: the client
 *    has gone.
 * 3. A client that ends its sending then may still read. One of HTTP/1.1 is sent `100 Continue`,
 *    which every
 *    such client must be able to skip; where nobody reads any more, a reset comes back. So nobody
 *    is given up
 *    who still listens, and who left is noticed after one round trip.
 * 4. HTTP/1.0 has no interim answers, and there "the closing of the connection by either or both
 *    parties
 *    always terminates the current request" (RFC 1945, 1.3): the client has gone.
 *
 * A connection is in the list of its state, and is cut off when that has taken too long. */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/http/internal.h"

enum { EVENTS_AT_ONCE = 64, TICK_MS = 1000, ENDING_SECONDS = 2 };

#define NS_PER_SECOND 1000000000u

/* --- sockets --- */

bool http_source_watch(http_server *server, http_source *source, uint32_t events, bool fresh) {
  struct epoll_event event = {.events = events, .data.ptr = source};
  return epoll_ctl(server->watched, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, source->descriptor,
                   &event) == 0;
}

void http_source_close(http_server *server, http_source *source) {
  (void)epoll_ctl(server->watched, EPOLL_CTL_DEL, source->descriptor, NULL);
  (void)close(source->descriptor);
  source->descriptor = -1;
  source->dead = true;
  if (!source->relay ||
      ((http_relay *)source)->ended) { /* else once libmicrohttpd has closed the other end */
    source->next_dead = server->dead;
    server->dead = source;
  }
}

void http_connections_bury(http_server *self) {
  http_source *next;
  for (http_source *at = self->dead; at != NULL; at = next) {
    next = at->next_dead;
    rr_free(at);
  }
  self->dead = NULL;
}

/* --- lists --- */

static void join_list(http_connection *self) {
  http_connection_list *list = &self->server->connections[self->state];
  self->previous = list->last;
  self->next = NULL;
  *(list->last != NULL ? &list->last->next : &list->first) = self;
  list->last = self;
}

static void leave_list(http_connection *self) {
  http_connection_list *list = &self->server->connections[self->state];
  *(self->previous != NULL ? &self->previous->next : &list->first) = self->next;
  *(self->next != NULL ? &self->next->previous : &list->last) = self->previous;
}

static void watch_for(http_connection *self, uint32_t events) {
  if (events != self->events) {
    self->events = events;
    (void)http_source_watch(self->server, &self->source, events, false);
  }
}

void http_connection_read(http_connection *self, bool wanted) {
  watch_for(self, wanted ? self->events | EPOLLIN : self->events & ~(uint32_t)EPOLLIN);
}

void http_connection_enter(http_connection *self, http_connection_state state) {
  leave_list(self);
  self->state = state;
  self->since = clock_now();
  join_list(self);
}

void http_connection_open(http_server *server, int descriptor, bool local) {
  http_connection *self = rr_calloc(1, sizeof *self);
  if (self != NULL) {
    *self = (http_connection){.source = {.descriptor = descriptor},
                              .server = server,
                              .local = local,
                              .events = EPOLLIN | EPOLLRDHUP,
                              .since = clock_now()};
  }
  if (self == NULL || !http_source_watch(server, &self->source, self->events, true)) {
    (void)close(descriptor);
    rr_free(self);
    return;
  }
  join_list(self);
  server->n_connections++;
}

/* --- ends --- */

/* The request under way has no client any more. */
static void lose_request(http_connection *self) {
  http_exchange *exchange = self->exchange;
  self->exchange = NULL;
  if (exchange != NULL) {
    http_exchange_lose(exchange);
  }
  if (self->relay != NULL) {
    http_relay_close(self->relay);
    self->relay = NULL;
  }
}

static void close_connection(http_connection *self) {
  http_server *server = self->server;
  leave_list(self);
  http_give_memory(server, self->input_claimed);
  server->n_connections--;
  rr_free(self->input);
  rr_free(self->output);
  http_source_close(server, &self->source);
  http_listen_on(server);
}

void http_connection_cut_off(http_connection *self) {
  lose_request(self);
  close_connection(self);
}

/* Nothing is left of what the client has sent: closing then does not take back the reply. */
static bool all_is_read(const http_connection *self) {
  int unread = 0;
  return self->input_size == 0 && ioctl(self->source.descriptor, FIONREAD, &unread) == 0 &&
         unread == 0;
}

/* RFC 9112, 9.6: ends the sending, and reads over what the client still sends. */
static void end_gently(http_connection *self) {
  self->input_size = 0;
  (void)shutdown(self->source.descriptor, SHUT_WR);
  http_connection_enter(self, HTTP_ENDING);
  watch_for(self, EPOLLIN);
}

void http_connection_replied(http_connection *self) {
  http_exchange *exchange = self->exchange;
  http_relay *relay = self->relay;
  self->exchange = NULL;
  self->relay = NULL;
  http_exchange_finish(exchange, true);
  if (!self->closes) {
    http_relay_release(relay);
    http_connection_enter(self, HTTP_HEADERS);
    watch_for(self, self->events | EPOLLRDHUP); /* whoever has ended its sending is asked again */
    http_read_head(self);
    return;
  }
  http_relay_close(relay);
  if (!self->unread && all_is_read(self)) {
    close_connection(self);
  } else {
    end_gently(self);
  }
}

/* --- sending --- */

/* Bytes that the socket has taken; -1: it is lost. */
static ssize_t give(const http_connection *self, const char *data, size_t size) {
  ssize_t n = send(self->source.descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  return n >= 0 || (errno != EAGAIN && errno != EINTR) ? n : 0;
}

bool http_connection_send(http_connection *self, const char *data, size_t size) {
  ssize_t n = give(self, data, size);
  size_t left = n < 0 ? 0 : size - (size_t)n;
  if (left > 0) {
    self->output = rr_malloc(left);
  }
  if (n < 0 || (left > 0 && self->output == NULL)) {
    http_connection_cut_off(self);
    return false;
  }
  if (left > 0) {
    memcpy(self->output, data + n, left);
    self->output_size = left;
    watch_for(self, self->events | EPOLLOUT);
    http_relay_pause(self->relay, true);
  }
  return true;
}

/* The client takes more. */
static void go_on_sending(http_connection *self) {
  ssize_t n = give(self, self->output, self->output_size);
  if (n < 0) {
    http_connection_cut_off(self);
    return;
  }
  self->output_size -= (size_t)n;
  if (self->output_size > 0) {
    memmove(self->output, self->output + n, self->output_size);
    return;
  }
  rr_free(self->output);
  self->output = NULL;
  watch_for(self, self->events & ~(uint32_t)EPOLLOUT);
  http_relay_pause(self->relay, false);
  http_relay_flow(self->relay);
}

/* Nothing is left to send, so that a short line fits whole. */
static bool all_is_sent(const http_connection *self) {
  int unsent = 0;
  return self->output_size == 0 && ioctl(self->source.descriptor, SIOCOUTQ, &unsent) == 0 &&
         unsent == 0;
}

void http_connection_send_line(http_connection *self, const char *line) {
  if (all_is_sent(self)) {
    (void)give(self, line, strlen(line));
  }
}

/* --- what a socket tells --- */

/* The client of a request that waits has gone: what comes of it is for nobody. */
static void tell_gone(http_connection *self) {
  http_server *server = self->server;
  http_exchange *exchange = self->exchange;
  self->exchange = NULL;
  exchange->client = NULL;
  http_connection_cut_off(self);
  exchange->gone = true;
  server->handlers.gone(server->handlers.context, exchange);
}

static void on_lost(http_connection *self) {
  if (self->state == HTTP_WAITING && !self->exchange->replied) {
    tell_gone(self);
  } else {
    http_connection_cut_off(self);
  }
}

/* The client of a request that waits sends no more. Has it show whether it still reads: one that
 * does not refuses the
 * interim answer with a reset, which the watch sees. */
static void look_further(http_connection *self) {
  watch_for(self, 0); /* for resets, which are always told */
  if (self->local) {
    return; /* there a full close is told apart by itself */
  }
  if (self->head.old) {
    on_lost(self);
  } else { /* where something is under way, that asks as well */
    http_connection_send_line(self, "HTTP/1.1 100 Continue\r\n\r\n");
  }
}

static void read_over(http_connection *self) {
  ssize_t n = recv(self->source.descriptor, self->server->piece, HTTP_PIECE, 0);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
    close_connection(self);
  }
}

static void on_readable(http_connection *self) {
  switch (self->state) {
  case HTTP_HEADERS:
  case HTTP_BODY: http_read(self); return;
  case HTTP_ENDING: read_over(self); return;
  case HTTP_WAITING:
  case HTTP_REPLYING:
  case HTTP_CONNECTION_STATES: break;
  }
  http_connection_read(self, false); /* it may be the next request, whose turn comes */
}

static void on_client(http_connection *self, uint32_t events) {
  if (self->state == HTTP_ENDING && (events & EPOLLERR) == 0) {
    read_over(self); /* to its end, though nothing may be sent either way any more */
    return;
  }
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    on_lost(self);
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    go_on_sending(self);
  }
  if (!self->source.dead && (events & EPOLLIN) != 0) {
    on_readable(self);
  }
  if (self->source.dead || (events & EPOLLRDHUP) == 0 || self->state == HTTP_HEADERS ||
      self->state == HTTP_BODY) {
    return; /* reading comes to the end by itself */
  }
  if (self->state == HTTP_WAITING) {
    look_further(self);
  } else {
    watch_for(self, self->events & ~(uint32_t)EPOLLRDHUP);
  }
}

static void on_events(uv_poll_t *poll, int status, int unused) {
  (void)status;
  (void)unused;
  http_server *self = poll->data;
  struct epoll_event events[EVENTS_AT_ONCE];
  int n = epoll_wait(self->watched, events, EVENTS_AT_ONCE, 0);
  for (int i = 0; i < n; i++) {
    http_source *source = events[i].data.ptr;
    if (source->dead) { /* by an event before */
      continue;
    }
    if (source->relay) {
      http_relay_flow((http_relay *)source);
    } else {
      on_client((http_connection *)source, events[i].events);
    }
  }
  http_drive_if_woken(self); /* else what has just begun would wait for the next turn */
  http_connections_bury(self);
}

/* --- time --- */

/* Its time is over. */
static void give_up(http_connection *self) {
  const struct linger none = {.l_onoff = 1, .l_linger = 0};
  if (self->exchange != NULL) {
    self->exchange->too_slow = true;
  }
  if (self->state == HTTP_BODY) {
    http_connection_send_line(
        self, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    lose_request(self);
    end_gently(self);
    return;
  }
  if (self->state == HTTP_REPLYING) { /* the kernel is not to keep what nobody takes */
    (void)setsockopt(self->source.descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  }
  http_connection_cut_off(self);
}

/* The first of each list has been in its state for the longest time. */
static void on_tick(uv_timer_t *timer) {
  http_server *self = timer->data;
  const unsigned seconds[HTTP_CONNECTION_STATES] = {[HTTP_HEADERS] = self->config.idle_seconds,
                                                    [HTTP_BODY] = self->config.client_seconds,
                                                    [HTTP_REPLYING] = self->config.client_seconds,
                                                    [HTTP_ENDING] = ENDING_SECONDS};
  uint64_t now = clock_now();
  for (int state = 0; state < HTTP_CONNECTION_STATES; state++) {
    http_connection *oldest;
    while (seconds[state] > 0 && (oldest = self->connections[state].first) != NULL &&
           now - oldest->since >= (uint64_t)seconds[state] * NS_PER_SECOND) {
      give_up(oldest);
    }
  }
  http_relays_trim(self);
  http_listen_on(self); /* descriptors may be there again that others had */
  http_connections_bury(self);
}

bool http_connections_start(http_server *self, uv_loop_t *loop) {
  if (uv_poll_init(loop, &self->watch, self->watched) != 0) {
    return false;
  }
  self->watch.data = self;
  (void)uv_timer_init(loop, &self->tick);
  self->tick.data = self;
  return uv_poll_start(&self->watch, UV_READABLE, on_events) == 0 &&
         uv_timer_start(&self->tick, on_tick, TICK_MS, TICK_MS) == 0;
}

void http_connections_close(http_server *self) {
  for (int state = 0; state < HTTP_CONNECTION_STATES; state++) {
    while (self->connections[state].first != NULL) {
      http_connection_cut_off(self->connections[state].first);
    }
  }
  while (self->free_relays != NULL) {
    http_relay_close(self->free_relays);
  }
}
