#include "server/app.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "server/base/clock.h"
#include "server/base/version.h"
#include "server/confine.h"
#include "server/http/api_keys.h"
#include "server/http/http.h"
#include "server/metrics/metrics.h"
#include "server/models/load.h"
#include "server/observe/log.h"
#include "server/observe/loop_watch.h"
#include "server/otlp/otlp.h"
#include "server/renewal.h"
#include "server/request/rerank.h"
#include "server/request/shared.h"
#include "server/routes/route.h"
#include "server/sched/workers.h"
#include "server/system/memory_limit.h"
#include "server/system/systemd.h"

enum {
  BODY_SECONDS = 5, /* what a client that is still sending gets when the server stops */
  FIRST_SECONDS =
      1, /* what a client gets for its first request that had connected, but not sent it */
  HOLD_MS = 10000, /* that requests at passed sockets wait for the model, from the start on */
  DRAIN_POLL_MS = 20,
  DRAIN_BODIES = 16,       /* a refused body is read up to so many payload limits */
  REQUEST_BASE = 64 << 20, /* bytes that a request may take beside its body, plus */
  REQUEST_PER_PAYLOAD_BYTE = 16,
  CONNECTIONS_MAX = 8192, /* or fewer, where they would take more than */
  CONNECTIONS_SHARE = 8,  /* one in so many bytes that there are; but */
  CONNECTIONS_MIN = 256,
  CODER_BYTES = 2 << 20, /* of gzip or zstd, a thread */
  LOADING_SHARE = 8      /* of memory, for bodies that wait for the model */
};

#define NS_PER_SECOND UINT64_C(1000000000)

typedef struct app {
  const options *options; /* `own` */
  options own;
  int sockets[HTTP_LISTENERS_MAX]; /* that were passed; the HTTP server's once it runs */
  size_t n_sockets;
  systemd systemd;
  uv_loop_t loop;
  uv_signal_t terminate;
  uv_signal_t interrupt;
  uv_signal_t renew;
  uv_timer_t drain; /* before that, of requests that are held */
  loop_watch watch;
  uv_work_t loader;
  model_load load;
  confinement confined;
  bool loading;
  renewal renewal;
  api_keys *keys;
  bool leaving;        /* SIGTERM was seen, --drain-delay has not passed */
  uint64_t stopped_at; /* ns: when the listening socket was closed */
  metrics metrics;
  memory_limits limits;
  rr_budget memory; /* of all requests */
  rerank_service rerank;
  redis_address redis_address; /* of the shared cache; the same of its parts */
  rerank_sharing sharing;      /* no client: there is none */
  router router;
  otlp_settings tracing;
  spans spans;
  http_server *http;
  int exit_status;
} app;

/* On a thread of the pool. */
static void run_load(uv_work_t *work) {
  app *self = work->data;
  load_run(&self->load);
  if (self->load.error.status == RR_OK) {
    self->load.error.status = confine_loaded(&self->confined, &self->load.error);
  }
}

static void on_renewed(void *context, api_keys *keys) {
  app *self = context;
  api_keys_destroy(self->keys);
  self->keys = keys;
  self->router.keys = keys;
}

static void on_renew(uv_signal_t *handle, int number) {
  (void)number;
  app *self = handle->data;
  if (self->options->api_key_file == NULL) {
    log_text(LOG_LEVEL_INFO, "SIGHUP: there is no --api-key-file to read again");
    return;
  }
  if (self->stopped_at == 0) { /* also while it is leaving: clients are served */
    renewal_ask(&self->renewal);
  }
}

