#include "proto/error.h"

#include <stdarg.h>
#include <stdio.h>

int rr_api_error_status(rr_api_error_kind kind) {
  switch (kind) {
  case RR_API_EMPTY:
  case RR_API_MALFORMED: return 400;
  case RR_API_UNAUTHORIZED: return 401;
  case RR_API_NOT_FOUND: return 404;
  case RR_API_METHOD: return 405;
  case RR_API_TOO_LARGE: return 413;
  case RR_API_MEDIA_TYPE: return 415;
  case RR_API_VALIDATION:
  case RR_API_TOKENIZER: return 422;
  case RR_API_BACKEND: return 424;
  case RR_API_OVERLOADED: return 429;
  case RR_API_UNHEALTHY:
  case RR_API_MEMORY: return 503;
  case RR_API_TIMEOUT: return 504;
  case RR_API_TARGET: return 414;
  case RR_API_EXPECTATION: return 417;
  case RR_API_HEADERS: return 431;
  case RR_API_NOT_KNOWN: return 501;
  case RR_API_VERSION: return 505;
  }
  return 500;
}

unsigned rr_api_error_retry_after(rr_api_error_kind kind) {
  return kind == RR_API_OVERLOADED || kind == RR_API_UNHEALTHY || kind == RR_API_MEMORY ? 1 : 0;
}

bool rr_api_fail(rr_api_error *ret_error, rr_api_error_kind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  ret_error->kind = kind;
  ret_error->retry_after = 0;
  ret_error->field[0] = '\0';
  (void)vsnprintf(ret_error->message, sizeof ret_error->message, format, arguments);
  va_end(arguments);
  return false;
}

bool rr_api_fail_field(rr_api_error *ret_error, rr_api_error_kind kind, const char *field,
                       const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  ret_error->kind = kind;
  ret_error->retry_after = 0;
  (void)snprintf(ret_error->field, sizeof ret_error->field, "%s", field);
  (void)vsnprintf(ret_error->message, sizeof ret_error->message, format, arguments);
  va_end(arguments);
  return false;
}
