#include <inttypes.h>
#include <stdio.h>

#include "core/base/alloc.h"
#include "proto/error.h"
#include "server/metrics/metrics.h"

/* The value of the `err` label, by rr_api_error_kind. */
static const char *const error_names[] = {
    [RR_API_EMPTY] = "empty",
    [RR_API_MALFORMED] = "malformed",
    [RR_API_VALIDATION] = "validation",
    [RR_API_TOKENIZER] = "tokenizer",
    [RR_API_BACKEND] = "backend",
    [RR_API_OVERLOADED] = "overloaded",
    [RR_API_UNHEALTHY] = "unhealthy",
    [RR_API_MEMORY] = "memory",
    [RR_API_TOO_LARGE] = "too_large",
    [RR_API_MEDIA_TYPE] = "media_type",
    [RR_API_UNAUTHORIZED] = "unauthorized",
    [RR_API_NOT_FOUND] = "not_found",
    [RR_API_METHOD] = "method",
    [RR_API_TIMEOUT] = "timeout",
    [RR_API_TARGET] = "target",
    [RR_API_EXPECTATION] = "expectation",
    [RR_API_HEADERS] = "headers",
    [RR_API_NOT_KNOWN] = "not_known",
    [RR_API_VERSION] = "version",
};

/* The value of the `reason` label, by admission_verdict. */
static const char *const refusal_names[ADMISSION_VERDICTS] = {
    [ADMISSION_REQUESTS] = "requests", [ADMISSION_TOKENS] = "tokens", [ADMISSION_WAIT] = "wait",
    [ADMISSION_DEADLINE] = "deadline", [ADMISSION_NEVER] = "never",   [ADMISSION_MEMORY] = "memory",
};

_Static_assert(sizeof error_names / sizeof error_names[0] == METRICS_ERRORS,
               "one failure counter a kind of error");

static void head(FILE *out, const char *name, const char *type, const char *help) {
  (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* One sample; label: "" or "name=\"value\"". */
static void sample(FILE *out, const char *name, const char *label, double value) {
  const char *open = label[0] == '\0' ? "" : "{";
  (void)fprintf(out, "%s%s%s%s %.15g\n", name, open, label, open[0] == '\0' ? "" : "}", value);
}

/* The samples of a histogram; label as above. */
static void write_buckets(FILE *out, const char *name, const char *label, const histogram *h) {
  const char *comma = label[0] == '\0' ? "" : ",";
  char full[128];
  uint64_t cumulative = 0;
  for (size_t i = 0; i < h->n_bounds; i++) {
    cumulative += h->counts[i];
    (void)fprintf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, label, comma, h->bounds[i],
                  cumulative);
  }
  cumulative += h->counts[h->n_bounds];
  (void)fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, label, comma, cumulative);
  (void)snprintf(full, sizeof full, "%s_sum", name);
  sample(out, full, label, h->sum);
  (void)snprintf(full, sizeof full, "%s_count", name);
  sample(out, full, label, (double)cumulative);
}

static void write_histogram(FILE *out, const char *name, const char *help, const histogram *h) {
  head(out, name, "histogram", help);
  write_buckets(out, name, "", h);
}

static void write_number(FILE *out, const char *name, const char *help, double value) {
  head(out, name, "gauge", help);
  sample(out, name, "", value);
}

static void write_gauge(FILE *out, const char *name, const char *help, uint64_t value) {
  write_number(out, name, help, (double)value);
}

/* Its name ends in _total. */
static void write_counter(FILE *out, const char *name, const char *help, double value) {
  head(out, name, "counter", help);
  sample(out, name, "", value);
}

enum { LABEL_MAX = 64 };

/* One sample a value of a label, which names[i] is the i-th of; NULL: no sample. */
static void write_labelled(FILE *out, const char *name, const char *label, const char *const *names,
                           const uint64_t *counts, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char text[LABEL_MAX];
    if (names[i] != NULL) {
      (void)snprintf(text, sizeof text, "%s=\"%s\"", label, names[i]);
      sample(out, name, text, (double)counts[i]);
    }
  }
}

