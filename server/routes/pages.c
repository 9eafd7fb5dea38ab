#include "server/routes/pages.h"

#include <string.h>

#include "proto/api_pages.h"
#include "proto/info.h"
#include "server/base/version.h"
#include "server/cache/score_cache.h"
#include "server/request/error_reply.h"
#include "server/request/shared.h"

static void respond_health(router *self, http_exchange *exchange) {
  if (self->stopping) {
    error_reply_send_text(self->metrics, exchange, RR_API_UNHEALTHY, "the server is stopping");
  } else if (!self->ready) {
    route_answer_loading(self, exchange);
  } else {
    http_reply_to(exchange, &(http_reply){.status = 200});
  }
}

/* Overload does not count: it is told to each request (429), and where it made servers unready, the
 * last ones would get what the first ones were spared, until none was left. Refusing a probe is no
 * failure of a request. */
static void respond_ready(router *self, http_exchange *exchange) {
  rr_api_error error = {.kind = RR_API_UNHEALTHY, .message = "the server is stopping"};
  http_reply reply = {.status = 200};
  if (!self->stopping && !self->ready) {
    load_describe(self->load, error.message);
  }
  if (self->stopping || !self->ready) {
    error_reply_fill(&reply, exchange, NULL, &error);
  }
  http_reply_to(exchange, &reply);
}

/* The loop turns, whatever else is at work: restarting the process would help nobody. */
static void respond_live(router *self, http_exchange *exchange) {
  if (loop_watch_is_stuck(self->watch)) {
    error_reply_send_text(self->metrics, exchange, RR_API_UNHEALTHY,
                          "the event loop has not turned for seconds");
    return;
  }
  http_reply_to(exchange, &(http_reply){.status = 200});
}

static void respond_text(router *self, http_exchange *exchange, const char *type, char *body,
                         size_t size) {
  if (body == NULL) {
    error_reply_send_text(self->metrics, exchange, RR_API_MEMORY, "out of memory");
    return;
  }
  http_reply_to(exchange,
                &(http_reply){.status = 200, .content_type = type, .body = body, .size = size});
}

/* A directory's name without where it lies: /metrics is open to all. A name on the hub stays
 * whole. */
static const char *last_part(const char *model_id) {
  const char *slash = model_id[0] == '/' || model_id[0] == '.' ? strrchr(model_id, '/') : NULL;
  return slash == NULL || slash[1] == '\0' ? model_id : slash + 1;
}

static metrics_facts describe_metrics(const router *self, const http_exchange *exchange) {
  const options *o = self->options;
  metrics_facts facts = {.version = RERANKD_VERSION,
                         .started = self->started,
                         .ready = self->ready && !self->stopping,
                         .pool_threads = o->tokenization_workers,
                         .max_requests = o->max_concurrent_requests,
                         .max_queue_ms = o->max_queue_ms,
                         .max_queue_tokens = o->max_queue_tokens,
                         .body_bytes = http_buffered(exchange->server),
                         .arena_bytes = self->rerank->arena_bytes,
                         .request_bytes = rr_budget_used(self->rerank->config.memory),
                         .request_bytes_limit = rr_budget_limit(self->rerank->config.memory)};
  if (self->ready) {
    const rr_model_info *model = rr_scorer_info(self->rerank->scorer);
    facts.model = o->served_model_name == NULL ? last_part(o->model_id) : o->served_model_name;
    facts.dtype = model->dtype_name;
    facts.scoring = model->scoring_name;
    facts.kernels = model->kernels;
    facts.weight_bytes = model->weight_bytes;
  }
  return facts;
}

static void respond_metrics(router *self, http_exchange *exchange) {
  workers_stats stats;
  if (self->ready) {
    workers_read_stats(self->rerank->workers, &stats);
  } else {
    workers_stats_init(&stats);
  }
  lfu_stats cached = {0};
  if (self->rerank->cache != NULL) {
    lfu_read_stats(self->rerank->cache->entries, &cached);
  }
  document_stats documents = {0};
  if (self->rerank->documents != NULL) {
    document_cache_read_stats(self->rerank->documents, &documents);
  }
  if (self->rerank->sharing != NULL) {
    redis_client_gauge(self->rerank->sharing->client);
  }
  if (self->spans.exporter != NULL) {
    otlp_read_stats(self->spans.exporter, &self->metrics->spans);
  }
  process_stats process;
  process_stats_read(&process);
  const metrics_facts facts = describe_metrics(self, exchange);
  const metrics_view view = {.counters = self->metrics,
                             .facts = &facts,
                             .workers = &stats,
                             .cached = &cached,
                             .documents = &documents,
                             .process = &process};
  size_t size = 0;
  char *body = metrics_text(&view, &size);
  respond_text(self, exchange, "text/plain; version=0.0.4; charset=utf-8", body, size);
}

