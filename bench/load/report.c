#include "bench/load/report.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

const double report_percentiles[REPORT_PERCENTILES] = {50, 75, 90, 95, 99, 99.9, 99.99};

/* --- making ----------------------------------------------------------------------------------- */

static void add_failure(report *self, const char *kind, const char *what, uint64_t count) {
  if (count == 0) {
    return;
  }
  bool full = self->n_failures == REPORT_FAILURES_MAX;
  report_failure *entry = &self->failures[full ? REPORT_FAILURES_MAX - 1 : self->n_failures++];
  if (full) {
    (void)snprintf(entry->name, sizeof entry->name, "others");
  } else {
    (void)snprintf(entry->name, sizeof entry->name, "%s%s", kind, what);
  }
  entry->count += count;
}

static void add_failures(report *self) {
  for (size_t i = 0; i < OUTCOME_KINDS; i++) {
    const char *kind = stats_failure_words((outcome_kind)i);
    if (kind != NULL) {
      add_failure(self, kind, "", self->figures->failed[i]);
    }
  }
  for (size_t i = 0; i < STATS_STATUSES; i++) {
    char number[8];
    (void)snprintf(number, sizeof number, "%zu", i);
    add_failure(self, "status ", number, self->figures->status[i]);
  }
  for (size_t i = 0; i < CHECK_VERDICTS; i++) {
    add_failure(self, "wrong: ", check_words((check_verdict)i), self->figures->wrong[i]);
  }
}

static void describe(report *self) {
  const options *settings = self->settings;
  if (settings->connections > 0) {
    (void)snprintf(self->load, sizeof self->load, "closed loop, %zu connections",
                   settings->connections);
  } else if (settings->rate > 0) {
    (void)snprintf(self->load, sizeof self->load, "open loop, %g/s, %.16s", settings->rate,
                   settings->arrivals);
  } else {
    (void)snprintf(self->load, sizeof self->load, "open loop, recorded arrivals");
  }
  char words[48] = "as given", repeat[48] = "";
  if (settings->words > 0) {
    (void)snprintf(words, sizeof words, "cut to %zu words", settings->words);
  }
  if (settings->repeat >= 0 && self->result->documents > 0) {
    (void)snprintf(repeat, sizeof repeat, ", %.1f %% sent before",
                   100 * (double)self->result->repeats / (double)self->result->documents);
  }
  (void)snprintf(self->mix, sizeof self->mix, "%.100s candidates, %s%s, seed %zu",
                 settings->sizes_text, words, repeat, settings->seed);
}

report report_make(const options *settings, const stats *figures, const run_result *result) {
  report self = {settings, figures, result, stats_summarize(figures), "", "", {{"", 0}}, 0};
  describe(&self);
  add_failures(&self);
  return self;
}

/* --- the table -------------------------------------------------------------------------------- */

static void table_times(const char *name, const histogram *times, FILE *out) {
  fprintf(out, "%-14s", name);
  for (size_t i = 0; i < REPORT_PERCENTILES; i++) {
    fprintf(out, " %9.2f", histogram_percentile(times, report_percentiles[i]));
  }
  fprintf(out, " %9.2f %9.2f\n", histogram_max(times), histogram_mean(times));
}

void report_table(const report *self, FILE *out) {
  const stats *figures = self->figures;
  const stats_summary *summary = &self->summary;
  fprintf(out, "%s: %s, %s\n%s\n", self->settings->label, self->settings->dialect_name, self->load,
          self->mix);
  fprintf(out, "window         %.2f s%s\n", summary->seconds,
          self->result->interrupted ? ", interrupted" : "");
  fprintf(out, "offered        %" PRIu64 " requests, %.2f/s; at most %zu in flight\n",
          figures->offered, summary->offered_rate, self->result->most_in_flight);
  fprintf(out, "right          %" PRIu64 " answers, %.2f/s, %.1f candidates/s\n", figures->right,
          summary->right_rate, summary->documents_rate);
  if (figures->deadline > 0) {
    fprintf(out, "goodput        %.2f/s within %zu ms (%.2f %% of those offered)\n",
            summary->goodput, self->settings->deadline_ms, 100 * summary->good_share);
  }
  fprintf(out, "failed         %" PRIu64 "\n", stats_failures(figures));
  for (size_t i = 0; i < self->n_failures; i++) {
    fprintf(out, "  %-24s %" PRIu64 "\n", self->failures[i].name, self->failures[i].count);
  }
  if (figures->dropped > 0) {
    fprintf(out,
            "dropped        %" PRIu64
            ": more than --max-in-flight %zu or --max-buffer-mb %zu allow; "
            "their latency is in no percentile\n",
            figures->dropped, self->settings->max_in_flight, self->settings->max_buffer_mb);
  }
  if (figures->cancelled > 0) {
    fprintf(out, "cancelled      %" PRIu64 "\n", figures->cancelled);
  }
  fprintf(out, "\n%-14s", "ms");
  for (size_t i = 0; i < REPORT_PERCENTILES; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "p%g", report_percentiles[i]);
    fprintf(out, " %9s", name);
  }
  fprintf(out, " %9s %9s\n", "max", "mean");
  table_times("latency", figures->latency, out);
  table_times("service", figures->service, out);
  table_times("start lag", figures->lag, out);
}

