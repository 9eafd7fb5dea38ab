#include "server/answer.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/tei.h"

void answer_fill_error(http_reply *reply, const rr_api_error *error) {
  *reply = (http_reply){.status = rr_api_error_status(error->kind), .content_type = "application/json"};
  reply->body = rr_tei_encode_error(error, &reply->size);
  if (reply->body == NULL) {
    reply->body = (char *)rr_tei_error_fallback(error->kind, &reply->size);
    reply->borrowed = true;
  }
}

void answer_error(metrics *counters, http_exchange *exchange, rr_api_error_kind kind, const char *format,
                  ...) {
  rr_api_error error = {.kind = kind};
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(error.message, sizeof error.message, format, arguments);
  va_end(arguments);
  http_reply reply;
  answer_fill_error(&reply, &error);
  counters->failures[kind]++;
  http_reply_to(exchange, &reply);
}
