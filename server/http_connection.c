#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "server/clock.h"
#include "server/http_internal.h"

enum { EVENTS_AT_ONCE = 64, TICK_MS = 1000 };

#define NS_PER_SECOND 1000000000u

static void enqueue(http_connection *self) {
  http_connection_list *list = &self->server->connections[self->phase];
  self->previous = list->last;
  self->next = NULL;
  *(list->last != NULL ? &list->last->next : &list->first) = self;
  list->last = self;
}

static void dequeue(http_connection *self) {
  http_connection_list *list = &self->server->connections[self->phase];
  *(self->previous != NULL ? &self->previous->next : &list->first) = self->next;
  *(self->next != NULL ? &self->next->previous : &list->last) = self->previous;
}

static void watch_for(http_connection *self, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = self};
  self->muted_at = events == 0 ? clock_now() : 0;
  (void)epoll_ctl(self->server->watched, EPOLL_CTL_MOD, self->descriptor, &event);
}

void http_connection_enter(http_connection *self, http_phase phase) {
  dequeue(self);
  self->phase = phase;
  self->since = clock_now();
  enqueue(self);
  if (self->muted_at != 0 && phase != HTTP_REPLYING && phase != HTTP_ENDING) {
    watch_for(self, EPOLLRDHUP);
  }
}

static http_connection *open_connection(http_server *server, struct MHD_Connection *connection) {
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  http_connection *self = rr_calloc(1, sizeof *self);
  struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = self};
  if (self == NULL || epoll_ctl(server->watched, EPOLL_CTL_ADD, info->connect_fd, &event) != 0) {
    (void)shutdown(info->connect_fd, SHUT_RDWR);
    rr_free(self);
    return NULL;
  }
  *self = (http_connection){.server = server, .descriptor = info->connect_fd, .since = clock_now()};
  enqueue(self);
  return self;
}

void http_on_connection(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_ConnectionNotificationCode code) {
  http_connection *self = *state;
  if (code == MHD_CONNECTION_NOTIFY_STARTED) {
    *state = open_connection(context, connection);
  } else if (self != NULL) {
    dequeue(self);
    (void)epoll_ctl(self->server->watched, EPOLL_CTL_DEL, self->descriptor, NULL);
    rr_free(self);
    *state = NULL;
  }
}

/* Nothing is left to send, so that a short line fits whole. */
static bool all_is_sent(const http_connection *self) {
  int unsent = 0;
  return ioctl(self->descriptor, SIOCOUTQ, &unsent) == 0 && unsent == 0;
}

/* Returns false where the connection was lost. */
static bool send_line(const http_connection *self, const char *line) {
  size_t size = strlen(line);
  return send(self->descriptor, line, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

/* The client sends no more. Has it show whether it still reads: one that does not refuses the interim answer
 * with a reset, which the watch sees. Returns false where it has gone already. */
static bool ask_further(const http_connection *self) {
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (getsockname(self->descriptor, (struct sockaddr *)&address, &size) != 0) {
    return false;
  }
  if (address.ss_family == AF_UNIX) {
    return true; /* there a full close is told apart by itself */
  }
  if (!self->exchange->interim_allowed) {
    return false;
  }
  /* What is under way asks as well. */
  return !all_is_sent(self) || send_line(self, "HTTP/1.1 100 Continue\r\n\r\n");
}

/* The client sends no more, or has reset the connection. */
static void look_at(http_connection *self, uint32_t events) {
  bool lost = (events & (EPOLLHUP | EPOLLERR)) != 0;
  if (lost) { /* told as long as it is asked for */
    (void)epoll_ctl(self->server->watched, EPOLL_CTL_DEL, self->descriptor, NULL);
  } else {
    watch_for(self, 0); /* for resets, which are always told */
  }
  if (self->phase == HTTP_WAITING && (lost || !ask_further(self))) {
    self->exchange->gone = true;
    self->server->handlers.gone(self->server->handlers.context, self->exchange);
  } else if (lost && self->phase != HTTP_ENDING) {
    http_connection_cut_off(self);
  }
}

static void on_events(uv_poll_t *poll, int status, int unused) {
  (void)status;
  (void)unused;
  const http_server *self = poll->data;
  /* Connections end within libmicrohttpd's turns only, never within this one: all pointers are good. */
  struct epoll_event events[EVENTS_AT_ONCE];
  int n = epoll_wait(self->watched, events, EVENTS_AT_ONCE, 0);
  for (int i = 0; i < n; i++) {
    look_at(events[i].data.ptr, events[i].events);
  }
}

void http_connection_cut_off(http_connection *self) {
  http_connection_enter(self, HTTP_ENDING);
  (void)shutdown(self->descriptor, SHUT_RDWR);
}

/* Its time is over. */
static void give_up(http_connection *self) {
  const struct linger none = {.l_onoff = 1, .l_linger = 0};
  if (self->exchange != NULL) {
    self->exchange->too_slow = true;
  }
  if (self->phase == HTTP_BODY && all_is_sent(self)) {
    (void)send_line(self, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  } else if (self->phase == HTTP_REPLYING) { /* the kernel is not to keep what nobody takes */
    (void)setsockopt(self->descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  }
  http_connection_cut_off(self);
}

/* The rest of these requests will never come: the clients have ended their sending, and libmicrohttpd has had
 * time to take up whatever came before. */
static void cut_off_incomplete(const http_connection_list *list, uint64_t now) {
  http_connection *next;
  char byte;
  for (http_connection *at = list->first; at != NULL; at = next) {
    next = at->next;
    if (at->muted_at != 0 && now - at->muted_at >= NS_PER_SECOND / 2 &&
        recv(at->descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) {
      http_connection_cut_off(at);
    }
  }
}

/* The first of each list has been in its phase for the longest time. */
static void on_tick(uv_timer_t *timer) {
  http_server *self = timer->data;
  const unsigned seconds[HTTP_PHASES] = {[HTTP_HEADERS] = self->config.idle_seconds,
                                         [HTTP_BODY] = self->config.client_seconds,
                                         [HTTP_REPLYING] = self->config.client_seconds};
  uint64_t now = clock_now();
  for (int phase = 0; phase < HTTP_PHASES; phase++) {
    http_connection *oldest;
    while (seconds[phase] > 0 && (oldest = self->connections[phase].first) != NULL &&
           now - oldest->since >= (uint64_t)seconds[phase] * NS_PER_SECOND) {
      give_up(oldest);
    }
  }
  cut_off_incomplete(&self->connections[HTTP_HEADERS], now);
  cut_off_incomplete(&self->connections[HTTP_BODY], now);
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
