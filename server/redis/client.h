/* The shared cache: scores that replicas of one model keep for each other in a server that speaks
 * RESP (Valkey, Redis).
 *
 * 1. Loop thread only, but for redis_client_is_up.
 * 2. A look-up is one MGET. It ends with its answer or after the time-out, whichever is first, by
 *    `done`; or, where it cannot be asked, at once, by redis_client_ask's result. That is the most
 *    that the server delays a request.
 * 3. The connection is made and greeted in the background, and asked only while redis_breaker says
 *    so. When it goes, all look-ups end at once.
 * 4. Scores are written in the background, REDIS_STORE_STEP at a time so that no look-up waits
 *    behind many of them. What waits is bounded in bytes; what does not fit is dropped and counted.
 * 5. Bounds: look-ups and steps under way together REDIS_OWED_MAX, those included whose answer
 *    nobody waits for any more; bytes not taken by the cache server REDIS_WAITING_MAX, beyond which
 *    nothing is asked; keys of a look-up REDIS_KEYS_MAX.
 * 6. A line in the log when the state changes, none for a request. */
#ifndef RR_SERVER_REDIS_CLIENT_H
#define RR_SERVER_REDIS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "server/redis/address.h"
#include "server/redis/commands.h"
#include "server/redis/counters.h"
#include "server/redis/reader.h"

enum { REDIS_KEYS_MAX = 1024, REDIS_OWED_MAX = 1024, REDIS_WAITING_MAX = 4 << 20 };

typedef struct redis_client redis_client;

/* Both borrowed. */
typedef struct redis_client_config {
  const redis_address *address;
  const redis_commands *commands;
  uint64_t timeout_ms;
} redis_client_config;

/* One request's question, in the caller's memory, which others leave alone until `done` or a
 * cancel. */
typedef struct redis_lookup {
  char *command; /* by redis_commands_question; the client takes it and leaves NULL, or the caller
                    frees it */
  size_t command_size;
  redis_answer
      *answers; /* n, cleared by the caller; those of an answer that came in part may be filled */
  size_t n;
  void (*done)(struct redis_lookup *self, bool answered);

  /* The client's own. */
  uint64_t asked_at;         /* ns */
  struct redis_lookup *next; /* in the order of asking */
  struct redis_lookup *before;
  size_t place; /* among what is owed */
} redis_lookup;

/* Counts in *counters, which belongs to the loop. Begins nothing. NULL when memory or descriptors
 * are out. */
redis_client *redis_client_create(uv_loop_t *loop, const redis_client_config *config,
                                  redis_metrics *counters);

/* Begins to connect. */
void redis_client_start(redis_client *self);

/* Ends look-ups, drops what is not written and closes the handles; the loop has to run until they
 * are. */
void redis_client_close(redis_client *self);

/* Whether its name is being looked up all the same, which nothing ends: whoever does not wait for
 * that stops the loop and never destroys the client. NULL is allowed, as in the next. */
bool redis_client_lingers(const redis_client *self);
void redis_client_destroy(redis_client *self); /* after that */

/* Whether it is worth making keys. Any thread. */
bool redis_client_is_up(const redis_client *self);

/* False: it is not asked. */
bool redis_client_ask(redis_client *self, redis_lookup *lookup);

/* Nobody waits for the answer any more. Of one that was asked and is not done. */
void redis_client_cancel(redis_client *self, redis_lookup *lookup);

/* Takes commands that write n scores, by redis_commands_stores. */
void redis_client_store(redis_client *self, char *stores, size_t n);

/* Brings the gauges among the counters up to date. */
void redis_client_gauge(redis_client *self);

#endif
