/* A connection to the server behind the shared cache, on the loop: looked up, connected, read from,
 * written to. Knows no command.
 *
 * 1. Loop thread only. Nothing here waits: names are looked up by a thread of the pool.
 * 2. After redis_link_close nothing is told until it is opened anew; that it is closed is told by
 *    `down` only where the other side or the network did it. */
#ifndef RR_SERVER_REDIS_LINK_H
#define RR_SERVER_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "server/redis/address.h"

enum { REDIS_LINK_CHUNK = 16384 /* bytes read at once */ };

typedef struct redis_link_events {
  void *context;
  void (*up)(void *context);
  void (*received)(void *context, const char *bytes, size_t size);
  void (*down)(void *context, const char *reason);
} redis_link_events;

typedef struct redis_link {
  uv_loop_t *loop;
  const redis_address *address;
  redis_link_events events;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } socket;
  uv_connect_t connecting;
  uv_getaddrinfo_t lookup;
  unsigned turn; /* which of a name's addresses is next */
  bool wanted;   /* opened and not closed */
  bool looking_up;
  bool lingers;    /* a name is looked up for nobody: that has begun, and cannot be ended */
  bool has_socket; /* until its close is through */
  char chunk[REDIS_LINK_CHUNK];
} redis_link;

/* In the caller's memory, at a fixed address; address is borrowed. */
void redis_link_init(redis_link *self, uv_loop_t *loop, const redis_address *address,
                     const redis_link_events *events);

/* Begins to connect: `up` or `down` follow, also `down` at once. */
void redis_link_open(redis_link *self);

/* Takes `bytes`, to be freed by rr_free, and sends them. False where there is no memory, or the
 * connection is lost. */
bool redis_link_write(redis_link *self, char *bytes, size_t size);

/* Bytes that the other side has not taken yet. */
size_t redis_link_waiting(const redis_link *self);

void redis_link_close(redis_link *self);

/* Whether a closed one still is somewhere in the C library, which may take seconds: the loop would
 * run until then, and the memory is not to be freed. */
bool redis_link_lingers(const redis_link *self);

#endif
