#include "server/otlp/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "proto/json_writer.h"
#include "server/base/version.h"

/* OTLP's enumerations, and bits of a span's flags beside those of the trace. */
enum {
  KIND_INTERNAL = 1,
  KIND_SERVER = 2,
  STATUS_ERROR = 2,
  HAS_IS_REMOTE = 0x100,
  IS_REMOTE = 0x200
};

enum { EXPECTED_BYTES = 4096 };

size_t otlp_spans(const otlp_record *record) { return 1 + record->n_phases; }

static void put_member(rr_json_writer *out, const char *name, const char *value) {
  rr_json_put_raw(out, name);
  rr_json_put_string(out, value);
}

/* A 64-bit number, which JSON's readers would round. */
static void put_quoted(rr_json_writer *out, const char *name, uint64_t value) {
  rr_json_put_raw(out, name);
  rr_json_put_raw(out, "\"");
  rr_json_put_unsigned(out, value);
  rr_json_put_raw(out, "\"");
}

static void begin_attribute(rr_json_writer *out, bool first, const char *name) {
  rr_json_put_raw(out, first ? "{\"key\":" : ",{\"key\":");
  rr_json_put_string(out, name);
  rr_json_put_raw(out, ",\"value\":{");
}

static void put_text(rr_json_writer *out, bool first, const char *name, const char *value) {
  begin_attribute(out, first, name);
  put_member(out, "\"stringValue\":", value);
  rr_json_put_raw(out, "}}");
}

/* Nothing for NULL and "". */
static void put_known(rr_json_writer *out, const char *name, const char *value) {
  if (value != NULL && value[0] != '\0') {
    put_text(out, false, name, value);
  }
}

static void put_number(rr_json_writer *out, const char *name, uint64_t value) {
  begin_attribute(out, false, name);
  put_quoted(out, "\"intValue\":", value);
  rr_json_put_raw(out, "}}");
}

static void put_flag(rr_json_writer *out, const char *name, bool value) {
  begin_attribute(out, false, name);
  rr_json_put_raw(out, value ? "\"boolValue\":true}}" : "\"boolValue\":false}}");
}

/* A header's values are a list, of one. */
static void put_header(rr_json_writer *out, const char *name, const char *value) {
  begin_attribute(out, false, name);
  put_member(out, "\"arrayValue\":{\"values\":[{\"stringValue\":", value);
  rr_json_put_raw(out, "}]}}}");
}

/* Names of spans must be few: a method that nobody knows is no part of one. */
static bool is_known_method(const char *method) {
  static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                      "CONNECT", "OPTIONS", "TRACE", "PATCH"};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(method, known[i]) == 0) {
      return true;
    }
  }
  return false;
}

static void put_http(rr_json_writer *out, const otlp_record *record) {
  bool known = is_known_method(record->method);
  put_text(out, true, "http.request.method", known ? record->method : "_OTHER");
  put_known(out, "http.request.method_original", known ? NULL : record->method);
  put_known(out, "http.route", record->routed ? record->path : NULL);
  put_text(out, false, "url.path", record->path);
  put_text(out, false, "url.scheme", "http");
  put_known(out, "server.address", record->host);
  if (record->port > 0) {
    put_number(out, "server.port", record->port);
  }
  put_text(out, false, "network.protocol.version", record->version_1_0 ? "1.0" : "1.1");
  put_known(out, "user_agent.original", record->agent);
  put_number(out, "http.request.body.size", record->request_bytes);
  if (record->status > 0) {
    put_number(out, "http.response.status_code", (uint64_t)record->status);
    put_number(out, "http.response.body.size", record->reply_bytes);
  }
  put_known(out, "error.type", record->error);
  put_header(out, "http.request.header.x-request-id", record->request_id);
}

static void put_rerank(rr_json_writer *out, const otlp_record *record) {
  put_known(out, "rerank.dialect", record->dialect);
  if (record->ranks) {
    put_number(out, "rerank.candidates", record->candidates);
    put_number(out, "rerank.tokens", record->tokens);
    put_number(out, "rerank.cached", record->cached);
    put_number(out, "rerank.truncated", record->truncated);
    put_number(out, "rerank.unscored", record->unscored);
    put_flag(out, "rerank.degraded", record->unscored > 0);
  }
}

static void put_times(rr_json_writer *out, uint64_t begin, uint64_t end) {
  put_quoted(out, ",\"startTimeUnixNano\":", begin);
  put_quoted(out, ",\"endTimeUnixNano\":", end);
}