/* --- CSV -------------------------------------------------------------------------------------- */

static void csv_text(const char *text, FILE *out) {
  fputc('"', out);
  for (; *text != '\0'; text++) {
    if (*text == '"') {
      fputc('"', out);
    }
    fputc(*text, out);
  }
  fputc('"', out);
}

void report_csv(const report *self, FILE *out) {
  const stats *figures = self->figures;
  const stats_summary *summary = &self->summary;
  fprintf(out,
          "label,dialect,load,mix,seconds,offered,offered_rate,right,right_rate,documents_rate,"
          "deadline_ms,goodput,"
          "good_share,failed,dropped,error_share");
  for (size_t i = 0; i < REPORT_PERCENTILES; i++) {
    fprintf(out, ",latency_p%g_ms", report_percentiles[i]);
  }
  fprintf(out, ",latency_max_ms,latency_mean_ms,service_p50_ms,service_p99_ms,lag_p99_ms\n");
  const char *const texts[] = {self->settings->label, self->settings->dialect_name, self->load,
                               self->mix};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    csv_text(texts[i], out);
    fputc(',', out);
  }
  fprintf(
      out, "%.3f,%" PRIu64 ",%.3f,%" PRIu64 ",%.3f,%.3f,%zu,%.3f,%.6f,%" PRIu64 ",%" PRIu64 ",%.6f",
      summary->seconds, figures->offered, summary->offered_rate, figures->right,
      summary->right_rate, summary->documents_rate, self->settings->deadline_ms, summary->goodput,
      summary->good_share, stats_failures(figures), figures->dropped, summary->error_share);
  for (size_t i = 0; i < REPORT_PERCENTILES; i++) {
    fprintf(out, ",%.3f", histogram_percentile(figures->latency, report_percentiles[i]));
  }
  fprintf(out, ",%.3f,%.3f,%.3f,%.3f,%.3f\n", histogram_max(figures->latency),
          histogram_mean(figures->latency), histogram_percentile(figures->service, 50),
          histogram_percentile(figures->service, 99), histogram_percentile(figures->lag, 99));
}

/* --- files ------------------------------------------------------------------------------------ */

/* The writers say whether everything was made; what the stream refused shows in its error mark. */
static bool write_json(const report *self, FILE *out) {
  json_t *json = report_json(self);
  bool good = json != NULL && json_dumpf(json, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0;
  json_decref(json);
  fputc('\n', out);
  return good;
}

static bool write_csv(const report *self, FILE *out) {
  report_csv(self, out);
  return true;
}

static bool write_html(const report *self, FILE *out) {
  report_html(self, out);
  return true;
}

static rr_status write_file(const report *self, const char *path,
                            bool (*write)(const report *, FILE *), rr_error *err) {
  char part[PATH_MAX];
  if (path == NULL) {
    return RR_OK;
  }
  if (strcmp(path, "-") == 0) {
    return write(self, stdout) && fflush(stdout) == 0
               ? RR_OK
               : rr_fail(err, RR_ERR_IO, "standard output: %s", strerror(errno));
  }
  FILE *out =
      (size_t)snprintf(part, sizeof part, "%s.part", path) < sizeof part ? fopen(part, "w") : NULL;
  if (out == NULL) {
    return rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
  }
  bool failed = !write(self, out) || ferror(out) != 0;
  failed = fclose(out) != 0 || failed;
  if (failed || rename(part, path) != 0) {
    int reason = errno;
    (void)remove(part);
    return rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(reason));
  }
  return RR_OK;
}

rr_status report_files(const report *self, rr_error *err) {
  rr_status status = write_file(self, self->settings->json, write_json, err);
  if (status == RR_OK) {
    status = write_file(self, self->settings->csv, write_csv, err);
  }
  return status == RR_OK ? write_file(self, self->settings->html, write_html, err) : status;
}
