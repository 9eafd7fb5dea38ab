#include "server/metrics.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/base/alloc.h"
#include "proto/error.h"

/* The value of the `err` label, by rr_api_error_kind. */
static const char *const error_names[] = {
    [RR_API_EMPTY] = "empty",           [RR_API_MALFORMED] = "malformed",
    [RR_API_VALIDATION] = "validation", [RR_API_TOKENIZER] = "tokenizer",
    [RR_API_BACKEND] = "backend",       [RR_API_OVERLOADED] = "overloaded",
    [RR_API_UNHEALTHY] = "unhealthy",   [RR_API_MEMORY] = "memory",
    [RR_API_TOO_LARGE] = "too_large",   [RR_API_MEDIA_TYPE] = "media_type",
    [RR_API_UNAUTHORIZED] = "unauthorized", [RR_API_NOT_FOUND] = "not_found",
    [RR_API_METHOD] = "method",         [RR_API_TIMEOUT] = "timeout",
};

/* The value of the `reason` label, by admission_verdict. */
static const char *const refusal_names[ADMISSION_VERDICTS] = {
    [ADMISSION_REQUESTS] = "requests", [ADMISSION_TOKENS] = "tokens", [ADMISSION_WAIT] = "wait",
    [ADMISSION_DEADLINE] = "deadline", [ADMISSION_NEVER] = "never",
};

_Static_assert(sizeof error_names / sizeof error_names[0] == METRICS_ERRORS,
               "one failure counter a kind of error");

static const double duration_bounds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25,
                                         .5,    1,    2.5,   5,    10,  25,   60};
static const double wait_bounds[] = {.0001, .0002, .0005, .001, .0015, .002, .0025, .003, .004, .005, .01, .025, .1, 1};
static const double length_bounds[] = {8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096, 8192};
static const double size_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
static const double token_bounds[] = {64, 128, 256, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768};
static const double fill_bounds[] = {.05, .1, .2, .3, .4, .5, .6, .7, .8, .9, .95, 1};

#define HISTOGRAM(array) \
  ((histogram){.bounds = (array), .n_bounds = sizeof(array) / sizeof((array)[0])})

void engine_stats_init(engine_stats *stats) {
  *stats = (engine_stats){
      .batch_sequences = HISTOGRAM(size_bounds),
      .batch_tokens = HISTOGRAM(token_bounds),
      .batch_fill = HISTOGRAM(fill_bounds),
  };
}

void metrics_init(metrics *self) {
  *self = (metrics){
      .total = HISTOGRAM(duration_bounds),
      .parse = HISTOGRAM(duration_bounds),
      .tokenization = HISTOGRAM(duration_bounds),
      .queue = HISTOGRAM(duration_bounds),
      .inference = HISTOGRAM(duration_bounds),
      .input_length = HISTOGRAM(length_bounds),
      .shared = {.wait = HISTOGRAM(wait_bounds)},
  };
}

void histogram_add(histogram *self, double value) {
  size_t bucket = 0;
  while (bucket < self->n_bounds && value > self->bounds[bucket]) {
    bucket++;
  }
  self->counts[bucket]++;
  self->sum += value;
}

static void head(FILE *out, const char *name, const char *type, const char *help) {
  (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_histogram(FILE *out, const char *name, const char *help, const histogram *h) {
  head(out, name, "histogram", help);
  uint64_t cumulative = 0;
  for (size_t i = 0; i < h->n_bounds; i++) {
    cumulative += h->counts[i];
    (void)fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, h->bounds[i], cumulative);
  }
  cumulative += h->counts[h->n_bounds];
  (void)fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, cumulative);
  (void)fprintf(out, "%s_sum %.9g\n%s_count %" PRIu64 "\n", name, h->sum, name, cumulative);
}

