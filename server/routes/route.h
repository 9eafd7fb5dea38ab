/* Paths and methods, and who may call them. Loop thread only. */
#ifndef RR_SERVER_ROUTES_ROUTE_H
#define RR_SERVER_ROUTES_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "server/http/api_keys.h"
#include "server/http/http.h"
#include "server/models/load.h"
#include "server/observe/loop_watch.h"
#include "server/observe/slow_log.h"
#include "server/options/options.h"
#include "server/otlp/spans.h"
#include "server/request/hold.h"
#include "server/request/rerank.h"

typedef struct router {
  const options *options;
  const model_load *load;
  rerank_service *rerank;
  metrics *metrics;
  spans spans;
  const loop_watch *watch;
  const api_keys *keys; /* may be replaced between two events of the loop */
  int64_t started;      /* seconds since 1970 */
  hold held;            /* requests for scores, until `ready` */
  bool ready;           /* a forward pass has run */
  bool stopping;        /* SIGTERM was seen; requests are answered all the same */
  slow_log slow;
} router;

/* The HTTP server's handlers, with the router as their context. */
http_handlers route_handlers(router *self);

/* 503: the model is still loading, and what that is at. */
void route_answer_loading(router *self, http_exchange *exchange);

/* Holds nobody any more: who is held is served, if `ready`, or refused. */
void route_release(router *self);

#endif
