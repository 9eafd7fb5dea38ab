#include "proto/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/base/redact.h"

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

static void fill(rr_api_error *error, rr_api_error_kind kind, const char *field, const char *format,
                 va_list arguments) {
  error->kind = kind;
  error->retry_after = 0;
  (void)snprintf(error->field, sizeof error->field, "%s", field);
  rr_redact(RR_REDACT_QUOTED, error->logged, sizeof error->logged, format, arguments);
  (void)vsnprintf(error->message, sizeof error->message, format, arguments);
}

bool rr_api_fail(rr_api_error *ret_error, rr_api_error_kind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fill(ret_error, kind, "", format, arguments);
  va_end(arguments);
  return false;
}

bool rr_api_fail_field(rr_api_error *ret_error, rr_api_error_kind kind, const char *field,
                       const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fill(ret_error, kind, field, format, arguments);
  va_end(arguments);
  return false;
}
