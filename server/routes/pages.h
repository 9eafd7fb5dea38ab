/* What GET answers: health, metrics, facts about the model, the description of the API. */
#ifndef RR_SERVER_ROUTES_PAGES_H
#define RR_SERVER_ROUTES_PAGES_H

#include <stdbool.h>

#include "server/observe/log.h"
#include "server/routes/route.h"

typedef struct page {
  const char *path;
  bool open;       /* needs no key, and no model */
  log_level level; /* of its log lines: probes are for debugging only */
  void (*respond)(router *self, http_exchange *exchange);
} page;

/* The page at this path, or NULL. Static storage. */
const page *page_at(const char *path);

#endif
