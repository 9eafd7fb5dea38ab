#include "server/routes/route.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base/alloc.h"
#include "proto/dialect.h"
#include "server/base/loop_thread.h"
#include "server/http/coding.h"
#include "server/http/cors.h"
#include "server/request/error_reply.h"
#include "server/routes/pages.h"

/* Looks the path up: once a request. Both NULL: nothing is there. */
static void find_target(http_exchange *exchange) {
  exchange->page = page_at(exchange->path);
  exchange->endpoint = rr_endpoint_at(exchange->path);
}

static bool is_method(const http_exchange *exchange, const char *method) {
  return strcmp(exchange->method, method) == 0;
}

static bool wants_page(const http_exchange *exchange) {
  return exchange->page != NULL && (is_method(exchange, "GET") || is_method(exchange, "HEAD"));
}

static bool wants_scores(const http_exchange *exchange) {
  return exchange->endpoint != NULL && is_method(exchange, "POST");
}

static const char *allowed_methods(const http_exchange *at) {
  return at->page == NULL ? "POST" : at->endpoint == NULL ? "GET, HEAD" : "GET, HEAD, POST";
}

static bool authorized(const router *self, http_exchange *exchange) {
  static const char scheme[] = "Bearer ";
  exchange->priority = API_KEY_NO_PRIORITY;
  if (api_keys_count(self->keys) == 0) {
    return true;
  }
  const char *given = http_header_of(exchange, "Authorization");
  return given != NULL && strncasecmp(given, scheme, sizeof scheme - 1) == 0 &&
         api_keys_find(self->keys, given + sizeof scheme - 1, &exchange->priority);
}

/* application/json or application/...+json, with or without parameters. */
static bool is_json(const http_exchange *exchange) {
  const char *type = http_header_of(exchange, "Content-Type");
  if (type == NULL || strncasecmp(type, "application/", 12) != 0) {
    return false;
  }
  size_t length = strcspn(type, "; \t");
  return (length == 16 && strncasecmp(type + 12, "json", 4) == 0) ||
         (length > 17 && strncasecmp(type + length - 5, "+json", 5) == 0);
}

/* Refuses with one more header, which tells what would have been right. */
static void refuse(router *self, http_exchange *exchange, const rr_api_error *error,
                   const char *header, const char *value) {
  http_reply reply;
  error_reply_fill(&reply, exchange, NULL, error);
  http_add_header(&reply, header, "%s", value);
  self->metrics->failures[error->kind]++;
  http_reply_to(exchange, &reply);
}

void route_answer_loading(router *self, http_exchange *exchange) {
  assert_loop_thread();
  char at[LOAD_TEXT_MAX];
  load_describe(self->load, at);
  error_reply_send_text(self->metrics, exchange, RR_API_UNHEALTHY, "%s", at);
}

static void refuse_method(router *self, http_exchange *exchange) {
  rr_api_error error;
  (void)rr_api_fail(&error, RR_API_METHOD, "%s takes %s", exchange->path,
                    allowed_methods(exchange));
  refuse(self, exchange, &error, "Allow", allowed_methods(exchange));
}

static void refuse_key(router *self, http_exchange *exchange) {
  const rr_api_error error = {.kind = RR_API_UNAUTHORIZED, .message = "missing or wrong API key"};
  refuse(self, exchange, &error, "WWW-Authenticate", "Bearer");
}

/* What is wrong with a request for scores before its body is there; false where nothing is. */
static bool refuse_body(router *self, http_exchange *exchange) {
  const rr_api_error error = {.kind = RR_API_MEDIA_TYPE,
                              .message =
                                  "`Content-Encoding` must be gzip or zstd, if there is one"};
  if (!is_json(exchange)) {
    error_reply_send_text(self->metrics, exchange, RR_API_MEDIA_TYPE,
                          "expected `Content-Type: application/json`");
  } else if (coding_of_content(http_header_of(exchange, "Content-Encoding")) == CODING_UNKNOWN) {
    refuse(self, exchange, &error, "Accept-Encoding", "gzip, zstd");
  } else {
    return false;
  }
  return true;
}

