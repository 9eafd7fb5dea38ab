/* Error replies in the shape that the caller reads, with the failure counted. */
#ifndef RR_SERVER_REQUEST_ERROR_REPLY_H
#define RR_SERVER_REQUEST_ERROR_REPLY_H

#include "proto/dialect.h"
#include "proto/error.h"
#include "server/http/http.h"
#include "server/metrics/metrics.h"

/* Fills a reply with the error's status, its JSON and Retry-After where waiting helps; the caller
 * may add headers and sends it. dialect: NULL while it is not known. Never fails: without memory
 * the body is a constant one. */
void error_reply_fill(http_reply *reply, const http_exchange *exchange, const rr_dialect *dialect,
                      const rr_api_error *error);

/* Counts the failure and replies to the exchange. */
void error_reply_send(metrics *counters, http_exchange *exchange, const rr_dialect *dialect,
                      const rr_api_error *error);

/* The same with a message, before the dialect is known. */
void error_reply_send_text(metrics *counters, http_exchange *exchange, rr_api_error_kind kind,
                           const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