static void close_handles(app *self) {
  http_close(self->http);
  self->http = NULL;
  rerank_service_close(&self->rerank);
  systemd_close(&self->systemd);
  if (self->sharing.client != NULL) {
    redis_client_close(self->sharing.client);
  }
  uv_close((uv_handle_t *)&self->terminate, NULL);
  uv_close((uv_handle_t *)&self->interrupt, NULL);
  uv_close((uv_handle_t *)&self->renew, NULL);
  uv_close((uv_handle_t *)&self->drain, NULL);
  loop_watch_close(&self->watch);
  if (redis_client_lingers(self->sharing.client)) {
    uv_stop(&self->loop); /* once this turn has closed the handles */
  }
}

static void on_drain(uv_timer_t *timer) {
  app *self = timer->data;
  uint64_t waited = clock_now() - self->stopped_at;
  uint64_t limit = self->options->drain_timeout * NS_PER_SECOND;
  bool expects = waited < FIRST_SECONDS * NS_PER_SECOND && waited < limit / 2 &&
                 http_expects_first(self->http);
  if (http_active(self->http) == 0 && rerank_is_idle(&self->rerank) && !self->loading &&
      !renewal_is_running(&self->renewal) && !expects && !http_ends_gently(self->http)) {
    close_handles(self);
    return;
  }
  if (waited >= BODY_SECONDS * NS_PER_SECOND || waited >= limit / 2) {
    http_drop_receiving(self->http);
  }
  if (waited >= limit) {
    log_text(LOG_LEVEL_ERROR, "gave up on %zu requests after %u seconds", http_active(self->http),
             self->options->drain_timeout);
    log_stop();
    _exit(1);
  }
}

/* Nobody new from here on. The loop turns at least once more before it ends: connections may have a
 * request with them. */
static void stop(app *self) {
  self->leaving = false;
  self->router.stopping = true;
  load_cancel(&self->load);
  renewal_stop(&self->renewal);
  route_release(&self->router);
  self->stopped_at = clock_now();
  http_stop_accepting(self->http);
  systemd_enter(&self->systemd, SYSTEMD_STOPPING);
  (void)uv_timer_start(&self->drain, on_drain, DRAIN_POLL_MS, DRAIN_POLL_MS);
}

static void on_delay_over(uv_timer_t *timer) {
  app *self = timer->data;
  log_text(LOG_LEVEL_INFO, "finishing %zu requests", http_active(self->http));
  stop(self);
}

static void leave(app *self) {
  self->leaving = true;
  self->router.stopping = true;
  http_ask_to_leave(self->http);
  systemd_enter(&self->systemd, SYSTEMD_STOPPING);
  (void)uv_timer_start(&self->drain, on_delay_over, (uint64_t)self->options->drain_delay * 1000, 0);
}

static void on_signal(uv_signal_t *handle, int number) {
  app *self = handle->data;
  const char *name = number == SIGTERM ? "SIGTERM" : "SIGINT";
  if (self->router.stopping && !self->leaving) {
    log_text(LOG_LEVEL_WARN, "another %s: stopping at once", name);
    log_stop();
    _exit(1);
  }
  if (!self->leaving && self->router.ready && self->options->drain_delay > 0) {
    log_text(LOG_LEVEL_INFO, "%s: no longer ready, serving for %u more seconds", name,
             self->options->drain_delay);
    leave(self);
    return;
  }
  log_text(LOG_LEVEL_INFO, "%s: finishing %zu requests", name, http_active(self->http));
  stop(self);
}

/* So many that headers without end, on all of them, are no danger. */
static unsigned max_connections(const app *self) {
  uint64_t most =
      memory_limits_least(&self->limits)->bytes / CONNECTIONS_SHARE / http_connection_bytes();
  return most == 0 || most > CONNECTIONS_MAX ? (unsigned)CONNECTIONS_MAX
         : most < CONNECTIONS_MIN            ? (unsigned)CONNECTIONS_MIN
                                             : (unsigned)most;
}