/* A larger body could never be kept. */
static size_t body_limit(const router *self) {
  size_t half = rr_budget_limit(self->rerank->config.memory) / 2;
  return half < self->options->payload_limit ? half : self->options->payload_limit;
}

static size_t on_accept(void *context, http_exchange *exchange) {
  router *self = context;
  assert_loop_thread();
  find_target(exchange);
  bool reads = wants_page(exchange);
  bool open = reads && exchange->page->open;
  if (!reads || exchange->page->level != LOG_LEVEL_DEBUG) { /* no spans of probes */
    spans_begin(&self->spans, exchange);
  }
  cors_admit(&self->options->cors_origins, exchange);
  if (exchange->page == NULL && exchange->endpoint == NULL) {
    error_reply_send_text(self->metrics, exchange, RR_API_NOT_FOUND, "no such path");
  } else if (cors_is_preflight(&self->options->cors_origins, exchange)) {
    cors_answer_preflight(exchange, allowed_methods(exchange));
  } else if (!reads && !wants_scores(exchange)) {
    refuse_method(self, exchange);
  } else if (!open && !authorized(self, exchange)) {
    refuse_key(self, exchange);
  } else if (!open && !self->ready && (reads || !self->held.open)) {
    route_answer_loading(self, exchange);
  } else if (!reads) {
    (void)refuse_body(self, exchange);
  }
  return exchange->endpoint != NULL ? body_limit(self) : 0;
}

static void on_reject(void *context, http_exchange *exchange, http_fault fault) {
  static const rr_api_error_kind kinds[] = {
      [HTTP_MALFORMED] = RR_API_MALFORMED,       [HTTP_TARGET_TOO_LONG] = RR_API_TARGET,
      [HTTP_EXPECTATION] = RR_API_EXPECTATION,   [HTTP_HEAD_TOO_LARGE] = RR_API_HEADERS,
      [HTTP_NOT_IMPLEMENTED] = RR_API_NOT_KNOWN, [HTTP_OTHER_VERSION] = RR_API_VERSION};
  router *self = context;
  if (exchange->page == NULL && exchange->endpoint == NULL) {
    find_target(exchange); /* it was not accepted: for its log line and its span */
  }
  bool small = exchange->body_limit > 0 && exchange->body_limit < self->options->payload_limit;
  switch (fault.problem) {
  case HTTP_BODY_TOO_LARGE:
    if (small && !self->ready) { /* how much requests may have is not known yet */
      route_answer_loading(self, exchange);
      break;
    }
    exchange->refusal = "the body is too large";
    error_reply_send_text(self->metrics, exchange, RR_API_TOO_LARGE,
                          "the body is over the limit of %zu bytes%s", exchange->body_limit,
                          small ? " (half of --request-memory)" : "");
    break;
  case HTTP_BODIES_TOO_MANY:
    exchange->refusal = "bodies take all the memory that they may";
    self->metrics->refusals[ADMISSION_MEMORY]++;
    error_reply_send_text(self->metrics, exchange, RR_API_OVERLOADED, "Model is overloaded: %s",
                          exchange->refusal);
    break;
  case HTTP_OUT_OF_MEMORY:
    error_reply_send_text(self->metrics, exchange, RR_API_MEMORY, "out of memory");
    break;
  case HTTP_NO_PROBLEM:
  case HTTP_MALFORMED:
  case HTTP_TARGET_TOO_LONG:
  case HTTP_EXPECTATION:
  case HTTP_HEAD_TOO_LARGE:
  case HTTP_NOT_IMPLEMENTED:
  case HTTP_OTHER_VERSION:
    error_reply_send_text(self->metrics, exchange, kinds[fault.problem], "%s", fault.text);
    break;
  }
}

