/* HTTP through libmicrohttpd on the libuv loop; knows no route and no JSON.
 *
 * 1. Loop thread only.
 * 2. libmicrohttpd has no threads of its own, and no client's socket: internal.h tells how
 *    both are joined.
 * 3. An exchange is one request and its reply. It lives from the headers until `finished`, and once
 *    `respond` was called it lives at least until http_reply_to, whatever the client does.
 * 4. A request that is refused early is still read to its end (up to a bound) before it is
 *    answered, so that a client in the middle of sending sees the answer and not a broken pipe.
 * 5. While an exchange waits for its reply, its client is watched: `gone` tells that it left. Who
 *    leaves in the middle of a request ends the exchange.
 * 6. What a client does has a bound in time as a whole, however steadily it sends or reads a byte
 *    now and then.
 */
#ifndef RR_SERVER_HTTP_HTTP_H
#define RR_SERVER_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/base/budget.h"
#include "core/base/status.h"
#include "server/http/head.h"
#include "server/http/trace_context.h"
#include "server/observe/phases.h"

typedef struct http_server http_server;
typedef struct http_exchange http_exchange;

enum {
  HTTP_LISTENERS_MAX = 8,
  HTTP_NAME_BYTES = 160,
  HTTP_HEADERS_MAX = 14,
  HTTP_OWN_HEADERS_MAX = 4
};

typedef struct http_header {
  const char *name; /* static storage */
  char value[HTTP_NAME_BYTES];
} http_header;

/* `body` is rr_free'd by the server unless `borrowed` (static storage). */
typedef struct http_reply {
  int status;
  const char *content_type; /* static storage; NULL for an empty body */
  char *body;
  size_t size;
  bool borrowed;
  size_t n_headers;
  http_header headers[HTTP_HEADERS_MAX];
} http_reply;

/* A request's body, counted among all bodies until http_free_body. */
typedef struct http_body {
  http_server *server;
  char *data;
  size_t size;
  size_t capacity;
} http_body;

/* What exchange.c knows of an exchange, in this order. */
typedef enum http_exchange_state {
  HTTP_STATE_READING,  /* its body comes */
  HTTP_STATE_WAITING,  /* for http_reply_to */
  HTTP_STATE_REPLYING, /* libmicrohttpd has the reply */
  HTTP_STATE_WRITTEN   /* and is done with it: what is left is the client's to take */
} http_exchange_state;

struct http_exchange {
  char method[HTTP_METHOD_BYTES];  /* "-": the request line could not be read; then the path is so
                                      too */
  char path[HTTP_NAME_BYTES];      /* slashes in a row are one; cut if longer, and then no route */
  char request_id[TRACE_ID_BYTES]; /* the client's x-request-id, or a new one */
  char trace[TRACE_CONTEXT_BYTES]; /* of the client's traceparent, or "" */
  char parent[TRACE_PARENT_BYTES];
  char span[TRACE_PARENT_BYTES]; /* of this request in that trace; "" where no spans are made */
  uint8_t trace_flags;
  bool sampled;             /* the span is wanted */
  struct otlp_record *told; /* of the span, what headers say; NULL: none */
  char *body; /* what the client sent; freed after `finished`, or by http_release_body */
  size_t body_size;
  uint64_t received_bytes; /* of the body, kept or not */
  uint64_t received_at;    /* ns, when the headers were read */
  request_phases phases;   /* exchange.c's: read, write, the whole; the others are the handlers' */
  bool gone;               /* the client has left, as `gone` told */
  bool too_slow;           /* it was cut off, in the middle of request or reply */

  /* The handlers' own. */
  const struct page *page;            /* what the path offers to GET and HEAD; NULL: nothing */
  const struct rr_endpoint *endpoint; /* the same to POST */
  void *task;                         /* of a request for scores; NULL: none */
  int32_t priority;                   /* of the API key that was shown */
  const char *refusal;      /* for the log, of what has no task; static storage, or NULL */
  http_exchange *next_held; /* while it waits for the model */

  /* exchange.c's own. */
  http_server *server;
  void *connection;
  size_t body_capacity;
  size_t body_limit;
  size_t n_headers; /* of any reply to this request, by http_add_own_header */
  http_header headers[HTTP_OWN_HEADERS_MAX];
  http_exchange_state state;
  bool replied;                   /* http_reply_to was called */
  bool suspended;                 /* in libmicrohttpd */
  bool old;                       /* HTTP/1.0 */
  struct http_connection *client; /* NULL: it has gone */
  http_reply reply;
};