static void write_gauge(FILE *out, const char *name, const char *help, uint64_t value) {
  head(out, name, "gauge", help);
  (void)fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void write_counter(FILE *out, const char *name, const char *help, uint64_t value) {
  head(out, name, "counter", help);
  (void)fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void write_methods(FILE *out, const char *name, const char *help,
                          const uint64_t counts[RR_OPERATIONS]) {
  head(out, name, "counter", help);
  for (int operation = 0; operation < RR_OPERATIONS; operation++) {
    (void)fprintf(out, "%s{method=\"%s\"} %" PRIu64 "\n", name,
                  rr_operation_name((rr_operation)operation), counts[operation]);
  }
}

static void write_requests(FILE *out, const metrics *self) {
  write_methods(out, "te_request_count", "Requests for scores received.", self->requests);
  write_methods(out, "te_request_success", "Requests answered with scores.", self->successes);
  head(out, "te_request_failure", "counter", "Requests refused or failed, by kind of error.");
  for (int kind = 0; kind < METRICS_ERRORS; kind++) {
    (void)fprintf(out, "te_request_failure{err=\"%s\"} %" PRIu64 "\n", error_names[kind],
                  self->failures[kind]);
  }
}

static void write_cache(FILE *out, const cache_stats *cached) {
  uint64_t asked = cached->hits + cached->misses;
  write_counter(out, "te_cache_hits", "Different texts of a request whose score was known.", cached->hits);
  write_counter(out, "te_cache_misses", "Different texts of a request that were not in the score cache.",
                cached->misses);
  head(out, "te_cache_hit_ratio", "gauge", "Hits over hits and misses since the start.");
  (void)fprintf(out, "te_cache_hit_ratio %.9g\n", asked == 0 ? 0.0 : (double)cached->hits / (double)asked);
  write_counter(out, "te_cache_insertions", "Scores added to the cache.", cached->insertions);
  write_counter(out, "te_cache_evictions", "Scores that made room for one asked for more often.",
                cached->evictions);
  write_counter(out, "te_cache_rejections", "Scores that left soon, asked for too rarely to stay.",
                cached->rejections);
  write_gauge(out, "te_cache_entries", "Scores in the cache.", cached->entries);
  write_gauge(out, "te_cache_capacity", "Scores it can hold.", cached->capacity);
  write_gauge(out, "te_cache_bytes", "Memory it may take, index and sketch included.", cached->bytes);
}

static void write_documents(FILE *out, const document_stats *documents) {
  const cache_stats *halves = &documents->halves;
  write_counter(out, "te_document_cache_hits", "Documents and names of documents that were in the document cache.",
                halves->hits);
  write_counter(out, "te_document_cache_misses", "Documents and names that were not.", halves->misses);
  write_counter(out, "te_document_cache_insertions", "Documents and names added.", halves->insertions);
  write_counter(out, "te_document_cache_evictions", "Those that made room for some asked for more often.",
                halves->evictions);
  write_counter(out, "te_document_cache_rejections", "Those that left soon, asked for too rarely to stay.",
                halves->rejections);
  write_gauge(out, "te_document_cache_entries", "Documents and names in the cache.", halves->entries);
  write_gauge(out, "te_document_cache_bytes", "Memory that documents take, those held by requests alone included.",
              documents->bytes);
  write_gauge(out, "te_document_cache_capacity_bytes", "Memory they may take, index included.", documents->most);
}

static void write_document_file(FILE *out, const document_file_stats *file) {
  write_gauge(out, "te_document_file_entries", "Documents and names in the file.", file->entries);
  write_gauge(out, "te_document_file_bytes", "Bytes of these.", file->bytes);
  write_gauge(out, "te_document_file_capacity_bytes", "Bytes it can hold.", file->capacity);
  write_counter(out, "te_document_file_hits", "Documents and names read from the file.", file->hits);
  write_counter(out, "te_document_file_damaged", "Those that were found damaged, and forgotten.", file->damaged);
  write_counter(out, "te_document_file_puts", "Documents and names written.", file->puts);
  write_counter(out, "te_document_file_failed", "Those that the disk refused.", file->failed);
  write_counter(out, "te_document_file_evictions", "Those that made room for newer ones.", file->evicted);
}

/* The value of the `outcome` label, by shared_outcome. */
static const char *const outcome_names[SHARED_OUTCOMES] = {
    [SHARED_ANSWERED] = "answered", [SHARED_LATE] = "late",           [SHARED_REFUSED] = "refused",
    [SHARED_LOST] = "lost",         [SHARED_NOT_ASKED] = "not_asked", [SHARED_CANCELLED] = "cancelled",
};

static void write_shared(FILE *out, const shared_metrics *shared) {
  const char *name = "te_shared_cache_lookups";
  head(out, name, "counter", "Look-ups in the shared cache, one a request, by how they ended.");
  for (int outcome = 0; outcome < SHARED_OUTCOMES; outcome++) {
    (void)fprintf(out, "%s{outcome=\"%s\"} %" PRIu64 "\n", name, outcome_names[outcome], shared->lookups[outcome]);
  }
  write_histogram(out, "te_shared_cache_wait_duration", "Seconds that a request waited for the shared cache.",
                  &shared->wait);
  write_counter(out, "te_shared_cache_hits", "Scores found in the shared cache.", shared->hits);
  write_counter(out, "te_shared_cache_misses", "Scores asked for and not found there.", shared->misses);
  write_counter(out, "te_shared_cache_damaged", "Of these, what was there and was no score.", shared->damaged);
  write_counter(out, "te_shared_cache_stores", "Scores that the engine was told to keep, and answered.", shared->stores);
  write_counter(out, "te_shared_cache_store_failures", "Of these, what it refused.", shared->stores_failed);
  write_counter(out, "te_shared_cache_store_drops", "Scores that were not told it: too many waited, or it was gone.",
                shared->stores_dropped);
  write_gauge(out, "te_shared_cache_pending_bytes", "Bytes that wait to be written to it.", shared->stores_bytes);
  write_gauge(out, "te_shared_cache_up", "Whether it is asked: 0 while the breaker is open, or without one.", shared->up);
  write_counter(out, "te_shared_cache_connects", "Connections tried.", shared->connects);
}

static void write_overload(FILE *out, const metrics *self, const engine_stats *stats) {
  const char *name = "te_request_refused";
  head(out, name, "counter", "Requests refused before they were computed, by what was exceeded.");
  for (int reason = 0; reason < ADMISSION_VERDICTS; reason++) {
    if (refusal_names[reason] != NULL) {
      (void)fprintf(out, "%s{reason=\"%s\"} %" PRIu64 "\n", name, refusal_names[reason],
                    self->refusals[reason]);
    }
  }
  write_counter(out, "te_request_deadline_missed", "Requests whose deadline came before any answer.",
                self->missed);
  write_counter(out, "te_request_degraded", "Requests answered with a part of the scores.", self->degraded);
  write_counter(out, "te_request_dropped", "Requests whose client left before the answer.", self->dropped);
  head(out, "te_queue_predicted_duration", "gauge", "Seconds that the waiting work is predicted to take.");
  (void)fprintf(out, "te_queue_predicted_duration %.9g\n", (double)stats->queued_ns / 1e9);
  head(out, "te_estimated_tokens_per_second", "gauge", "Estimated speed of all workers.");
  (void)fprintf(out, "te_estimated_tokens_per_second %.9g\n", stats->tokens_per_second);
}

static void write_all(FILE *out, const metrics *self, const engine_stats *stats, const cache_stats *cached,
                      const document_stats *documents) {
  write_requests(out, self);
  write_histogram(out, "te_request_duration", "Seconds from the headers to the reply.", &self->total);
  write_histogram(out, "te_request_parse_duration", "Seconds to parse the body.", &self->parse);
  write_histogram(out, "te_request_tokenization_duration", "Seconds to tokenize.", &self->tokenization);
  write_histogram(out, "te_request_queue_duration", "Seconds until the first micro-batch began.",
                  &self->queue);
  write_histogram(out, "te_request_inference_duration",
                  "Seconds from the first micro-batch's begin to the last one's end.", &self->inference);
  write_histogram(out, "te_request_input_length", "Tokens of a sequence.", &self->input_length);
  write_histogram(out, "te_batch_next_size", "Sequences of a micro-batch.", &stats->batch_sequences);
  write_histogram(out, "te_batch_next_tokens", "Tokens of a micro-batch.", &stats->batch_tokens);
  write_histogram(out, "te_batch_fill", "Tokens of a micro-batch over its limit.", &stats->batch_fill);
  write_gauge(out, "te_queue_size", "Sequences waiting for a worker.", stats->queued_sequences);
  write_gauge(out, "te_queue_tokens", "Tokens waiting for a worker.", stats->queued_tokens);
  write_gauge(out, "te_queue_requests", "Requests with sequences waiting for a worker.",
              stats->queued_requests);
  write_counter(out, "te_client_gone", "Clients that left while their request waited.", self->gone);
  write_counter(out, "te_client_too_slow", "Clients cut off in the middle of request or reply, by --client-timeout.",
                self->too_slow);
  write_gauge(out, "te_request_active", "Rerank requests accepted and not yet answered.", self->active);
  write_cache(out, cached);
  write_documents(out, documents);
  write_document_file(out, &documents->file);
  write_shared(out, &self->shared);
  write_overload(out, self, stats);
}

char *metrics_text(const metrics *self, const engine_stats *stats, const cache_stats *cached,
                   const document_stats *documents, size_t *ret_size) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (out == NULL) {
    return NULL;
  }
  write_all(out, self, stats, cached, documents);
  int failed = ferror(out);
  if (fclose(out) != 0 || failed != 0) {
    rr_free(text);
    return NULL;
  }
  *ret_size = size;
  return text;
}
