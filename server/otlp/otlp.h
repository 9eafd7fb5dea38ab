/* Spans to an OpenTelemetry collector, by OTLP over HTTP in JSON, from a thread of their own.
 *
 * 1. The queue is bounded; what does not fit is dropped and counted. Offering takes a lock that is
 *    never held for long, so that no collector, however slow, delays a request.
 * 2. A batch is tried a few times where a collector asks for it or does not answer, and then
 *    dropped and counted.
 * 3. At the end what is left gets OTLP_LAST_SECONDS in all, and the thread a second more to see
 *    that it is over; then it is left behind with its memory.
 */
#ifndef RR_SERVER_OTLP_OTLP_H
#define RR_SERVER_OTLP_OTLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "server/otlp/record.h"
#include "server/otlp/settings.h"

enum { OTLP_QUEUE_RECORDS = 2048, OTLP_BATCH_RECORDS = 64, OTLP_TRIES = 5, OTLP_LAST_SECONDS = 2 };

typedef struct otlp otlp;

/* Spans, since the start; each is counted once in the end. */
typedef struct otlp_stats {
  uint64_t exported;
  uint64_t dropped; /* the queue was full, memory was short, the end came first */
  uint64_t failed;  /* the collector did not take them */
} otlp_stats;

/* Memory, and libcurl: before any other thread runs. Borrows the settings, for good.
 * RR_ERR_MEMORY. */
rr_status otlp_create(const otlp_settings *settings, otlp **ret_otlp, rr_error *err);

/* Starts the thread. False where it cannot be. */
bool otlp_start(otlp *self);

/* Takes a copy. Any thread, before otlp_destroy. */
void otlp_offer(otlp *self, const otlp_record *record);

/* Any thread. */
void otlp_read_stats(otlp *self, otlp_stats *ret_stats);

/* Sends what is left, within OTLP_LAST_SECONDS, and frees all; once nothing is offered any more.
 * NULL is allowed, and one that never started. */
void otlp_destroy(otlp *self);

#endif
