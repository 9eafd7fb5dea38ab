#include "bench/load/report.h"

static json_t *times_of(const histogram *times) {
  json_t *percentiles = json_object();
  for (size_t i = 0; i < REPORT_PERCENTILES; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "p%g", report_percentiles[i]);
    (void)json_object_set_new(percentiles, name,
                              json_real(histogram_percentile(times, report_percentiles[i])));
  }
  (void)json_object_set_new(percentiles, "min", json_real(histogram_min(times)));
  (void)json_object_set_new(percentiles, "max", json_real(histogram_max(times)));
  (void)json_object_set_new(percentiles, "mean", json_real(histogram_mean(times)));
  (void)json_object_set_new(percentiles, "count", json_integer((json_int_t)histogram_count(times)));
  return percentiles;
}

static json_t *failures_of(const report *self) {
  json_t *failures = json_object();
  for (size_t i = 0; i < self->n_failures; i++) {
    (void)json_object_set_new(failures, self->failures[i].name,
                              json_integer((json_int_t)self->failures[i].count));
  }
  return failures;
}

static json_t *series_of(const stats *figures) {
  json_t *series = json_array();
  for (size_t i = 0; i < figures->n_buckets; i++) {
    const stats_bucket *bucket = &figures->buckets[i];
    (void)json_array_append_new(series,
                                json_pack("[I, I, I]", (json_int_t)bucket->offered,
                                          (json_int_t)bucket->right, (json_int_t)bucket->failed));
  }
  return json_pack("{s: f, s: [s, s, s], s: o}", "bucket_seconds", (double)figures->bucket_ns / 1e9,
                   "columns", "offered", "right", "failed", "buckets", series);
}

static json_t *settings_of(const report *self) {
  const options *settings = self->settings;
  json_t *out = json_pack(
      "{s: s, s: s, s: s, s: s, s: s, s: I, s: I, s: I, s: I, s: I, s: f, s: I}", "url",
      settings->url, "dialect", settings->dialect_name, "sizes", settings->sizes_text, "load",
      self->load, "mix", self->mix, "words", (json_int_t)settings->words, "seed",
      (json_int_t)settings->seed, "max_in_flight", (json_int_t)settings->max_in_flight,
      "timeout_ms", (json_int_t)settings->timeout_ms, "top_n", (json_int_t)settings->top_n,
      "warmup_seconds", settings->warmup, "warmup_requests", (json_int_t)settings->warmup_requests);
  if (settings->repeat >= 0) {
    (void)json_object_set_new(out, "repeat", json_real(settings->repeat));
  }
  if (settings->connections > 0) {
    (void)json_object_set_new(out, "connections", json_integer((json_int_t)settings->connections));
  }
  if (settings->rate > 0) {
    (void)json_object_set_new(out, "rate", json_real(settings->rate));
  }
  if (settings->model != NULL) {
    (void)json_object_set_new(out, "model", json_string(settings->model));
  }
  return out;
}

static json_t *counts_of(const stats *figures, const run_result *result) {
  return json_pack("{s: I, s: I, s: I, s: I, s: I, s: I, s: I, s: I, s: I}", "offered",
                   (json_int_t)figures->offered, "right", (json_int_t)figures->right, "good",
                   (json_int_t)figures->good, "failed", (json_int_t)stats_failures(figures),
                   "dropped", (json_int_t)figures->dropped, "cancelled",
                   (json_int_t)figures->cancelled, "most_in_flight",
                   (json_int_t)result->most_in_flight, "documents", (json_int_t)result->documents,
                   "repeats", (json_int_t)result->repeats);
}

json_t *report_json(const report *self) {
  const stats_summary *summary = &self->summary;
  json_t *out = json_pack("{s: s, s: o, s: o, s: o, s: b, s: s}", "label", self->settings->label,
                          "settings", settings_of(self), "counts",
                          counts_of(self->figures, self->result), "failures", failures_of(self),
                          "interrupted", self->result->interrupted, "histogram", histogram_kind());
  json_t *rates =
      json_pack("{s: f, s: f, s: f, s: f, s: f, s: f, s: f}", "seconds", summary->seconds,
                "offered_rate", summary->offered_rate, "right_rate", summary->right_rate,
                "documents_rate", summary->documents_rate, "goodput", summary->goodput,
                "good_share", summary->good_share, "error_share", summary->error_share);
  if (out == NULL || rates == NULL) {
    json_decref(out);
    json_decref(rates);
    return NULL;
  }
  if (self->figures->deadline > 0) {
    (void)json_object_set_new(rates, "deadline_ms",
                              json_integer((json_int_t)self->settings->deadline_ms));
  }
  (void)json_object_set_new(out, "rates", rates);
  (void)json_object_set_new(out, "latency_ms", times_of(self->figures->latency));
  (void)json_object_set_new(out, "service_ms", times_of(self->figures->service));
  (void)json_object_set_new(out, "start_lag_ms", times_of(self->figures->lag));
  (void)json_object_set_new(out, "series", series_of(self->figures));
  return out;
}