static const char *pooling_name(rr_pooling pooling) {
  return pooling == RR_POOLING_MEAN ? "mean" : pooling == RR_POOLING_CLS ? "cls" : NULL;
}

static rr_server_info describe(const router *self) {
  const options *o = self->options;
  const rr_model_info *model = rr_scorer_info(self->rerank->scorer);
  return (rr_server_info){
      .model_id = o->model_id,
      .model_sha = self->load->commit[0] == '\0' ? NULL : self->load->commit,
      .served_model_name = o->served_model_name == NULL ? o->model_id : o->served_model_name,
      .model_dtype = model->dtype_name,
      .dtype_note = model->dtype_note,
      .label = model->kind == RR_CROSS_ENCODER ? model->label : NULL,
      .pooling = pooling_name(model->pooling),
      .scoring = model->scoring_name,
      .split_layers = model->split_layers,
      .calibrated = model->calibrated,
      .max_concurrent_requests = o->max_concurrent_requests,
      .max_input_length = model->max_input_length,
      .max_batch_tokens = o->max_batch_tokens,
      .max_client_batch_size = o->max_client_batch_size,
      .tokenization_workers = o->tokenization_workers,
      .auto_truncate = o->auto_truncate,
      .cache_bytes = o->cache_bytes,
      .document_cache = model->keeps_texts,
      .document_cache_bytes = o->document_cache_bytes,
      .version = RERANKD_VERSION,
  };
}

static void respond_info(router *self, http_exchange *exchange) {
  const rr_server_info info = describe(self);
  size_t size = 0;
  char *body = rr_info_encode(&info, &size);
  respond_text(self, exchange, "application/json", body, size);
}

static void respond_models(router *self, http_exchange *exchange) {
  const rr_server_info info = describe(self);
  size_t size = 0;
  char *body = rr_models_encode(&info, self->started, &size);
  respond_text(self, exchange, "application/json", body, size);
}

static void respond_constant(http_exchange *exchange, const char *type, const char *body,
                             size_t size) {
  http_reply_to(exchange, &(http_reply){.status = 200,
                                        .content_type = type,
                                        .body = (char *)body,
                                        .size = size,
                                        .borrowed = true});
}

static void respond_openapi(router *self, http_exchange *exchange) {
  (void)self;
  respond_constant(exchange, "application/json", rr_openapi_page, rr_openapi_page_size);
}

static void respond_docs(router *self, http_exchange *exchange) {
  (void)self;
  respond_constant(exchange, "text/html; charset=utf-8", rr_docs_page, rr_docs_page_size);
}

static const page pages[] = {
    {"/", true, LOG_LEVEL_DEBUG, respond_health},
    {"/health", true, LOG_LEVEL_DEBUG, respond_health},
    {"/ping", true, LOG_LEVEL_DEBUG, respond_health},
    {"/ready", true, LOG_LEVEL_DEBUG, respond_ready},
    {"/live", true, LOG_LEVEL_DEBUG, respond_live},
    {"/metrics", true, LOG_LEVEL_DEBUG, respond_metrics},
    {"/info", false, LOG_LEVEL_INFO, respond_info},
    {"/models", false, LOG_LEVEL_INFO, respond_models},
    {"/v1/models", false, LOG_LEVEL_INFO, respond_models},
    {"/openapi.json", true, LOG_LEVEL_INFO, respond_openapi},
    {"/docs", true, LOG_LEVEL_INFO, respond_docs},
};

const page *page_at(const char *path) {
  for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
    if (strcmp(path, pages[i].path) == 0) {
      return &pages[i];
    }
  }
  return NULL;
}
