/* Error replies in the dialect of the caller, with the failure counted. */
#ifndef RR_SERVER_ANSWER_H
#define RR_SERVER_ANSWER_H

#include "proto/error.h"
#include "server/http.h"
#include "server/metrics.h"

/* Fills a reply with the error's status and JSON; the caller may add headers and sends it. Never
 * fails: without memory the body is a constant one. */
void answer_fill_error(http_reply *reply, const rr_api_error *error);

/* Counts the failure and replies to the exchange. */
void answer_error(metrics *counters, http_exchange *exchange, rr_api_error_kind kind, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));

#endif
