#include "core/base/status.h"

#include <stdarg.h>
#include <stdio.h>

rr_status rr_fail(rr_error *err, rr_status status, const char *format, ...) {
  if (err != NULL) {
    va_list arguments;
    va_start(arguments, format);
    err->status = status;
    (void)vsnprintf(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
  }
  return status;
}

const char *rr_status_name(rr_status status) {
  switch (status) {
  case RR_OK: return "ok";
  case RR_ERR_MEMORY: return "memory";
  case RR_ERR_INPUT: return "input";
  case RR_ERR_IO: return "io";
  case RR_ERR_FORMAT: return "format";
  case RR_ERR_UNSUPPORTED: return "unsupported";
  case RR_ERR_NUMERIC: return "numeric";
  }
  return "unknown";
}
