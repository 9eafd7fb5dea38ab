#include "proto/error_body.h"

#include <string.h>

enum { INVALID_REQUEST = 422 };

const char rr_error_full_fallback[] =
    "{\"message\":\"request failed\",\"detail\":\"request failed\","
    "\"error\":{\"message\":\"request "
    "failed\",\"type\":\"server_error\",\"param\":null,\"code\":503}}";

static const char *type_of(rr_api_error_kind kind) {
  switch (kind) {
  case RR_API_UNAUTHORIZED: return "authentication_error";
  case RR_API_NOT_FOUND: return "not_found_error";
  case RR_API_OVERLOADED: return "rate_limit_error";
  case RR_API_BACKEND:
  case RR_API_MEMORY: return "server_error";
  case RR_API_UNHEALTHY: return "unavailable_error";
  case RR_API_TIMEOUT: return "timeout_error";
  case RR_API_EMPTY:
  case RR_API_MALFORMED:
  case RR_API_VALIDATION:
  case RR_API_TOKENIZER:
  case RR_API_TOO_LARGE:
  case RR_API_MEDIA_TYPE:
  case RR_API_METHOD:
  case RR_API_TARGET:
  case RR_API_EXPECTATION:
  case RR_API_HEADERS:
  case RR_API_NOT_KNOWN:
  case RR_API_VERSION: break;
  }
  return "invalid_request_error";
}

static void put_listed(const rr_api_error *error, rr_json_writer *writer) {
  rr_json_put_raw(writer, "[{\"loc\":[\"body\"");
  if (error->field[0] != '\0') {
    rr_json_put_raw(writer, ",");
    rr_json_put_string(writer, error->field);
  }
  rr_json_put_raw(writer, "],\"msg\":");
  rr_json_put_string(writer, error->message);
  rr_json_put_raw(writer, ",\"type\":");
  rr_json_put_string(writer, type_of(error->kind));
  rr_json_put_raw(writer, "}]");
}

void rr_error_put_full(const rr_api_error *error, bool listed, rr_json_writer *writer) {
  rr_json_put_raw(writer, "{\"message\":");
  rr_json_put_string(writer, error->message);
  rr_json_put_raw(writer, ",\"detail\":");
  if (listed && rr_api_error_status(error->kind) == INVALID_REQUEST) {
    put_listed(error, writer);
  } else {
    rr_json_put_string(writer, error->message);
  }
  rr_json_put_raw(writer, ",\"error\":{\"message\":");
  rr_json_put_string(writer, error->message);
  rr_json_put_raw(writer, ",\"type\":");
  rr_json_put_string(writer, type_of(error->kind));
  rr_json_put_raw(writer, ",\"param\":");
  if (error->field[0] == '\0') {
    rr_json_put_raw(writer, "null");
  } else {
    rr_json_put_string(writer, error->field);
  }
  rr_json_put_raw(writer, ",\"code\":");
  rr_json_put_unsigned(writer, (uint64_t)rr_api_error_status(error->kind));
  rr_json_put_raw(writer, "}}");
}

/* The name of a kind. Clients know six names, so kinds beyond those get the nearest one. */
static const char *terse_type(rr_api_error_kind kind) {
  switch (kind) {
  case RR_API_EMPTY: return "Empty";
  case RR_API_TOKENIZER: return "Tokenizer";
  case RR_API_BACKEND: return "Backend";
  case RR_API_OVERLOADED:
  case RR_API_TIMEOUT:
  case RR_API_MEMORY: return "Overloaded";
  case RR_API_UNHEALTHY: return "Unhealthy";
  case RR_API_MALFORMED:
  case RR_API_VALIDATION:
  case RR_API_TOO_LARGE:
  case RR_API_MEDIA_TYPE:
  case RR_API_UNAUTHORIZED:
  case RR_API_NOT_FOUND:
  case RR_API_METHOD:
  case RR_API_TARGET:
  case RR_API_EXPECTATION:
  case RR_API_HEADERS:
  case RR_API_NOT_KNOWN:
  case RR_API_VERSION: return "Validation";
  }
  return "Backend";
}

void rr_error_put_terse(const rr_api_error *error, rr_json_writer *writer) {
  rr_json_put_raw(writer, "{\"error\":");
  rr_json_put_string(writer, error->message);
  rr_json_put_raw(writer, ",\"error_type\":");
  rr_json_put_string(writer, terse_type(error->kind));
  rr_json_put_raw(writer, "}");
}

const char *rr_error_terse_fallback(rr_api_error_kind kind) {
  static const char *const bodies[] = {
      "{\"error\":\"request failed\",\"error_type\":\"Empty\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Validation\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Tokenizer\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Backend\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Overloaded\"}",
      "{\"error\":\"request failed\",\"error_type\":\"Unhealthy\"}",
  };
  const char *type = terse_type(kind);
  const char *body = bodies[0];
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    if (strstr(bodies[i], type) != NULL) {
      body = bodies[i];
    }
  }
  return body;
}
