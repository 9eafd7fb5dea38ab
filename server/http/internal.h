/* What the parts of the HTTP server share. Each byte of a client goes through them in this order:
 *
 *   socket ─ http_connection ─ http_reading ─ (head) ─ http_relay ─ libmicrohttpd ─┐
 *                │                 └─────── (body) ───────────────────────────────┴─ http_exchange
 *                └───────────────── (reply) ── http_relay ─ libmicrohttpd ───────────────┘
 *
 * libmicrohttpd is given no client's socket. It is given one end of a pair of sockets (a relay)
 * and, by the other end, one well-formed request without a body at a time; it looks headers up,
 * makes replies, and suspends what waits. So what it takes wrongly, spins at or keeps silent about
 * (head.h) never reaches it; what a client sends is read by reading.c first, within bounds a turn
 * of the loop; and what a client's socket tells is seen here at once.
 *
 * All sockets, clients' and relays', are in one epoll descriptor, which the loop watches as one. */
#ifndef RR_SERVER_HTTP_INTERNAL_H
#define RR_SERVER_HTTP_INTERNAL_H

#include <microhttpd.h>

#include "server/http/chunks.h"
#include "server/http/head.h"
#include "server/http/http.h"
#include "server/http/unix_socket.h"

enum {
  HTTP_PIECE = 64 * 1024,      /* bytes that a socket is read of at once */
  HTTP_INPUT_FIRST = 16 * 1024 /* of a connection's input, which most heads fit into */
};

/* What a connection's client is doing. */
typedef enum http_connection_state {
  HTTP_HEADERS, /* nothing, or sending headers */
  HTTP_BODY,
  HTTP_WAITING, /* for the reply */
  HTTP_REPLYING,
  HTTP_ENDING, /* has its reply; the rest is read over, lest the kernel take the reply back */
  HTTP_CONNECTION_STATES
} http_connection_state;

/* What an event is of: the beginning of both of the following. */
typedef struct http_source {
  bool relay;
  bool dead; /* closed; its memory goes once no event that is at hand can be of it */
  int descriptor;
  struct http_source *next_dead;
} http_source;

/* One pair of sockets; of one request at a time, else in the list of the free ones. */
typedef struct http_relay {
  http_source source; /* our end */
  http_server *server;
  struct http_connection *client; /* NULL: none */
  bool ended;                     /* libmicrohttpd has closed its end */
  struct http_relay *next_free;
} http_relay;

typedef struct http_connection {
  http_source source;
  http_server *server;
  bool local; /* a socket in the file system */
  bool used;  /* it has had a request */
  http_connection_state state;
  uint32_t events;              /* that are watched for */
  uint64_t since;               /* ns, of the state */
  struct http_connection *next; /* in the list of its state */
  struct http_connection *previous;

  char *input; /* read and not yet taken: heads, and what came with them */
  size_t input_size;
  size_t input_capacity;
  size_t scanned;       /* of the head that has not ended */
  size_t input_claimed; /* bytes of the requests' memory that a long input takes */

  http_head head;   /* of the request under way; its pointers are good no longer */
  http_fault fault; /* why that is refused */
  http_chunks chunks;
  uint64_t body_left;      /* bytes of HTTP_SIZED */
  bool closes;             /* the connection ends with the reply under way */
  bool unread;             /* of the request under way not all will be read */
  http_relay *relay;       /* of the request under way; NULL: none */
  http_exchange *exchange; /* NULL: none, or libmicrohttpd has not yet told of it */

  char *output; /* of the reply, which the client has not taken */
  size_t output_size;
} http_connection;

/* In the order of their `since`. */
typedef struct http_connection_list {
  http_connection *first;
  http_connection *last;
} http_connection_list;

typedef struct http_listener {
  http_server *server;
  int descriptor; /* -1: closed */
  uv_poll_t poll;
} http_listener;

struct http_server {
  http_listener listeners[HTTP_LISTENERS_MAX];
  size_t n_listeners;
  http_handlers handlers;
  http_config config;
  unsigned port;
  unix_socket place; /* path NULL: none */
  struct MHD_Daemon *daemon;
  uv_poll_t poll;   /* of its epoll descriptor */
  uv_timer_t timer; /* what it waits for */
  uv_idle_t spin;   /* it has something to do now */
  uv_poll_t watch;  /* of `watched` */
  uv_timer_t tick;
  int watched; /* an epoll descriptor with all connections' and relays' sockets; -1: none */
  unsigned open_handles; /* not yet closed by the loop, once http_close has run */
  size_t active;
  size_t n_connections;
  size_t max_connections;
  bool full; /* nobody is let in until a connection has ended */
  http_connection_list connections[HTTP_CONNECTION_STATES];
  http_relay *free_relays;
  size_t n_free_relays;
  size_t n_spare_relays; /* of them, that were free all the time since the last tick */
  http_relay *starting;  /* libmicrohttpd is being told of it */
  http_source *dead;
  size_t buffered;        /* bytes of all bodies, and of heads where they are long */
  bool leaving;           /* connections end with their next reply */
  bool stopping;          /* nobody new is let in */
  char piece[HTTP_PIECE]; /* what was just read of a socket */
};