/* A counter by a label, under its own name, which ends in _total, and under the one that existing
 * dashboards ask for. That one cannot be a counter where names are checked, and so is of no
 * type. */
static void write_counters(FILE *out, const char *name, const char *old, const char *help,
                           const char *label, const char *const *names, const uint64_t *counts,
                           size_t n) {
  head(out, name, "counter", help);
  write_labelled(out, name, label, names, counts, n);
  (void)fprintf(out, "# HELP %s As %s.\n# TYPE %s untyped\n", old, name, old);
  write_labelled(out, old, label, names, counts, n);
}

/* The same without a label: `old`, and `old`_total. */
static void write_old_counter(FILE *out, const char *old, const char *help, uint64_t value) {
  char name[LABEL_MAX];
  (void)snprintf(name, sizeof name, "%s_total", old);
  write_counter(out, name, help, (double)value);
  (void)fprintf(out, "# HELP %s As %s.\n# TYPE %s untyped\n", old, name, old);
  sample(out, old, "", (double)value);
}

static void write_requests(FILE *out, const metrics *self) {
  const char *operations[RR_OPERATIONS];
  for (int i = 0; i < RR_OPERATIONS; i++) {
    operations[i] = rr_operation_name((rr_operation)i);
  }
  write_counters(out, "te_requests_total", "te_request_count", "Requests for scores received.",
                 "method", operations, self->requests, RR_OPERATIONS);
  write_counters(out, "te_requests_succeeded_total", "te_request_success",
                 "Requests answered with scores.", "method", operations, self->successes,
                 RR_OPERATIONS);
  write_counters(out, "te_requests_failed_total", "te_request_failure",
                 "Requests refused or failed, by kind of error.", "err", error_names,
                 self->failures, METRICS_ERRORS);
}

static void write_cache(FILE *out, const lfu_stats *cached) {
  uint64_t asked = cached->hits + cached->misses;
  write_old_counter(out, "te_cache_hits", "Different texts of a request whose score was known.",
                    cached->hits);
  write_old_counter(out, "te_cache_misses",
                    "Different texts of a request that were not in the score cache.",
                    cached->misses);
  write_number(out, "te_cache_hit_ratio", "Hits over hits and misses since the start.",
               asked == 0 ? 0.0 : (double)cached->hits / (double)asked);
  write_old_counter(out, "te_cache_insertions", "Scores added to the cache.", cached->insertions);
  write_old_counter(out, "te_cache_evictions",
                    "Scores that made room for one asked for more often.", cached->evictions);
  write_old_counter(out, "te_cache_rejections",
                    "Scores that left soon, asked for too rarely to stay.", cached->rejections);
  write_gauge(out, "te_cache_entries", "Scores in the cache.", cached->entries);
  write_gauge(out, "te_cache_capacity", "Scores it can hold.", cached->capacity);
  write_gauge(out, "te_cache_bytes", "Memory it may take, index and sketch included.",
              cached->bytes);
}

static void write_documents(FILE *out, const document_stats *documents) {
  const lfu_stats *memory = &documents->memory;
  write_old_counter(out, "te_document_cache_hits",
                    "Documents and names of documents that were in the document cache.",
                    memory->hits);
  write_old_counter(out, "te_document_cache_misses", "Documents and names that were not.",
                    memory->misses);
  write_old_counter(out, "te_document_cache_insertions", "Documents and names added.",
                    memory->insertions);
  write_old_counter(out, "te_document_cache_evictions",
                    "Those that made room for some asked for more often.", memory->evictions);
  write_old_counter(out, "te_document_cache_rejections",
                    "Those that left soon, asked for too rarely to stay.", memory->rejections);
  write_gauge(out, "te_document_cache_entries", "Documents and names in the cache.",
              memory->entries);
  write_gauge(out, "te_document_cache_bytes",
              "Memory that documents take, those held by requests alone included.",
              documents->bytes);
  write_gauge(out, "te_document_cache_capacity_bytes", "Memory they may take, index included.",
              documents->most);
}