typedef struct http_handlers {
  void *context;
  /* The headers are there and well-formed. Returns how many bytes of body to keep; may refuse by
   * http_reply_to. */
  size_t (*accept)(void *context, http_exchange *exchange);
  /* The request is not HTTP (then it was not accepted before), or its body cannot be kept; must
   * call http_reply_to. */
  void (*reject)(void *context, http_exchange *exchange, http_fault fault);
  /* All of the request is there; calls http_reply_to now or later. Not called after a refusal. */
  void (*respond)(void *context, http_exchange *exchange);
  /* The client has left while its request waits for http_reply_to, which is still due, now or
   * later. At most once. */
  void (*gone)(void *context, http_exchange *exchange);
  /* The exchange is over; sent tells whether the reply went out whole. */
  void (*finished)(void *context, http_exchange *exchange, bool sent);
} http_handlers;

typedef struct http_config {
  const int *passed; /* sockets that listen already, instead of host, port and path; http_start
                        takes them over */
  size_t n_passed;   /* HTTP_LISTENERS_MAX at most; 0: none */
  const char *hostname;
  unsigned port;
  const char *unix_socket;  /* a path to listen on instead; NULL: host and port */
  size_t drain_limit;       /* bytes of a refused body that are read for the answer's sake */
  rr_budget *memory;        /* that takes all bodies, of which they may have half */
  unsigned max_connections; /* at most; fewer where descriptors are short */
  unsigned idle_seconds;    /* from a connection's opening, or the last reply, to the next request's
                               headers */
  unsigned client_seconds;  /* for the body from then on, and again for taking the reply */
} http_config;

/* Listens and serves. Errors: RR_ERR_INPUT (host, path), RR_ERR_IO (address in use, ...),
 * RR_ERR_MEMORY. */
rr_status http_start(uv_loop_t *loop, const http_config *config, const http_handlers *handlers,
                     http_server **ret_server, rr_error *err);

/* The port listened on; 0 for a socket in the file system, and where sockets were passed. */
unsigned http_port(const http_server *server);

/* A request header's value, or NULL. Valid until http_reply_to returns, and no longer to be had in
 * `finished`. */
const char *http_header_of(const http_exchange *exchange, const char *name);

/* All of a header's values, joined with commas; false where there is none, or no room for it. */
bool http_join_header(http_exchange *exchange, const char *name, char *ret_value, size_t size);

/* Answers; once an exchange. Takes over the reply's body, and frees the request's. */
void http_reply_to(http_exchange *exchange, const http_reply *reply);

/* Frees the request's body before the exchange is over. */
void http_release_body(http_exchange *exchange);

/* Hands the body over, which may then outlive the exchange; http_free_body must be called before
 * http_close. */
http_body http_take_body(http_exchange *exchange);
void http_free_body(http_body *body); /* an empty one is allowed */

/* Adds a header to a reply; ignored beyond HTTP_HEADERS_MAX. */
void http_add_header(http_reply *reply, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds a header to whatever reply the exchange gets; ignored beyond HTTP_OWN_HEADERS_MAX. */
void http_add_own_header(http_exchange *exchange, const char *name, const char *value);

/* From here on every reply says `Connection: close` and ends its connection; new ones are let
 * in. */
void http_ask_to_leave(http_server *server);

/* The same, and closes the listening sockets, once who waits there was let in. Of a passed one
 * others may keep a descriptor: who comes then waits for them. */
void http_stop_accepting(http_server *server);

/* Cuts off the clients that have not yet sent all of their request; their exchanges finish soon
 * after. */
void http_drop_receiving(http_server *server);

/* Bytes of all bodies that are here. */
size_t http_buffered(const http_server *server);

/* Memory that a connection may take beside its request's, in bytes. */
size_t http_connection_bytes(void);

/* Exchanges not yet finished. */
size_t http_active(const http_server *server);

/* Whether there is a connection that has not had a request yet. */
bool http_expects_first(const http_server *server);

/* Whether a client is still given the time to take its last reply: 2 seconds at most. */
bool http_ends_gently(const http_server *server);

/* Ends all connections; http_active must be 0, or no exchange may be waiting for http_reply_to. The
 * memory is freed once the loop has closed the handles. NULL is allowed. */
void http_close(http_server *server);

#endif
