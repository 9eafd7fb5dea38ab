/* When the shared cache is asked, and when it is tried again. Pure: no clock, no threads.
 *
 * 1. Asked only while it is closed. It opens when the connection is lost, or after
 *    REDIS_FAILURES_MAX look-ups in a row without a use: too late, or answered with an error.
 * 2. Open, a new connection is tried after a while, each time a longer one, up to REDIS_WAIT_MAX;
 *    the wait is a random part, a half at least, so that replicas do not come together. The
 *    connection has to answer greetings before the breaker closes: no request waits for a try.
 * 3. Only an answer to a look-up makes the next wait short again. What greets and then is silent is
 *    left alone for longer and longer. */
#ifndef RR_SERVER_REDIS_BREAKER_H
#define RR_SERVER_REDIS_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum { REDIS_FAILURES_MAX = 5 };

#define REDIS_WAIT_FIRST ((uint64_t)200 * 1000000) /* ns */
#define REDIS_WAIT_MAX ((uint64_t)10000 * 1000000)

typedef struct redis_breaker {
  bool closed;
  unsigned failures; /* of look-ups, in a row */
  unsigned tries;    /* connections since the last answer */
  uint64_t until;    /* ns: not before that the next connection */
} redis_breaker;     /* all zeros: open, to be tried at once */

/* The connection has answered the greetings. */
void redis_breaker_greeted(redis_breaker *self);

/* A look-up was answered in time. */
void redis_breaker_answered(redis_breaker *self);

/* A look-up was of no use. True: the breaker is open now, and the connection to be closed. chance:
 * a random number. */
bool redis_breaker_failed(redis_breaker *self, uint64_t now, uint32_t chance);

/* There is no connection: it was lost, or not to be had. */
void redis_breaker_lost(redis_breaker *self, uint64_t now, uint32_t chance);

#endif