static void write_document_file(FILE *out, const document_file_stats *file) {
  write_gauge(out, "te_document_file_entries", "Documents and names in the file.", file->entries);
  write_gauge(out, "te_document_file_bytes", "Bytes of these.", file->bytes);
  write_gauge(out, "te_document_file_capacity_bytes", "Bytes it can hold.", file->capacity);
  write_old_counter(out, "te_document_file_hits", "Documents and names read from the file.",
                    file->hits);
  write_old_counter(out, "te_document_file_damaged",
                    "Those that were found damaged, and forgotten.", file->damaged);
  write_old_counter(out, "te_document_file_puts", "Documents and names written.", file->puts);
  write_old_counter(out, "te_document_file_failed", "Those that the disk refused.", file->failed);
  write_old_counter(out, "te_document_file_evictions", "Those that made room for newer ones.",
                    file->evicted);
}

/* The value of the `outcome` label, by redis_outcome. */
static const char *const outcome_names[REDIS_OUTCOMES] = {
    [REDIS_ANSWERED] = "answered", [REDIS_LATE] = "late",           [REDIS_REFUSED] = "refused",
    [REDIS_LOST] = "lost",         [REDIS_NOT_ASKED] = "not_asked", [REDIS_CANCELLED] = "cancelled",
};

static void write_shared(FILE *out, const redis_metrics *shared) {
  head(out, "te_shared_cache_lookups_total", "counter",
       "Look-ups in the shared cache, one a request, by how they ended.");
  write_labelled(out, "te_shared_cache_lookups_total", "outcome", outcome_names, shared->lookups,
                 REDIS_OUTCOMES);
  write_histogram(out, "te_shared_cache_wait_duration",
                  "Seconds that a request waited for the shared cache.", &shared->wait);
  write_counter(out, "te_shared_cache_hits_total", "Scores found in the shared cache.",
                (double)shared->hits);
  write_counter(out, "te_shared_cache_misses_total", "Scores asked for and not found there.",
                (double)shared->misses);
  write_counter(out, "te_shared_cache_damaged_total", "Of these, what was there and was no score.",
                (double)shared->damaged);
  write_counter(out, "te_shared_cache_stores_total",
                "Scores that the cache server was told to keep, and answered.",
                (double)shared->stores);
  write_counter(out, "te_shared_cache_store_failures_total", "Of these, what it refused.",
                (double)shared->stores_failed);
  write_counter(out, "te_shared_cache_store_drops_total",
                "Scores that were not told it: too many waited, or it was gone.",
                (double)shared->stores_dropped);
  write_gauge(out, "te_shared_cache_pending_bytes", "Bytes that wait to be written to it.",
              shared->stores_bytes);
  write_gauge(out, "te_shared_cache_up",
              "Whether it is asked: 0 while the breaker is open, or without one.", shared->up);
  write_counter(out, "te_shared_cache_connects_total", "Connections tried.",
                (double)shared->connects);
}

static void write_overload(FILE *out, const metrics *self, const workers_stats *stats) {
  write_counters(out, "te_requests_refused_total", "te_request_refused",
                 "Requests refused before they were computed, by what was exceeded.", "reason",
                 refusal_names, self->refusals, ADMISSION_VERDICTS);
  write_old_counter(out, "te_request_deadline_missed",
                    "Requests whose deadline came before any answer.", self->missed);
  write_old_counter(out, "te_request_degraded", "Requests answered with a part of the scores.",
                    self->degraded);
  write_old_counter(out, "te_request_dropped", "Requests whose client left before the answer.",
                    self->dropped);
  write_number(out, "te_queue_predicted_duration",
               "Seconds that the waiting work is predicted to take.",
               (double)stats->queued_ns / 1e9);
  write_number(out, "te_estimated_tokens_per_second", "Estimated speed of all workers.",
               stats->tokens_per_second);
}

static void write_phases(FILE *out, const metrics *self) {
  const char *name = "rerankd_request_phase_seconds";
  char label[LABEL_MAX];
  head(out, name, "histogram",
       "Seconds that requests for scores spent in each phase, whatever came of them; `between`: in "
       "none, which is "
       "waiting for the event loop.");
  for (int i = 0; i < REQUEST_PHASES; i++) {
    (void)snprintf(label, sizeof label, "phase=\"%s\"", phase_name((request_phase)i));
    write_buckets(out, name, label, &self->phases[i]);
  }
  write_buckets(out, name, "phase=\"between\"", &self->between);
  write_counter(out, "rerankd_slow_requests_total",
                "Requests that took --slow-request-ms and more.", (double)self->slow);
}

