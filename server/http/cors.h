/* Cross-origin requests: which pages' scripts may call, and the answer to a browser's question
 * before. */
#ifndef RR_SERVER_HTTP_CORS_H
#define RR_SERVER_HTTP_CORS_H

#include <stdbool.h>

#include "server/base/option_list.h"
#include "server/http/http.h"

/* Adds to every reply of the exchange what lets the page of its Origin header read it, if that
 * origin is allowed. */
void cors_admit(const option_list *origins, http_exchange *exchange);

/* Whether this is a browser's question before a request: OPTIONS with an origin and a method. */
bool cors_is_preflight(const option_list *origins, const http_exchange *exchange);

/* Answers it: 204, with what may be asked. */
void cors_answer_preflight(http_exchange *exchange, const char *methods);

#endif