/* --- http.c --- */

/* Has libmicrohttpd look at its connections soon, from the loop. */
void http_wake(http_server *self);

/* The same at once, if it is to look soon. Not from within its callbacks. */
void http_drive_if_woken(http_server *self);

/* Connections may be let in again. */
void http_listen_on(http_server *self);

/* libmicrohttpd's callbacks for a request, with the server as their context. */
enum MHD_Result http_on_access(void *context, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **state);
void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code);

/* --- connection.c --- */

bool http_connections_start(http_server *self, uv_loop_t *loop);

/* Cuts all of them off, and the relays; the second frees what the first, and libmicrohttpd since,
 * have left. */
void http_connections_close(http_server *self);
void http_connections_bury(http_server *self);

/* Takes the socket over. */
void http_connection_open(http_server *self, int descriptor, bool local);

/* Whether its socket is to be read. */
void http_connection_read(http_connection *self, bool wanted);

void http_connection_enter(http_connection *self, http_connection_state state);

/* Sends as much as the socket takes and keeps the rest, of which there was none. False where the
 * connection is lost, and
 * was closed. */
bool http_connection_send(http_connection *self, const char *data, size_t size);

/* A line without content, which fits, or it is not sent. */
void http_connection_send_line(http_connection *self, const char *line);

/* The exchange has its whole reply: on to the next request, or the end. */
void http_connection_replied(http_connection *self);

/* Ends it at once, and the exchange where that waits for no handler. */
void http_connection_cut_off(http_connection *self);

/* Watches for `events` of the source; 0 for a new one, and none of a closed one. */
bool http_source_watch(http_server *server, http_source *source, uint32_t events, bool fresh);

/* Closes the descriptor; the memory goes later. */
void http_source_close(http_server *server, http_source *source);

/* --- reading.c: what clients send --- */

/* The socket has something, or its end. */
void http_read(http_connection *self);

/* Takes what was read of the head that is next. */
void http_read_head(http_connection *self);

/* The exchange is there: takes what was read of its body, and goes on with the rest. */
void http_read_body(http_connection *self);

/* --- relay.c --- */

/* One without a client; NULL: no memory or descriptor. */
http_relay *http_relay_take(http_server *self);

/* Gives libmicrohttpd a head; false where it does not fit. */
bool http_relay_send(http_relay *self, const char *head, size_t size);

/* Hands on what libmicrohttpd has written, as much as the client takes, in a few pieces. */
void http_relay_flow(http_relay *self);

/* The client takes no more for now, or again. */
void http_relay_pause(http_relay *self, bool paused);

/* Its request is over: for the next one, or to be closed. */
void http_relay_release(http_relay *self);
void http_relay_close(http_relay *self);

/* Closes the free ones that nobody has needed since the last call. */
void http_relays_trim(http_server *self);

/* libmicrohttpd's callback for a connection, with the server as its context. */
void http_on_relay(void *context, struct MHD_Connection *connection, void **state,
                   enum MHD_ConnectionNotificationCode code);

/* --- exchange.c --- */

/* Takes some of the memory of all requests, for one that holds so many bytes of it already. */
bool http_take_memory(http_server *self, size_t held, size_t bytes);
void http_give_memory(http_server *self, size_t bytes);

/* Takes a piece of the body, or drops it where the reply is known. False where there is no use in
 * reading on: the body
 * then counts as ended. */
bool http_exchange_receive(http_exchange *self, const char *data, size_t size);

/* The room behind the body that is taken already, for bytes straight from the socket; NULL: none.
 * What was put there is told by http_exchange_received, before anything else is done with the
 * exchange. */
char *http_exchange_spare(const http_exchange *self, size_t *ret_size);
void http_exchange_received(http_exchange *self, size_t size);

/* All of the request is there, or as much as will be read. */
void http_exchange_end_body(http_exchange *self);

/* Refuses it for what its body is; nothing more of that is read. */
void http_exchange_refuse(http_exchange *self, http_fault fault);

/* The client has gone, or its time is over: the exchange no longer has a connection. Frees it
 * unless libmicrohttpd or a
 * handler still has to let go. */
void http_exchange_lose(http_exchange *self);

/* The reply went out whole. Frees it. */
void http_exchange_finish(http_exchange *self, bool sent);

#endif