static void write_work(FILE *out, const metrics *self, const metrics_facts *facts,
                       const workers_stats *stats) {
  static const char *const sources[] = {"computed", "known"};
  const uint64_t tokens[] = {(uint64_t)stats->batch_tokens.sum, self->known_tokens};
  head(out, "rerankd_tokens_total", "counter",
       "Tokens given to the workers, and tokens of answers that needed no computing: score or "
       "document were known.");
  write_labelled(out, "rerankd_tokens_total", "source", sources, tokens, 2);
  write_counter(out, "rerankd_worker_busy_seconds_total",
                "Seconds that workers were busy, all together: computing, and making replies.",
                (double)stats->busy_ns / 1e9);
  write_gauge(out, "rerankd_workers", "Threads that compute.", stats->workers);
  write_counter(out, "rerankd_pool_busy_seconds_total",
                "Seconds that threads of the pool were busy with requests, all together.",
                (double)self->pool_busy / 1e9);
  write_gauge(out, "rerankd_pool_threads", "Threads that parse and tokenize.", facts->pool_threads);
  write_histogram(out, "rerankd_event_loop_turn_seconds",
                  "Seconds that a turn of the event loop took: so long an event may have waited.",
                  &self->turns);
}

static void write_limits(FILE *out, const metrics_facts *facts) {
  write_number(out, "rerankd_queue_limit_seconds", "The longest predicted wait, --max-queue-ms.",
               (double)facts->max_queue_ms / 1e3);
  write_gauge(out, "rerankd_queue_limit_tokens", "The most tokens that wait, --max-queue-tokens.",
              facts->max_queue_tokens);
  write_gauge(out, "rerankd_request_limit",
              "The most requests at a time, --max-concurrent-requests.", facts->max_requests);
}

static void write_memory(FILE *out, const metrics_view *view) {
  static const char *const kinds[] = {"weights",        "workspaces", "score_cache",
                                      "document_cache", "bodies",     "arenas"};
  const uint64_t bytes[] = {view->facts->weight_bytes, view->workers->workspace_bytes,
                            view->cached->bytes,       view->documents->bytes,
                            view->facts->body_bytes,   view->facts->arena_bytes};
  head(out, "rerankd_memory_bytes", "gauge",
       "Memory by what it is for: weights and workers' workspaces, caches (that of scores is what "
       "it may take), bodies "
       "of requests, and what was made of them.");
  write_labelled(out, "rerankd_memory_bytes", "kind", kinds, bytes, sizeof kinds / sizeof kinds[0]);
  write_gauge(out, "rerankd_request_memory_bytes",
              "Memory that requests have at the moment: bodies, what is made of them, and replies.",
              view->facts->request_bytes);
  write_gauge(out, "rerankd_request_memory_limit_bytes",
              "The most that they may have together, --request-memory.",
              view->facts->request_bytes_limit);
}

/* The names that Prometheus' own libraries use. What is not known is left out. */
static void write_process(FILE *out, const process_stats *process, int64_t started) {
  write_number(out, "process_start_time_seconds", "Start, in seconds since 1970.", (double)started);
  write_counter(out, "process_cpu_seconds_total", "Seconds that all threads computed.",
                process->cpu_seconds);
  if (process->resident_bytes > 0) {
    write_gauge(out, "process_resident_memory_bytes", "Memory that is resident.",
                process->resident_bytes);
    write_gauge(out, "process_virtual_memory_bytes", "Memory that is mapped.",
                process->virtual_bytes);
  }
  if (process->open_descriptors > 0) {
    write_gauge(out, "process_open_fds", "Open descriptors.", process->open_descriptors);
  }
  write_gauge(out, "process_max_fds", "Descriptors that may be open.", process->max_descriptors);
}

