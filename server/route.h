/* Paths and methods, and who may call them. Runs on the loop's thread. */
#ifndef RR_SERVER_ROUTE_H
#define RR_SERVER_ROUTE_H

#include <stdbool.h>

#include "server/http.h"
#include "server/load.h"
#include "server/options.h"
#include "server/rerank.h"

typedef struct router {
  const options *options;
  const model_load *load;
  rerank_service *rerank;
  metrics *metrics;
  bool ready;    /* a forward pass has run */
  bool stopping; /* SIGTERM was seen */
} router;

/* The HTTP server's handlers, with the router as their context. */
http_handlers route_handlers(router *self);

#endif
