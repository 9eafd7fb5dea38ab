#include "server/pages.h"

#include <string.h>

#include "proto/api_pages.h"
#include "proto/info.h"
#include "server/answer.h"
#include "server/rerank_shared.h"
#include "server/score_cache.h"
#include "server/version.h"

static void respond_health(router *self, http_exchange *exchange) {
  if (self->stopping) {
    answer_error(self->metrics, exchange, RR_API_UNHEALTHY, "the server is stopping");
  } else if (!self->ready) {
    answer_loading(self->metrics, exchange, self->load);
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
  cache_stats cached = {0};
  if (self->rerank->cache != NULL) {
    cache_read_stats(self->rerank->cache->entries, &cached);
  }
  document_stats documents = {0};
  if (self->rerank->documents != NULL) {
    document_cache_read_stats(self->rerank->documents, &documents);
  }
  if (self->rerank->sharing != NULL) {
    shared_client_gauge(self->rerank->sharing->client);
  }
  size_t size = 0;
  char *body = metrics_text(self->metrics, &stats, &cached, &documents, &size);
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
      .document_cache = model->text_halves,
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

static void respond_constant(http_exchange *exchange, const char *type, const char *body, size_t size) {
  http_reply_to(exchange, &(http_reply){.status = 200, .content_type = type, .body = (char *)body,
                                        .size = size, .borrowed = true});
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
