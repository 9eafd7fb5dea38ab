#include "server/route.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base/alloc.h"
#include "proto/tei.h"
#include "server/answer.h"
#include "server/clock.h"
#include "server/version.h"

typedef struct route {
  const char *path;
  const char *method; /* a GET route takes HEAD too */
  bool open;          /* needs no key */
  bool takes_json;
  log_level level;    /* of its log lines: probes are for debugging only */
  void (*respond)(router *self, http_exchange *exchange);
} route;

static void answer_loading(router *self, http_exchange *exchange) {
  char text[LOAD_TEXT_MAX];
  load_describe(self->load, text);
  answer_error(self->metrics, exchange, RR_API_UNHEALTHY, "%s", text);
}

static void respond_rerank(router *self, http_exchange *exchange) {
  rerank_start(self->rerank, exchange);
}

static void respond_health(router *self, http_exchange *exchange) {
  if (self->stopping) {
    answer_error(self->metrics, exchange, RR_API_UNHEALTHY, "the server is stopping");
  } else if (!self->ready) {
    answer_loading(self, exchange);
  } else {
    http_reply_to(exchange, &(http_reply){.status = 200});
  }
}

static void respond_text(router *self, http_exchange *exchange, const char *type, char *body, size_t size) {
  if (body == NULL) {
    answer_error(self->metrics, exchange, RR_API_MEMORY, "out of memory");
    return;
  }
  http_reply_to(exchange,
                &(http_reply){.status = 200, .content_type = type, .body = body, .size = size});
}

static void respond_metrics(router *self, http_exchange *exchange) {
  engine_stats stats;
  if (self->ready) {
    engine_read_stats(self->rerank->engine, &stats);
  } else {
    engine_stats_init(&stats);
  }
  size_t size = 0;
  char *body = metrics_text(self->metrics, &stats, &size);
  respond_text(self, exchange, "text/plain; version=0.0.4; charset=utf-8", body, size);
}

static const char *pooling_name(rr_pooling pooling) {
  return pooling == RR_POOLING_MEAN ? "mean" : pooling == RR_POOLING_CLS ? "cls" : NULL;
}

static void respond_info(router *self, http_exchange *exchange) {
  const options *o = self->options;
  const rr_model_info *model = rr_scorer_info(self->rerank->scorer);
  const rr_tei_info info = {
      .model_id = o->model_id,
      .model_sha = self->load->commit[0] == '\0' ? NULL : self->load->commit,
      .served_model_name = o->served_model_name == NULL ? o->model_id : o->served_model_name,
      .model_dtype = model->dtype_name,
      .label = model->kind == RR_CROSS_ENCODER ? model->label : NULL,
      .pooling = pooling_name(model->pooling),
      .max_concurrent_requests = o->max_concurrent_requests,
      .max_input_length = model->max_input_length,
      .max_batch_tokens = o->max_batch_tokens,
      .max_client_batch_size = o->max_client_batch_size,
      .tokenization_workers = o->tokenization_workers,
      .auto_truncate = o->auto_truncate,
      .version = RERANKD_VERSION,
  };
  size_t size = 0;
  char *body = rr_tei_encode_info(&info, &size);
  respond_text(self, exchange, "application/json", body, size);
}

static const route routes[] = {
    {"/rerank", "POST", false, true, LOG_LEVEL_INFO, respond_rerank},
    {"/info", "GET", false, false, LOG_LEVEL_INFO, respond_info},
    {"/health", "GET", true, false, LOG_LEVEL_DEBUG, respond_health},
    {"/metrics", "GET", true, false, LOG_LEVEL_DEBUG, respond_metrics},
};

static const route *find_route(const char *path) {
  for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
    if (strcmp(path, routes[i].path) == 0) {
      return &routes[i];
    }
  }
  return NULL;
}

static bool takes_method(const route *found, const char *method) {
  return strcmp(method, found->method) == 0 ||
         (strcmp(method, "HEAD") == 0 && strcmp(found->method, "GET") == 0);
}

