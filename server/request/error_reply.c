#include "server/request/error_reply.h"

#include <stdarg.h>
#include <stdio.h>

void error_reply_fill(http_reply *reply, const http_exchange *exchange, const rr_dialect *dialect,
                      const rr_api_error *error) {
  rr_error_shape shape = rr_error_shape_of(exchange->path, dialect);
  unsigned retry_after =
      error->retry_after > 0 ? error->retry_after : rr_api_error_retry_after(error->kind);
  *reply =
      (http_reply){.status = rr_api_error_status(error->kind), .content_type = "application/json"};
  reply->body = rr_error_encode(shape, error, &reply->size);
  if (reply->body == NULL) {
    reply->body = (char *)rr_error_fallback(shape, error->kind, &reply->size);
    reply->borrowed = true;
  }
  if (retry_after > 0) {
    http_add_header(reply, "Retry-After", "%u", retry_after);
  }
}

void error_reply_send(metrics *counters, http_exchange *exchange, const rr_dialect *dialect,
                      const rr_api_error *error) {
  http_reply reply;
  error_reply_fill(&reply, exchange, dialect, error);
  counters->failures[error->kind]++;
  http_reply_to(exchange, &reply);
}

void error_reply_send_text(metrics *counters, http_exchange *exchange, rr_api_error_kind kind,
                           const char *format, ...) {
  rr_api_error error = {.kind = kind};
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(error.message, sizeof error.message, format, arguments);
  va_end(arguments);
  error_reply_send(counters, exchange, NULL, &error);
}
