#include "bench/load/journal.h"

#include <errno.h>
#include <string.h>

rr_status journal_open(const char *path, FILE **ret_journal, rr_error *err) {
  if (path == NULL) {
    *ret_journal = NULL;
    return RR_OK;
  }
  FILE *journal = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
  if (journal == NULL) {
    return rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
  }
  (void)fputs("intended_s,latency_ms,outcome\n", journal);
  *ret_journal = journal;
  return RR_OK;
}

static double between(uint64_t from, uint64_t until) {
  return until > from ? (double)(until - from) : 0;
}

void journal_end(FILE *journal, uint64_t begin, const stats_event *event) {
  if (journal == NULL) {
    return;
  }
  (void)fprintf(journal, "%.6f,%.3f,", between(begin, event->intended) / 1e9,
                between(event->intended, event->ended) / 1e6);
  if (event->kind == OUTCOME_CANCELLED) {
    (void)fputs("cancelled\n", journal);
  } else if (event->kind != OUTCOME_ANSWER) {
    (void)fprintf(journal, "%s\n", stats_failure_words(event->kind));
  } else if (event->status != 200) {
    (void)fprintf(journal, "status %u\n", event->status);
  } else if (event->verdict != CHECK_RIGHT) {
    (void)fprintf(journal, "wrong: %s\n", check_words(event->verdict));
  } else {
    (void)fputs("right\n", journal);
  }
}

void journal_drop(FILE *journal, uint64_t begin, uint64_t intended) {
  if (journal != NULL) {
    (void)fprintf(journal, "%.6f,0.000,dropped\n", between(begin, intended) / 1e9);
  }
}

rr_status journal_close(FILE *journal, const char *path, rr_error *err) {
  if (journal == NULL) {
    return RR_OK;
  }
  bool failed = ferror(journal) != 0;
  failed = (journal == stdout ? fflush(journal) : fclose(journal)) != 0 || failed;
  return failed ? rr_fail(err, RR_ERR_IO, "%.150s: %s", path == NULL ? "journal" : path,
                          strerror(errno))
                : RR_OK;
}
