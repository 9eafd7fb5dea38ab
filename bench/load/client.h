/* Connections to one server, HTTP/1.1, on a libuv loop.
 *
 * 1. All of it runs on the loop's thread.
 * 2. A request takes an idle connection, or a new one; each connection has one request at a time.
 * 3. Every request that was taken ends with exactly one call of its callback, never within
 *    client_send.
 * 4. Nothing is sent a second time: a connection that the server closes under a request is a
 *    failure and is told as one.
 */
#ifndef RR_BENCH_LOAD_CLIENT_H
#define RR_BENCH_LOAD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "bench/load/outcome.h"

typedef struct client client;

typedef struct client_config {
  struct sockaddr_storage address;
  uint64_t timeout_ms; /* of a request, from client_send on; at least 1 */
  size_t max_answers;  /* bytes of answers, those of all connections together */
} client_config;

typedef struct client_outcome {
  outcome_kind kind;
  unsigned status;  /* OUTCOME_ANSWER */
  const char *body; /* OUTCOME_ANSWER; during the callback */
  size_t size;
} client_outcome;

typedef void (*client_callback)(void *tag, const client_outcome *outcome);

/* The config is copied. NULL: out of memory. */
client *client_create(uv_loop_t *loop, const client_config *config);

/* Sends size bytes, a whole request; they are the client's and freed with free() as soon as they
 * are written. False: out of memory, the callback will not run, and the bytes are the caller's
 * still. */
bool client_send(client *self, char *bytes, size_t size, client_callback callback, void *tag);

/* Ends every request as cancelled, closes every connection. */
void client_cancel(client *self);

/* As client_cancel; the memory goes once the loop has closed the connections, so run the loop after
 * it.
 */
void client_destroy(client *self);

#endif