/* The model is there, and so it can be told what is left for requests. */
static void settle_memory(app *self) {
  const options *o = self->options;
  const double mib = 1 << 20;
  workers_stats stats;
  memory_use use;
  char note[MEMORY_NOTE_MAX];
  bool lacking;
  workers_read_stats(self->load.workers, &stats);
  memory_use_read(&use);
  use.promised = stats.workspace_bytes + o->cache_bytes +
                 (self->load.documents != NULL ? o->document_cache_bytes : 0) +
                 max_connections(self) * http_connection_bytes() +
                 (uint64_t)(o->threads + o->tokenization_workers) * CODER_BYTES;
  uint64_t share = memory_for_requests(&self->limits, &use, note, &lacking);
  if (o->request_memory == 0) {
    rr_budget_set_limit(&self->memory, share);
    log_text(lacking ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "requests may take %.1f MiB together: %s",
             (double)share / mib, note);
    return;
  }
  lacking = o->request_memory > share;
  log_text(lacking ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
           "requests may take %.1f MiB together, by --request-memory; %s would be %.1f MiB",
           (double)o->request_memory / mib, note, (double)share / mib);
}

static void on_loaded(uv_work_t *work, int status) {
  app *self = work->data;
  self->loading = false;
  if (status != 0 || self->load.error.status != RR_OK) {
    if (self->router.stopping) { /* which may have interrupted it */
      log_text(LOG_LEVEL_INFO, "stopped before the model was there: %s", self->load.error.message);
      return;
    }
    log_text(LOG_LEVEL_ERROR, "cannot load the model: %s", self->load.error.message);
    self->exit_status = 1;
    stop(self);
    return;
  }
  const rr_model_info *model = rr_scorer_info(self->load.scorer);
  self->rerank.scorer = self->load.scorer;
  self->rerank.workers = self->load.workers;
  self->rerank.cache = self->load.cache;
  self->rerank.documents = self->load.documents;
  if (self->sharing.client != NULL && !self->router.stopping) {
    self->sharing.keys = self->load.shared;
    self->rerank.sharing = &self->sharing;
    redis_client_start(self->sharing.client);
  }
  settle_memory(self);
  self->router.ready = true;
  if (!self->router.stopping) {
    (void)uv_timer_stop(&self->drain);
    systemd_enter(&self->systemd, SYSTEMD_SERVING);
    route_release(&self->router);
  }
  if (model->pack_cache != RR_PACK_CACHE_OFF) {
    log_text(model->pack_cache == RR_PACK_CACHE_NOT_WRITTEN ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "%s",
             model->pack_note);
  }
  log_text(LOG_LEVEL_INFO,
           "ready: %s scored by %s%s, %u layers of %u, up to %u tokens, %s (%s) on %s, %u threads, "
           "%zu tokens a micro-batch",
           model->kind == RR_CROSS_ENCODER ? "cross-encoder" : "bi-encoder", model->scoring_name,
           model->calibrated ? ", calibrated" : "", model->layers, model->hidden_size,
           model->max_input_length, model->dtype_name, model->dtype_note, model->kernels,
           self->options->threads, self->options->max_batch_tokens);
}

static bool start_signals(app *self) {
  self->terminate.data = self;
  self->interrupt.data = self;
  self->renew.data = self;
  self->drain.data = self;
  return uv_signal_init(&self->loop, &self->terminate) == 0 &&
         uv_signal_init(&self->loop, &self->interrupt) == 0 &&
         uv_signal_init(&self->loop, &self->renew) == 0 &&
         uv_timer_init(&self->loop, &self->drain) == 0 &&
         uv_signal_start(&self->terminate, on_signal, SIGTERM) == 0 &&
         uv_signal_start(&self->interrupt, on_signal, SIGINT) == 0 &&
         uv_signal_start(&self->renew, on_renew, SIGHUP) == 0;
}

/* Until the model is there nobody knows what it leaves. */
static void start_memory(app *self) {
  memory_limits_read(&self->limits);
  uint64_t most = memory_limits_least(&self->limits)->bytes / LOADING_SHARE;
  size_t wanted = self->options->request_memory;
  rr_budget_init(&self->memory, wanted > 0                  ? wanted
                                : most > REQUEST_MEMORY_MIN ? most
                                                            : REQUEST_MEMORY_MIN);
}

