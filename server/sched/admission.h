/* Who is let in: whether a request can be computed in its time, and whether the queue has room for
 * it. Pure.
 *
 * 1. What counts is the work that goes before the request under the batcher's order, not all that
 *    waits: a small request passes a large one, and is not refused on its account.
 * 2. An idle server lets everything in: that costs nobody anything, and keeps a wrong estimate from
 *    refusing for ever.
 * 3. A request that no wait could make fit is let in for as much as can be done, unless it wants
 *    all or nothing.
 */
#ifndef RR_SERVER_SCHED_ADMISSION_H
#define RR_SERVER_SCHED_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/sched/batcher.h"
#include "server/sched/estimate.h"

#define ADMISSION_NO_DEADLINE UINT64_MAX

typedef enum admission_verdict {
  ADMISSION_GRANTED,
  ADMISSION_REQUESTS, /* as many requests as are allowed are here */
  ADMISSION_TOKENS,   /* as many tokens as are allowed wait */
  ADMISSION_WAIT,     /* it would wait longer than is allowed */
  ADMISSION_DEADLINE, /* it would be done too late, or hardly begun where a part will do */
  ADMISSION_NEVER,    /* it would be done too late even if nothing else were here */
  ADMISSION_MEMORY,   /* requests have all the memory that they may; not decided here */
  ADMISSION_VERDICTS
} admission_verdict;

typedef struct admission_limits {
  uint64_t max_wait;   /* ns */
  uint64_t max_tokens; /* waiting for a worker */
} admission_limits;

/* What the request meets. */
typedef struct admission_queue {
  workload before;  /* of others, not begun, that goes first */
  workload waiting; /* all that is not begun */
  uint64_t running; /* ns that micro-batches under way will need yet, over all workers */
  uint64_t delay;   /* ns before the request could be begun whatever the workers do */
  bool idle;        /* nothing waits and nothing runs */
  unsigned workers;
  size_t batch_tokens; /* of a micro-batch at most */
} admission_queue;

typedef struct admission_request {
  workload own;
  uint64_t time_left; /* ns; or ADMISSION_NO_DEADLINE */
  bool all_or_nothing;
} admission_request;

typedef struct admission {
  admission_verdict verdict;
  uint64_t predicted;   /* ns until all of it is computed */
  uint64_t alone;       /* ns of that if nothing else were here */
  uint64_t retry_after; /* ns after which it would be let in if nobody else came; 0 where granted or
                           never */
} admission;

admission admission_decide(const admission_limits *limits, const admission_queue *queue,
                           const admission_request *request, const estimate *speed);

/* A request that comes now, and what is known beside the batcher. */
typedef struct admission_outlook {
  admission_request request;
  int32_t priority;
  workload ahead; /* further work that goes before it */
  uint64_t delay; /* ns before it could be begun whatever the workers do */
  bool busy;      /* requests are on their way to the batcher */
} admission_outlook;

/* The same from a batcher that has an estimate. running: as above; working: whether any worker is.
 * What refuses is asked again for later, as the order will be then: what waits longer is passed by
 * less. */
admission admission_ask(const admission_limits *limits, const batcher *queue, uint64_t running,
                        bool working, const admission_outlook *outlook);

/* Whole seconds for Retry-After: at least 1. */
unsigned admission_seconds(uint64_t ns);

#endif
