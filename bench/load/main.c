#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/load/arrivals.h"
#include "bench/load/corpus.h"
#include "bench/load/journal.h"
#include "bench/load/mix.h"
#include "bench/load/options.h"
#include "bench/load/report.h"
#include "bench/load/run.h"
#include "bench/load/stats.h"
#include "bench/load/target.h"

typedef struct load {
  options settings;
  target where;
  corpus texts;
  arrivals starts;
  mix *requests;
  char *model;
  stats figures;
  FILE *journal;
} load;

static rr_status open_file(const char *path, FILE **ret_file, rr_error *err) {
  *ret_file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
  return *ret_file == NULL ? rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno)) : RR_OK;
}

static void close_file(FILE *file) {
  if (file != stdin) {
    (void)fclose(file);
  }
}

static rr_status read_candidates(load *self, rr_error *err) {
  FILE *file;
  rr_status status = open_file(self->settings.candidates, &file, err);
  if (status == RR_OK) {
    status = corpus_read(file, self->settings.candidates, self->settings.words, &self->texts, err);
    close_file(file);
  }
  return status;
}

static rr_status read_arrivals(load *self, rr_error *err) {
  const options *settings = &self->settings;
  if (settings->rate > 0) {
    arrivals_kind kind = strcmp(settings->arrivals, "even") == 0 ? ARRIVALS_EVEN : ARRIVALS_POISSON;
    self->starts = arrivals_at_rate(kind, settings->rate, settings->seed);
    return RR_OK;
  }
  FILE *file;
  rr_status status = settings->connections > 0 ? RR_OK : open_file(settings->arrivals, &file, err);
  if (status == RR_OK && settings->connections == 0) {
    status = arrivals_read(file, settings->arrivals, &self->starts, err);
    close_file(file);
  }
  return status;
}

static rr_status prepare(load *self, rr_error *err) {
  const options *settings = &self->settings;
  rr_status status = target_init(&self->where, settings, err);
  status = status == RR_OK ? read_candidates(self, err) : status;
  status = status == RR_OK ? read_arrivals(self, err) : status;
  if (status != RR_OK) {
    return status;
  }
  if (settings->model != NULL) {
    json_t *name = json_string(settings->model);
    self->model = name == NULL ? NULL : json_dumps(name, JSON_ENCODE_ANY);
    json_decref(name);
    if (self->model == NULL) {
      return rr_fail(err, RR_ERR_INPUT, "--model is not UTF-8");
    }
  }
  self->requests = mix_create(&self->texts, &settings->sizes, settings->repeat, settings->seed);
  if (self->requests == NULL ||
      !stats_init(&self->figures, (uint64_t)settings->deadline_ms * 1000000)) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  return journal_open(settings->journal, &self->journal, err);
}

static void finish(load *self) {
  (void)journal_close(self->journal, NULL, NULL);
  stats_finish(&self->figures);
  mix_destroy(self->requests);
  free(self->model);
  arrivals_finish(&self->starts);
  corpus_finish(&self->texts);
}

/* A request in flight is a descriptor: takes as many as this user may have. */
static void raise_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
}

static rr_status run_and_report(load *self, rr_error *err) {
  const options *settings = &self->settings;
  run_input input = {settings,     self->model,    &self->where,
                     &self->texts, self->requests, settings->connections > 0 ? NULL : &self->starts,
                     self->journal};
  run_result result;
  rr_status status = run_load(&input, &self->figures, &result, err);
  rr_status kept = journal_close(self->journal, settings->journal, status == RR_OK ? err : NULL);
  self->journal = NULL;
  status = status == RR_OK ? kept : status;
  if (status != RR_OK) {
    return status;
  }
  report made = report_make(settings, &self->figures, &result);
  if (!settings->quiet) {
    report_table(&made, stdout);
    (void)fflush(stdout);
  }
  return report_files(&made, err);
}

int main(int argc, char **argv) {
  load self = {0};
  rr_error err = {0};
  rr_status status = options_parse(argc, argv, &self.settings, &err);
  if (status == RR_OK && self.settings.help) {
    options_help();
    return EXIT_SUCCESS;
  }
  (void)signal(SIGPIPE, SIG_IGN);
  raise_descriptors();
  status = status == RR_OK ? prepare(&self, &err) : status;
  status = status == RR_OK ? run_and_report(&self, &err) : status;
  uint64_t right = self.figures.right;
  finish(&self);
  if (status != RR_OK) {
    fprintf(stderr, "load: %s\n", err.message);
    return 2;
  }
  return right > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
