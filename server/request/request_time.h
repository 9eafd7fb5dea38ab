/* What a request wishes of its time: from its headers, its body, its key and the server's defaults.
 *
 * `timeout_ms` or the header x-request-timeout-ms: milliseconds from when the headers were read;
 * the shorter one counts. `on_timeout` or x-request-on-timeout: "partial" or "error"; `priority` or
 * x-request-priority: a whole number, lower goes earlier; of both the body's counts. A key's
 * priority is the best that its requests get: theirs only adds.
 */
#ifndef RR_SERVER_REQUEST_REQUEST_TIME_H
#define RR_SERVER_REQUEST_REQUEST_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/error.h"
#include "proto/rerank.h"
#include "server/http/http.h"

typedef struct request_time {
  size_t timeout_ms; /* 0: none */
  rr_on_timeout on_timeout;
  int64_t priority;
} request_time;

/* Reads the headers. False with *ret_error filled where one is not valid. Loop thread only. */
bool request_time_read(const http_exchange *exchange, request_time *ret_schedule,
                       rr_api_error *ret_error);

/* Adds what the body says. */
request_time request_time_merge(const request_time *headers, const rr_rerank_request *request);

/* When what is there must be answered, to be with the client in time: ns; 0: never. A sixteenth of
 * the time, 10 ms at most, is kept for the way back. */
uint64_t request_time_cut(const request_time *self, size_t default_timeout_ms,
                          uint64_t received_at);

/* Steps of the batcher; of_key: API_KEY_NO_PRIORITY, or the key's. */
int32_t request_time_priority(const request_time *self, int32_t of_key);

#endif