static bool start_rerank(app *self) {
  const options *o = self->options;
  const rerank_config config = {
      .max_concurrent_requests = o->max_concurrent_requests,
      .max_texts = o->max_client_batch_size,
      .memory = &self->memory,
      .request_limit = (size_t)REQUEST_BASE + o->payload_limit * (size_t)REQUEST_PER_PAYLOAD_BYTE,
      .payload_limit = o->payload_limit,
      .auto_truncate = o->auto_truncate,
      .pool_threads = o->tokenization_workers,
      .default_timeout_ms = o->default_timeout_ms,
      .model_name = o->served_model_name == NULL ? o->model_id : o->served_model_name,
  };
  return rerank_service_init(&self->rerank, &self->loop, &config, &self->metrics) == 0;
}

/* Begins nothing: the connection is made once the model is there. */
static rr_status create_sharing(app *self, rr_error *err) {
  const options *o = self->options;
  if (o->shared_cache == NULL) {
    return RR_OK;
  }
  rr_status status =
      redis_address_parse(o->shared_cache, o->shared_cache_password, &self->redis_address, err);
  if (status != RR_OK) {
    return status;
  }
  redis_commands_init(&self->sharing.commands, o->shared_cache_prefix, o->shared_cache_ttl);
  const redis_client_config config = {.address = &self->redis_address,
                                      .commands = &self->sharing.commands,
                                      .timeout_ms = o->shared_cache_timeout_ms};
  self->sharing.client = redis_client_create(&self->loop, &config, &self->metrics.shared);
  return self->sharing.client != NULL
             ? RR_OK
             : rr_fail(err, RR_ERR_MEMORY, "out of memory for the shared cache");
}

static rr_status start_http(app *self, rr_error *err) {
  const options *o = self->options;
  const http_config config = {
      .passed = self->sockets,
      .n_passed = self->n_sockets,
      .hostname = o->hostname,
      .port = o->port,
      .unix_socket = o->unix_socket,
      .drain_limit = o->payload_limit * (size_t)DRAIN_BODIES,
      .memory = &self->memory,
      .max_connections = max_connections(self),
      .idle_seconds = o->idle_timeout,
      .client_seconds = o->client_timeout,
  };
  self->router = (router){.options = o,
                          .load = &self->load,
                          .rerank = &self->rerank,
                          .metrics = &self->metrics,
                          .spans = self->spans,
                          .watch = &self->watch,
                          .keys = self->keys,
                          .started = (int64_t)time(NULL)};
  http_handlers handlers = route_handlers(&self->router);
  return http_start(&self->loop, &config, &handlers, &self->http, err);
}

/* The pool's threads parse and tokenize, and one is there for what must not wait for those: answers
 * cut short by their deadline, keys. libuv reads the number once, from the environment. */
static void size_pool(const options *chosen) {
  char text[16];
  unsigned names = chosen->shared_cache != NULL ? 1 : 0; /* looking one up may take seconds */
  (void)snprintf(text, sizeof text, "%u", chosen->tokenization_workers + 1 + names);
  (void)setenv("UV_THREADPOOL_SIZE", text, 1);
}

static void on_held_long(uv_timer_t *timer) {
  app *self = timer->data;
  if (self->router.held.n > 0) {
    log_text(LOG_LEVEL_WARN, "refusing %zu requests that have waited for the model",
             self->router.held.n);
  }
  route_release(&self->router);
}

/* The sockets have brought the clients of the process before, who need not notice. */
static void hold_requests(app *self) {
  if (self->n_sockets > 0) {
    self->router.held = (hold){.open = true, .most = self->options->max_concurrent_requests};
    (void)uv_timer_start(&self->drain, on_held_long, HOLD_MS, 0);
  }
}