/* Takes the same time for every wrong key of one length, so that a key cannot be guessed by parts. */
static bool same_secret(const char *given, const char *key) {
  size_t given_size = strlen(given);
  size_t key_size = strlen(key);
  unsigned difference = given_size != key_size;
  for (size_t i = 0; i < given_size; i++) {
    difference |= (unsigned)((unsigned char)given[i] ^ (unsigned char)key[i < key_size ? i : 0]);
  }
  return difference == 0;
}

static bool authorized(const router *self, const http_exchange *exchange) {
  static const char scheme[] = "Bearer ";
  if (self->options->api_key == NULL) {
    return true;
  }
  const char *given = http_header_of(exchange, "Authorization");
  return given != NULL && strncasecmp(given, scheme, sizeof scheme - 1) == 0 &&
         same_secret(given + sizeof scheme - 1, self->options->api_key);
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

static void refuse_method(router *self, http_exchange *exchange, const route *found) {
  rr_api_error error = {.kind = RR_API_METHOD};
  const char *allowed = strcmp(found->method, "GET") == 0 ? "GET, HEAD" : found->method;
  (void)snprintf(error.message, sizeof error.message, "%s takes %s", found->path, allowed);
  http_reply reply;
  answer_fill_error(&reply, &error);
  http_add_header(&reply, "Allow", "%s", allowed);
  self->metrics->failures[RR_API_METHOD]++;
  http_reply_to(exchange, &reply);
}

static void refuse_key(router *self, http_exchange *exchange) {
  const rr_api_error error = {.kind = RR_API_UNAUTHORIZED, .message = "missing or wrong API key"};
  http_reply reply;
  answer_fill_error(&reply, &error);
  http_add_header(&reply, "WWW-Authenticate", "Bearer");
  self->metrics->failures[RR_API_UNAUTHORIZED]++;
  http_reply_to(exchange, &reply);
}

static size_t on_accept(void *context, http_exchange *exchange) {
  router *self = context;
  const route *found = find_route(exchange->path);
  if (found == NULL) {
    answer_error(self->metrics, exchange, RR_API_NOT_FOUND, "no such path");
  } else if (!takes_method(found, exchange->method)) {
    refuse_method(self, exchange, found);
  } else if (!found->open && !authorized(self, exchange)) {
    refuse_key(self, exchange);
  } else if (!found->open && !self->ready) {
    answer_loading(self, exchange);
  } else if (found->takes_json && !is_json(exchange)) {
    answer_error(self->metrics, exchange, RR_API_MEDIA_TYPE,
                 "expected `Content-Type: application/json`");
  }
  return found != NULL && found->takes_json ? self->options->payload_limit : 0;
}

static void on_reject(void *context, http_exchange *exchange, http_problem problem) {
  router *self = context;
  switch (problem) {
  case HTTP_BODY_TOO_LARGE:
    answer_error(self->metrics, exchange, RR_API_TOO_LARGE, "the body is over the limit of %zu bytes",
                 exchange->body_limit);
    break;
  case HTTP_BODIES_TOO_MANY:
    answer_error(self->metrics, exchange, RR_API_OVERLOADED, "too many request bodies at once");
    break;
  case HTTP_OUT_OF_MEMORY:
    answer_error(self->metrics, exchange, RR_API_MEMORY, "out of memory");
    break;
  }
}

static void on_respond(void *context, http_exchange *exchange) {
  find_route(exchange->path)->respond(context, exchange); /* on_accept has found it */
}

static void on_finished(void *context, http_exchange *exchange, bool sent) {
  (void)context;
  const route *found = find_route(exchange->path);
  log_request_fields fields = {
      .request_id = exchange->request_id,
      .method = exchange->method,
      .path = exchange->path,
      .status = exchange->replied ? exchange->reply.status : 0,
      .total = clock_now() - exchange->received_at,
      .body_bytes = (size_t)(exchange->received_bytes),
  };
  if (exchange->task != NULL) {
    rerank_describe(exchange->task, &fields);
  }
  if (!sent) {
    fields.error = "the connection was lost";
  }
  log_request(found == NULL ? LOG_LEVEL_INFO : found->level, &fields);
  rerank_task_destroy(exchange->task);
  exchange->task = NULL;
}

http_handlers route_handlers(router *self) {
  return (http_handlers){.context = self,
                         .accept = on_accept,
                         .reject = on_reject,
                         .respond = on_respond,
                         .finished = on_finished};
}
