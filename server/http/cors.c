#include "server/http/cors.h"

#include <string.h>

/* Whether a list with commas names the origin, or any ("*"). */
static bool list_names(const char *list, const char *origin, bool *ret_any) {
  size_t length = strlen(origin);
  while (*list != '\0') {
    list += strspn(list, ", \t");
    size_t size = strcspn(list, ", \t");
    if (size == 1 && list[0] == '*') {
      *ret_any = true;
      return true;
    }
    if (size > 0 && size == length && strncmp(list, origin, size) == 0) {
      return true;
    }
    list += size;
  }
  return false;
}

static bool allows(const option_list *origins, const char *origin, bool *ret_any) {
  *ret_any = false;
  for (size_t i = 0; i < origins->n; i++) {
    if (list_names(origins->items[i], origin, ret_any)) {
      return true;
    }
  }
  return false;
}

void cors_admit(const option_list *origins, http_exchange *exchange) {
  const char *origin = http_header_of(exchange, "Origin");
  bool any;
  if (origins->n == 0) {
    return;
  }
  if (origin != NULL && strlen(origin) < HTTP_NAME_BYTES && allows(origins, origin, &any)) {
    http_add_own_header(exchange, "Access-Control-Allow-Origin", any ? "*" : origin);
    http_add_own_header(
        exchange, "Access-Control-Expose-Headers",
        "x-request-id, x-truncated-count, x-compute-tokens, x-total-time, retry-after, "
        "x-rerank-degraded, server-timing");
    http_add_own_header(exchange, "Timing-Allow-Origin",
                        any ? "*" : origin); /* else pages cannot see Server-Timing */
  }
  http_add_own_header(exchange, "Vary", "Origin");
}

bool cors_is_preflight(const option_list *origins, const http_exchange *exchange) {
  return origins->n > 0 && strcmp(exchange->method, "OPTIONS") == 0 &&
         http_header_of(exchange, "Origin") != NULL &&
         http_header_of(exchange, "Access-Control-Request-Method") != NULL;
}

void cors_answer_preflight(http_exchange *exchange, const char *methods) {
  http_reply reply = {.status = 204};
  http_add_header(&reply, "Access-Control-Allow-Methods", "%s", methods);
  http_add_header(
      &reply, "Access-Control-Allow-Headers",
      "authorization, content-type, content-encoding, x-request-id, traceparent, tracestate, "
      "x-request-timeout-ms, x-request-on-timeout, x-request-priority");
  http_add_header(&reply, "Access-Control-Max-Age", "%d", 86400);
  http_reply_to(exchange, &reply);
}