static void on_respond(void *context, http_exchange *exchange) {
  router *self = context;
  if (wants_page(exchange)) {
    exchange->page->respond(self, exchange);
  } else if (self->ready) {
    rerank_start(self->rerank, exchange, exchange->endpoint);
  } else if (!hold_take(&self->held, exchange)) {
    route_answer_loading(self, exchange);
  }
}

void route_release(router *self) {
  assert_loop_thread();
  http_exchange *exchange;
  self->held.open = false;
  while ((exchange = hold_next(&self->held)) != NULL) {
    if (self->ready) {
      rerank_start(self->rerank, exchange, exchange->endpoint);
    } else {
      route_answer_loading(self, exchange);
    }
  }
}

static void on_gone(void *context, http_exchange *exchange) {
  router *self = context;
  self->metrics->gone++;
  log_text(LOG_LEVEL_DEBUG, "id=%s: the client left while its request waited",
           exchange->request_id);
  if (exchange->task != NULL) {
    rerank_abandon(exchange->task);
  } else if (hold_remove(&self->held, exchange)) {
    route_answer_loading(self, exchange);
  }
}

/* Whether a request for scores was slow; then its line becomes a warning, unless there were many of
 * late. */
static bool tell_slow(router *self, const http_exchange *exchange, log_request_fields *fields) {
  uint64_t limit = (uint64_t)self->options->slow_request_ms * 1000000;
  if (limit == 0 || fields->total < limit) {
    return false;
  }
  self->metrics->slow++;
  if (!slow_log_tell(&self->slow, exchange->phases.ended, &fields->untold)) {
    return false;
  }
  fields->phases = &exchange->phases;
  return true;
}

/* What a client sent where a request line should be may be a piece of its body, by a wrong
 * Content-Length: it is logged only
 * where it looks like one. */
static const char *logged_method(const http_exchange *exchange) {
  static const char *const known[] = {"GET",     "HEAD",  "POST",  "PUT",    "DELETE",
                                      "OPTIONS", "PATCH", "TRACE", "CONNECT"};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (is_method(exchange, known[i])) {
      return known[i];
    }
  }
  return "OTHER";
}

static const char *logged_path(const http_exchange *exchange) {
  bool plausible = exchange->path[0] == '/' && strcmp(logged_method(exchange), "OTHER") != 0;
  return plausible ? exchange->path : "-";
}

static void on_finished(void *context, http_exchange *exchange, bool sent) {
  router *self = context;
  log_request_fields fields = {
      .request_id = exchange->request_id,
      .method = logged_method(exchange),
      .path = logged_path(exchange),
      .status = exchange->replied ? exchange->reply.status : 0,
      .total = phases_total(&exchange->phases),
      .body_bytes = (size_t)(exchange->received_bytes),
      .trace = exchange->trace,
      .parent = exchange->parent,
      .span = exchange->span,
      .error = exchange->refusal,
  };
  bool slow = false;
  if (exchange->task != NULL) {
    rerank_describe(exchange->task, &fields);
    metrics_add_phases(self->metrics, &exchange->phases);
    slow = tell_slow(self, exchange, &fields);
  }
  if (!sent) {
    fields.error = exchange->gone       ? "the client left while it waited"
                   : exchange->too_slow ? "the client was too slow"
                                        : "the connection was lost";
    self->metrics->too_slow += exchange->too_slow;
  }
  bool refused = fields.status >= 400 && fields.status < 500;
  log_request(slow                               ? LOG_LEVEL_WARN
              : wants_page(exchange) && !refused ? exchange->page->level
                                                 : LOG_LEVEL_INFO,
              &fields);
  spans_end(&self->spans, exchange, &fields, exchange->page != NULL || exchange->endpoint != NULL,
            sent);
  rerank_task_destroy(exchange->task);
  exchange->task = NULL;
}

http_handlers route_handlers(router *self) {
  return (http_handlers){.context = self,
                         .accept = on_accept,
                         .reject = on_reject,
                         .respond = on_respond,
                         .gone = on_gone,
                         .finished = on_finished};
}
