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
  }
  return 500;
}

const char *rr_api_error_type(rr_api_error_kind kind) {
  switch (kind) {
  case RR_API_EMPTY: return "Empty";
  case RR_API_TOKENIZER: return "Tokenizer";
  case RR_API_BACKEND: return "Backend";
  case RR_API_OVERLOADED:
  case RR_API_MEMORY: return "Overloaded";
  case RR_API_UNHEALTHY: return "Unhealthy";
  case RR_API_MALFORMED:
  case RR_API_VALIDATION:
  case RR_API_TOO_LARGE:
  case RR_API_MEDIA_TYPE:
  case RR_API_UNAUTHORIZED:
  case RR_API_NOT_FOUND:
  case RR_API_METHOD: return "Validation";
  }
  return "Backend";
}

bool rr_api_fail(rr_api_error *ret_error, rr_api_error_kind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  ret_error->kind = kind;
  (void)vsnprintf(ret_error->message, sizeof ret_error->message, format, arguments);
  va_end(arguments);
  return false;
}