/* A label's value, with what would end it escaped. */
static void write_label(FILE *out, const char *name, const char *value) {
  (void)fprintf(out, "%s=\"", name);
  for (const char *c = value == NULL ? "" : value; *c != '\0'; c++) {
    if (*c == '\n') {
      (void)fputs("\\n", out);
    } else {
      (void)fprintf(out, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
    }
  }
  (void)fputc('"', out);
}

static void write_facts(FILE *out, const metrics_facts *facts) {
  const char *const labels[][2] = {{"version", facts->version},
                                   {"model", facts->model},
                                   {"dtype", facts->dtype},
                                   {"scoring", facts->scoring},
                                   {"kernels", facts->kernels}};
  head(out, "rerankd_build_info", "gauge",
       "What serves what: always 1. The model's labels are empty until it is loaded.");
  (void)fputs("rerankd_build_info{", out);
  for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
    (void)fputs(i == 0 ? "" : ",", out);
    write_label(out, labels[i][0], labels[i][1]);
  }
  (void)fputs("} 1\n", out);
  write_gauge(out, "rerankd_ready", "Whether the model is loaded and the server is not stopping.",
              facts->ready);
}

static void write_spans(FILE *out, const otlp_stats *spans) {
  write_counter(out, "rerankd_spans_exported_total",
                "Spans that the collector of --otlp-endpoint has taken.", (double)spans->exported);
  write_counter(
      out, "rerankd_spans_dropped_total",
      "Spans that were never sent: the queue was full, memory short, or the server ended.",
      (double)spans->dropped);
  write_counter(out, "rerankd_spans_failed_total", "Spans that the collector did not take.",
                (double)spans->failed);
}

static void write_all(FILE *out, const metrics_view *view) {
  const metrics *self = view->counters;
  const workers_stats *stats = view->workers;
  write_requests(out, self);
  write_histogram(out, "te_request_duration", "Seconds from the headers to the reply.",
                  &self->total);
  write_histogram(out, "te_request_parse_duration", "Seconds to parse the body.", &self->parse);
  write_histogram(out, "te_request_tokenization_duration", "Seconds to tokenize.",
                  &self->tokenization);
  write_histogram(out, "te_request_queue_duration", "Seconds until the first micro-batch began.",
                  &self->queue);
  write_histogram(out, "te_request_inference_duration",
                  "Seconds from the first micro-batch's begin to the last one's end.",
                  &self->inference);
  write_histogram(out, "te_request_input_length", "Tokens of a sequence.", &self->input_length);
  write_histogram(out, "te_batch_next_size", "Sequences of a micro-batch.",
                  &stats->batch_sequences);
  write_histogram(out, "te_batch_next_tokens", "Tokens of a micro-batch.", &stats->batch_tokens);
  write_histogram(out, "te_batch_fill", "Tokens of a micro-batch over its limit.",
                  &stats->batch_fill);
  write_gauge(out, "te_queue_size", "Sequences waiting for a worker.", stats->queued_sequences);
  write_gauge(out, "te_queue_tokens", "Tokens waiting for a worker.", stats->queued_tokens);
  write_gauge(out, "te_queue_requests", "Requests with sequences waiting for a worker.",
              stats->queued_requests);
  write_old_counter(out, "te_client_gone", "Clients that left while their request waited.",
                    self->gone);
  write_old_counter(out, "te_client_too_slow",
                    "Clients cut off in the middle of request or reply, by --client-timeout.",
                    self->too_slow);
  write_gauge(out, "te_request_active", "Rerank requests accepted and not yet answered.",
              self->active);
  write_cache(out, view->cached);
  write_documents(out, view->documents);
  write_document_file(out, &view->documents->file);
  write_shared(out, &self->shared);
  write_overload(out, self, stats);
  write_phases(out, self);
  write_work(out, self, view->facts, stats);
  write_limits(out, view->facts);
  write_memory(out, view);
  write_facts(out, view->facts);
  write_process(out, view->process, view->facts->started);
  write_spans(out, &self->spans);
}

char *metrics_text(const metrics_view *view, size_t *ret_size) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (out == NULL) {
    return NULL;
  }
  write_all(out, view);
  int failed = ferror(out);
  if (fclose(out) != 0 || failed != 0) {
    rr_free(text);
    return NULL;
  }
  *ret_size = size;
  return text;
}
