/* A request's place in its trace, and what is told of it to a collector. Loop thread only. */
#ifndef RR_SERVER_OTLP_SPANS_H
#define RR_SERVER_OTLP_SPANS_H

#include <stdbool.h>

#include "server/http/http.h"
#include "server/observe/log.h"
#include "server/otlp/otlp.h"

typedef struct spans {
  const otlp_settings *settings;
  otlp *exporter; /* NULL: no spans are made, at no cost */
} spans;

/* Once the headers are read: names the request's span, and its trace where the caller has none, and
 * decides whether it is sent. */
void spans_begin(const spans *self, http_exchange *exchange);

/* Once the exchange is over, all its phases with it. `routed`: the path is one of the server's. */
void spans_end(const spans *self, http_exchange *exchange, const log_request_fields *fields,
               bool routed, bool sent);

/* "host", "host:port", "[v6]:port" as a Host header has it; "" and 0 for what is none. Pure. */
void spans_split_host(const char *given, char ret_host[OTLP_TEXT_BYTES], unsigned *ret_port);

#endif