static void put_kind(rr_json_writer *out, unsigned flags, unsigned kind) {
  rr_json_put_raw(out, ",\"flags\":");
  rr_json_put_unsigned(out, flags);
  rr_json_put_raw(out, ",\"kind\":");
  rr_json_put_unsigned(out, kind);
}

static void put_ids(rr_json_writer *out, const otlp_record *record, const char *span,
                    const char *parent) {
  put_member(out, "{\"traceId\":", record->trace);
  put_member(out, ",\"spanId\":", span);
  if (parent[0] != '\0') {
    put_member(out, ",\"parentSpanId\":", parent);
  }
  if (record->state[0] != '\0') {
    put_member(out, ",\"traceState\":", record->state);
  }
}

static void put_server_span(rr_json_writer *out, const otlp_record *record) {
  char name[sizeof record->method + OTLP_TEXT_BYTES];
  const char *method = is_known_method(record->method) ? record->method : "HTTP";
  (void)snprintf(name, sizeof name, "%s%s%s", method, record->routed ? " " : "",
                 record->routed ? record->path : "");
  put_ids(out, record, record->span, record->parent);
  put_kind(out, record->flags | HAS_IS_REMOTE | (record->parent[0] != '\0' ? IS_REMOTE : 0u),
           KIND_SERVER);
  put_member(out, ",\"name\":", name);
  put_times(out, record->begin, record->end);
  rr_json_put_raw(out, ",\"attributes\":[");
  put_http(out, record);
  put_rerank(out, record);
  rr_json_put_raw(out, "]");
  if (record->error[0] != '\0') {
    rr_json_put_raw(out, ",\"status\":{\"code\":");
    rr_json_put_unsigned(out, STATUS_ERROR);
    if (record->message[0] != '\0') {
      put_member(out, ",\"message\":", record->message);
    }
    rr_json_put_raw(out, "}");
  }
  rr_json_put_raw(out, "}");
}

/* splitmix64: each id differs from all others of this seed's. */
static uint64_t next_id(uint64_t *seed) {
  uint64_t id = *seed += 0x9e3779b97f4a7c15u;
  id = (id ^ (id >> 30)) * 0xbf58476d1ce4e5b9u;
  id = (id ^ (id >> 27)) * 0x94d049bb133111ebu;
  id ^= id >> 31;
  return id == 0 ? next_id(seed) : id;
}

static void put_phase(rr_json_writer *out, const otlp_record *record, const otlp_phase *phase,
                      uint64_t *seed) {
  char id[TRACE_PARENT_BYTES];
  (void)snprintf(id, sizeof id, "%016" PRIx64, next_id(seed));
  rr_json_put_raw(out, ",");
  put_ids(out, record, id, record->span);
  put_kind(out, record->flags | HAS_IS_REMOTE, KIND_INTERNAL);
  put_member(out, ",\"name\":", phase->name);
  put_times(out, phase->begin, phase->end);
  rr_json_put_raw(out, "}");
}

static void put_record(rr_json_writer *out, const otlp_record *record, uint64_t *seed) {
  put_server_span(out, record);
  for (size_t i = 0; i < record->n_phases; i++) {
    put_phase(out, record, &record->phases[i], seed);
  }
}

static void put_head(rr_json_writer *out, const otlp_settings *settings) {
  rr_json_put_raw(out, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
  for (size_t i = 0; i < settings->n_attributes; i++) {
    put_text(out, i == 0, settings->attributes[i].name, settings->attributes[i].value);
  }
  rr_json_put_raw(
      out, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"rerankd\",\"version\":\"" RERANKD_VERSION
           "\"},\"spans\":[");
}

char *otlp_encode(const otlp_settings *settings, const otlp_record *records, size_t n, size_t limit,
                  uint64_t *seed, size_t *ret_taken, size_t *ret_size) {
  static const char tail[] = "]}]}]}";
  rr_json_writer out;
  rr_json_writer_init(&out, EXPECTED_BYTES);
  put_head(&out, settings);
  size_t taken = 0;
  while (taken < n && !out.failed) {
    size_t before = out.size;
    if (taken > 0) {
      rr_json_put_raw(&out, ",");
    }
    put_record(&out, &records[taken], seed);
    if (taken > 0 && !out.failed && out.size + sizeof tail > limit) {
      out.size = before; /* the next request's */
      break;
    }
    taken++;
  }
  rr_json_put_raw(&out, tail);
  *ret_taken = taken > 0 ? taken : 1;
  return rr_json_writer_finish(&out, ret_size);
}
