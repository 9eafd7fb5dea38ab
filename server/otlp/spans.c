#include "server/otlp/spans.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/base/loop_thread.h"

enum { TRACE_RANDOM = 2, CLIENT_GONE = 499 };

_Static_assert((int)REQUEST_PHASES <= (int)OTLP_PHASES_MAX, "a record has room for all phases");

static void copy(char *to, size_t size, const char *from) {
  (void)snprintf(to, size, "%s", from == NULL ? "" : from);
}

/* While they can be read. */
static void take_headers(otlp_record *record, http_exchange *exchange) {
  copy(record->agent, sizeof record->agent, http_header_of(exchange, "User-Agent"));
  spans_split_host(http_header_of(exchange, "Host"), record->host, &record->port);
  /* A list without a parent, or one that is no list, is nobody's. */
  if (exchange->parent[0] == '\0' ||
      !http_join_header(exchange, "tracestate", record->state, sizeof record->state) ||
      !trace_state_is_valid(record->state)) {
    record->state[0] = '\0';
  }
}

void spans_begin(const spans *self, http_exchange *exchange) {
  assert_loop_thread();
  if (self->exporter == NULL) {
    return;
  }
  bool rooted = exchange->trace[0] == '\0';
  uint8_t random = rooted ? TRACE_RANDOM : exchange->trace_flags & TRACE_RANDOM;
  trace_new_ids(rooted ? exchange->trace : NULL, exchange->span);
  exchange->sampled = !rooted && self->settings->by_parent
                          ? (exchange->trace_flags & TRACE_SAMPLED) != 0
                          : trace_is_sampled(exchange->trace, self->settings->bound);
  exchange->trace_flags = (uint8_t)(random | (exchange->sampled ? TRACE_SAMPLED : 0));
  if (exchange->sampled) {
    exchange->told = rr_calloc(1, sizeof *exchange->told);
  }
  if (exchange->told != NULL) { /* else the span is told without these */
    take_headers(exchange->told, exchange);
  }
}

void spans_split_host(const char *given, char ret_host[OTLP_TEXT_BYTES], unsigned *ret_port) {
  ret_host[0] = '\0';
  *ret_port = 0;
  if (given == NULL) {
    return;
  }
  bool bracketed = given[0] == '[';
  const char *host = given + bracketed;
  size_t size = strcspn(host, bracketed ? "]" : ":");
  const char *rest = host + size + (bracketed && host[size] == ']');
  if (size == 0 || size >= OTLP_TEXT_BYTES) {
    return;
  }
  for (size_t i = 0; i < size; i++) {
    if (host[i] <= ' ' || host[i] > '~') {
      return;
    }
  }
  (void)snprintf(ret_host, OTLP_TEXT_BYTES, "%.*s", (int)size, host);
  unsigned port = 0;
  for (rest += *rest == ':'; isdigit((unsigned char)*rest) && port <= UINT16_MAX; rest++) {
    port = port * 10 + (unsigned)(*rest - '0');
  }
  *ret_port = *rest == '\0' && port <= UINT16_MAX ? port : 0;
}

/* A client's leaving is no status; who answers has not failed but where the status says so. */
static void take_outcome(otlp_record *record, const http_exchange *exchange,
                         const log_request_fields *fields, bool sent) {
  record->status = fields->status == CLIENT_GONE ? 0 : fields->status;
  record->reply_bytes = exchange->replied ? exchange->reply.size : 0;
  if (!sent) {
    copy(record->error, sizeof record->error,
         exchange->gone       ? "client_gone"
         : exchange->too_slow ? "client_too_slow"
                              : "connection_lost");
  } else if (fields->status >= 500) {
    (void)snprintf(record->error, sizeof record->error, "%d", fields->status);
  }
  if (record->error[0] != '\0') {
    copy(record->message, sizeof record->message, fields->error);
  }
}

static uint64_t within(uint64_t time, uint64_t least, uint64_t most) {
  return time < least ? least : time > most ? most : time;
}

/* From the monotonic clock to the other, by what lay between the two when the request came. */
static void take_times(otlp_record *record, const request_phases *phases) {
  uint64_t shift = phases->wall - phases->begun; /* modulo 2^64 */
  record->begin = phases->wall;
  record->end = phases->ended + shift;
  for (int i = 0; i < REQUEST_PHASES; i++) {
    phase_span span = phases->of[i];
    if (span.begin != 0) {
      uint64_t begin = within(span.begin, phases->begun, phases->ended);
      uint64_t end = within(span.end, begin, phases->ended);
      record->phases[record->n_phases++] = (otlp_phase){
          .name = phase_name((request_phase)i), .begin = begin + shift, .end = end + shift};
    }
  }
}

static void take_request(otlp_record *record, const http_exchange *exchange) {
  memcpy(record->trace, exchange->trace, sizeof record->trace);
  memcpy(record->span, exchange->span, sizeof record->span);
  memcpy(record->parent, exchange->parent, sizeof record->parent);
  memcpy(record->request_id, exchange->request_id, sizeof record->request_id);
  memcpy(record->method, exchange->method, sizeof record->method);
  copy(record->path, sizeof record->path, exchange->path);
  record->flags = exchange->trace_flags;
  record->version_1_0 = exchange->old;
  record->request_bytes = exchange->received_bytes;
}

void spans_end(const spans *self, http_exchange *exchange, const log_request_fields *fields,
               bool routed, bool sent) {
  assert_loop_thread();
  if (self->exporter == NULL || !exchange->sampled) {
    return;
  }
  otlp_record record = {.routed = routed};
  if (exchange->told != NULL) {
    record = *exchange->told;
    rr_free(exchange->told);
    exchange->told = NULL;
  }
  record.routed = routed;
  record.dialect = fields->dialect;
  take_request(&record, exchange);
  take_times(&record, &exchange->phases);
  take_outcome(&record, exchange, fields, sent);
  record.ranks = fields->texts > 0;
  record.candidates = fields->texts;
  record.tokens = fields->tokens;
  record.cached = fields->cached;
  record.truncated = fields->truncated;
  record.unscored = fields->unscored;
  otlp_offer(self->exporter, &record);
}