static void log_listening(const app *self) {
  const options *o = self->options;
  for (size_t i = 0; i < self->n_sockets; i++) {
    char place[SYSTEMD_PLACE_MAX];
    systemd_place(self->sockets[i], place);
    log_text(LOG_LEVEL_INFO, "rerankd %s listening on %s, a socket that was passed, loading %s",
             RERANKD_VERSION, place, o->model_id);
  }
  if (self->n_sockets > 0) {
    return;
  }
  if (o->unix_socket != NULL) {
    log_text(LOG_LEVEL_INFO, "rerankd %s listening on %s, loading %s", RERANKD_VERSION,
             o->unix_socket, o->model_id);
  } else {
    log_text(LOG_LEVEL_INFO, "rerankd %s listening on %s port %u, loading %s", RERANKD_VERSION,
             o->hostname, http_port(self->http), o->model_id);
  }
}

/* In one line, for the service manager. */
static bool describe(void *context, char text[SYSTEMD_TEXT_MAX]) {
  const app *self = context;
  char loading[LOAD_TEXT_MAX];
  if (self->exit_status != 0) {
    (void)snprintf(text, SYSTEMD_TEXT_MAX, "cannot load the model: %.200s",
                   self->load.error.message);
  } else if (self->leaving) {
    (void)snprintf(text, SYSTEMD_TEXT_MAX, "no longer ready, %zu requests at work",
                   http_active(self->http));
  } else if (self->router.stopping) {
    (void)snprintf(text, SYSTEMD_TEXT_MAX, "finishing %zu requests", http_active(self->http));
  } else if (self->router.ready) {
    (void)snprintf(text, SYSTEMD_TEXT_MAX, "serving %.200s", self->options->model_id);
  } else {
    load_describe(&self->load, loading);
    (void)snprintf(text, SYSTEMD_TEXT_MAX, "%s", loading);
  }
  return !loop_watch_is_stuck(&self->watch);
}

/* Sockets that are passed stand for those that the options name. */
static rr_status take_sockets(app *self, rr_error *err) {
  rr_status status = systemd_sockets(self->sockets, HTTP_LISTENERS_MAX, &self->n_sockets, err);
  if (self->n_sockets > 0) {
    self->own.unix_socket = NULL;
  }
  return status;
}

/* A number format that was asked for by the name of another. */
static void log_dtype(const app *self) {
  if (self->options->dtype_float16) {
    log_text(LOG_LEVEL_WARN,
             "--dtype float16 is taken as bfloat16, which has as many bits: nothing here "
             "multiplies float16%s",
             rr_scorer_multiplies_bfloat16()
                 ? ""
                 : "; this CPU has no instructions for bfloat16 either, so that --dtype auto, "
                   "here float32, is no slower and more exact");
  }
}

static void log_tracing(const app *self) {
  if (self->spans.exporter != NULL) {
    log_text(LOG_LEVEL_INFO, "spans are sent to %s", self->tracing.where);
  }
}

static bool start(app *self) {
  rr_error error = {.status = RR_OK, .message = "libuv cannot start"};
  if (!start_signals(self) || !loop_watch_start(&self->watch, &self->loop, &self->metrics.turns) ||
      !start_rerank(self) || create_sharing(self, &error) != RR_OK ||
      take_sockets(self, &error) != RR_OK ||
      renewal_load(self->options, &self->keys, &error) != RR_OK ||
      start_http(self, &error) != RR_OK) {
    log_text(LOG_LEVEL_ERROR, "%s", error.message);
    return false;
  }
  systemd_start(&self->systemd, &self->loop, describe, self);
  if (confine_start(&self->confined, self->tracing.on, &error) != RR_OK) {
    log_text(LOG_LEVEL_ERROR, "%s", error.message);
    return false;
  }
  if (!log_start(self->options->log_level, self->options->json_output) ||
      (self->spans.exporter != NULL && !otlp_start(self->spans.exporter))) {
    log_text(LOG_LEVEL_ERROR, "cannot start a thread");
    return false;
  }
  log_listening(self);
  log_dtype(self);
  hold_requests(self);
  log_tracing(self);
  self->loader.data = self;
  self->loading = true;
  if (uv_queue_work(&self->loop, &self->loader, run_load, on_loaded) != 0) {
    log_text(LOG_LEVEL_ERROR, "libuv cannot start a thread");
    return false;
  }
  return true;
}

