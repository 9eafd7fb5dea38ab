#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "server/http/internal.h"
#include "server/observe/log.h"

enum {
  FREE_RELAYS_MAX = 64, /* that are kept for the next requests */
  PIECES_AT_ONCE = 4    /* of one reply, in one turn of the loop */
};

/* Hands the other end to libmicrohttpd, which closes it whatever comes of that. */
static bool start(http_relay *self, int other) {
  const struct sockaddr here = {.sa_family = AF_UNIX};
  self->server->starting = self;
  bool good = MHD_add_connection(self->server->daemon, other, &here, sizeof here) == MHD_YES;
  bool taken = self->server->starting == NULL; /* by http_on_relay */
  self->server->starting = NULL;
  return good && taken;
}

void http_on_relay(void *context, struct MHD_Connection *connection, void **state,
                   enum MHD_ConnectionNotificationCode code) {
  http_server *server = context;
  (void)connection;
  if (code == MHD_CONNECTION_NOTIFY_STARTED) {
    *state = server->starting;
    server->starting = NULL;
    return;
  }
  http_relay *self = *state;
  *state = NULL;
  if (self != NULL) {
    self->ended = true;
    if (self->source.dead) { /* it was closed here before */
      self->source.next_dead = server->dead;
      server->dead = &self->source;
    }
  }
}

static http_relay *create(http_server *server) {
  int ends[2];
  http_relay *self = rr_calloc(1, sizeof *self);
  if (self == NULL ||
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    rr_free(self);
    return NULL;
  }
  *self = (http_relay){.source = {.relay = true, .descriptor = ends[0]}, .server = server};
  if (!http_source_watch(server, &self->source, EPOLLIN, true)) {
    (void)close(ends[0]);
    (void)close(ends[1]);
    rr_free(self);
    return NULL;
  }
  if (!start(self, ends[1])) {
    self->ended = true;
    http_source_close(server, &self->source);
    return NULL;
  }
  return self;
}

http_relay *http_relay_take(http_server *self) {
  while (self->free_relays != NULL && self->free_relays->ended) {
    http_relay_close(self->free_relays);
  }
  http_relay *relay = self->free_relays;
  if (relay == NULL) {
    return create(self);
  }
  self->free_relays = relay->next_free;
  self->n_free_relays--;
  self->n_spare_relays =
      self->n_spare_relays < self->n_free_relays ? self->n_spare_relays : self->n_free_relays;
  return relay;
}

void http_relays_trim(http_server *self) {
  while (self->n_spare_relays > 0 && self->free_relays != NULL) {
    self->n_spare_relays--;
    http_relay_close(self->free_relays);
  }
  self->n_spare_relays = self->n_free_relays;
}

static void forget(http_relay *self) {
  for (http_relay **at = &self->server->free_relays; *at != NULL; at = &(*at)->next_free) {
    if (*at == self) {
      *at = self->next_free;
      self->server->n_free_relays--;
      return;
    }
  }
}

void http_relay_close(http_relay *self) {
  self->client = NULL;
  forget(self);
  http_source_close(self->server, &self->source);
}

void http_relay_release(http_relay *self) {
  http_server *server = self->server;
  if (self->ended || server->n_free_relays == FREE_RELAYS_MAX) {
    http_relay_close(self);
    return;
  }
  self->client = NULL;
  self->next_free = server->free_relays;
  server->free_relays = self;
  server->n_free_relays++;
}

bool http_relay_send(http_relay *self, const char *head, size_t size) {
  return send(self->source.descriptor, head, size, MSG_NOSIGNAL) == (ssize_t)size;
}

void http_relay_pause(http_relay *self, bool paused) {
  /* That the other end is closed is told whether asked for or not: once, where it cannot be dealt
   * with yet. */
  (void)http_source_watch(self->server, &self->source, paused ? (uint32_t)EPOLLET : EPOLLIN, false);
}

/* libmicrohttpd has closed its end, before or behind a whole reply. */
static void on_end(http_connection *client) {
  if (client->exchange != NULL && client->exchange->state == HTTP_STATE_WRITTEN) {
    client->closes = true;
    http_connection_replied(client);
    return;
  }
  if (client->exchange == NULL) {
    log_text(LOG_LEVEL_WARN, "a request was lost: no memory, or libmicrohttpd has refused it");
  }
  http_connection_cut_off(client);
}

/* libmicrohttpd has written all of the reply, and the client has taken it. */
static bool is_done(const http_relay *self) {
  const http_connection *client = self->client;
  int left = 0;
  return client->output_size == 0 && client->exchange != NULL &&
         client->exchange->state == HTTP_STATE_WRITTEN &&
         ioctl(self->source.descriptor, FIONREAD, &left) == 0 && left == 0;
}

void http_relay_flow(http_relay *self) {
  http_connection *client = self->client;
  char *piece = self->server->piece;
  if (client == NULL) { /* libmicrohttpd has no reason to say anything: it has closed */
    http_relay_close(self);
    return;
  }
  for (int i = 0; i < PIECES_AT_ONCE && client->output_size == 0; i++) {
    ssize_t n = recv(self->source.descriptor, piece, HTTP_PIECE, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
      on_end(client);
      return;
    }
    if (n > 0 && !http_connection_send(client, piece, (size_t)n)) {
      return;
    }
    if (n < HTTP_PIECE) {
      break; /* that was all there is */
    }
  }
  if (is_done(self)) {
    http_connection_replied(client);
  }
}
