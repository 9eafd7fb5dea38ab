/* When a request was at what: for its reply's Server-Timing, its log line, metrics, and spans.
 *
 * 1. Times are ns by the monotonic clock, but for `wall`; 0 stands for never.
 * 2. An exchange's phases belong to the loop's thread. Those of the threads come into it when the
 *    reply is made, so that all that will be known is there when the exchange has finished.
 * 3. Phases follow one another and never overlap; what is between two of them is waiting for the
 *    loop's thread.
 * 4. Where a deadline, or the client's leaving, came while a thread of the pool was at the body,
 *    `parse` stands for tokenizing too: nobody looks into what that thread still writes. After
 *    PHASE_RESUME it is `tokenize`, for encoding too.
 */
#ifndef RR_SERVER_OBSERVE_PHASES_H
#define RR_SERVER_OBSERVE_PHASES_H

#include <stddef.h>
#include <stdint.h>

typedef enum request_phase {
  PHASE_READ,     /* from the headers to the body's end */
  PHASE_POOL,     /* waiting for a thread of the pool */
  PHASE_PARSE,    /* unpacking and decoding the body */
  PHASE_SHARE,    /* asking the shared cache: from the making of the keys until its answer, or until
                     nobody waits for that */
  PHASE_RESUME,   /* waiting for a thread of the pool again, thereafter */
  PHASE_TOKENIZE, /* and looking up what is known, in memory and in files; what was asked for in
                     PHASE_SHARE is in that */
  PHASE_QUEUE,    /* waiting for a worker: until its first micro-batch began */
  PHASE_COMPUTE,  /* until the last one's end; others' micro-batches may have been between */
  PHASE_ENCODE,   /* ranking, encoding and packing the reply */
  PHASE_WRITE,    /* from the handing over of the reply until the socket has all of it */
  REQUEST_PHASES
} request_phase;

typedef struct phase_span {
  uint64_t begin; /* 0: the request was never in it */
  uint64_t end;   /* 0: it still is */
} phase_span;

typedef struct request_phases {
  uint64_t begun; /* the headers were read */
  uint64_t ended; /* the reply is sent, or never will be; 0 before */
  uint64_t wall;  /* ns since 1970 at `begun` */
  phase_span of[REQUEST_PHASES];
} request_phases;

/* "read", "pool", ... Static storage. */
const char *phase_name(request_phase which);

/* ns; 0 for what was never begun, or has not ended. */
static inline uint64_t phase_ns(phase_span span) {
  return span.begin == 0 || span.end <= span.begin ? 0 : span.end - span.begin;
}

/* Begins with the reading. */
void phases_begin(request_phases *self);

/* Ends what has not ended, and the whole. */
void phases_end(request_phases *self);

/* ns of the whole, up to now where it has not ended. */
uint64_t phases_total(const request_phases *self);

/* ns of the whole that no phase accounts for: hand-overs, and waiting for the loop's thread. Once
 * it has ended. */
uint64_t phases_between(const request_phases *self);

enum { PHASES_TEXT_MAX = 320 };

/* The value of a Server-Timing header (W3C): the phases that have ended, and the total up to now,
 * in ms. */
void phases_server_timing(const request_phases *self, char ret_text[PHASES_TEXT_MAX]);

#endif