/* What OpenTelemetry's variables say wrong may be meant for others, and is no reason not to serve.
 * False for what is wrong here. */
static bool read_tracing(app *self) {
  const options *o = self->options;
  const otlp_choices choices = {
      .endpoint = o->otlp_endpoint, .service = o->otlp_service_name, .sample = o->otlp_sample};
  bool foreign;
  rr_error error;
  if (otlp_settings_read(&choices, getenv, &self->tracing, &foreign, &error) != RR_OK) {
    self->tracing.on = false;
    log_text(foreign ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "%s%s",
             foreign ? "spans are not sent: " : "", error.message);
    return foreign;
  }
  return true;
}

static bool start_tracing(app *self) {
  rr_error error;
  self->spans.settings = &self->tracing;
  if (self->tracing.on && otlp_create(&self->tracing, &self->spans.exporter, &error) != RR_OK) {
    log_text(LOG_LEVEL_ERROR, "%s", error.message);
    return false;
  }
  return true;
}

/* Milliseconds, and before any thread computes. */
static bool choose_kernels(const options *chosen) {
  char note[RR_KERNEL_NOTE_MAX] = "";
  rr_error error;
  if (rr_scorer_choose_kernels(chosen->isa, note, &error) != RR_OK) {
    log_text(LOG_LEVEL_ERROR, "--isa (RERANKD_ISA): %s", error.message);
    return false;
  }
  if (note[0] != '\0') {
    log_text(LOG_LEVEL_WARN, "%s", note);
  }
  return true;
}

static bool make_loop(app *self) {
  rr_error error = {.status = RR_OK, .message = "libuv makes no loop"};
  if (confine_prepare(&self->confined, self->options, &error) != RR_OK ||
      uv_loop_init(&self->loop) != 0) {
    log_text(LOG_LEVEL_ERROR, "%s", error.message);
    return false;
  }
  return true;
}

int app_run(const options *chosen) {
  static app self; /* large, and its handles must outlive every callback */
  self.options = chosen;
  if (!choose_kernels(chosen) || !read_tracing(&self)) {
    return APP_EXIT_USAGE;
  }
  self.own = *chosen;
  self.options = &self.own;
  renewal_init(&self.renewal, &self.loop, self.options, on_renewed, &self);
  start_memory(&self);
  load_init(&self.load, self.options);
  metrics_init(&self.metrics);
  size_pool(chosen);
  (void)signal(SIGPIPE, SIG_IGN);
  (void)signal(SIGXFSZ,
               SIG_IGN); /* a write beyond the limit of the process is an error like any other */
  if (!make_loop(&self) || !start_tracing(&self) || !start(&self)) {
    return 1;
  }
  (void)uv_run(&self.loop, UV_RUN_DEFAULT);
  (void)uv_loop_close(&self.loop);
  otlp_destroy(self.spans.exporter);
  workers_destroy(self.load.workers);
  score_cache_destroy(self.load.cache);
  document_cache_destroy(self.load.documents);
  rr_scorer_destroy(self.load.scorer);
  api_keys_destroy(self.keys);
  log_text(LOG_LEVEL_INFO, "stopped");
  if (redis_client_lingers(
          self.sharing.client)) { /* a thread of the pool does, and an exit would wait for it */
    log_stop();
    _exit(self.exit_status);
  }
  redis_client_destroy(self.sharing.client);
  return self.exit_status;
}
