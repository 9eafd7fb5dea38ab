#include "bench/load/stats.h"

#include <string.h>

static const uint64_t second_ns = 1000000000, first_width_ns = 1000000000 / 4;

bool stats_init(stats *self, uint64_t deadline) {
  *self = (stats){.deadline = deadline, .bucket_ns = first_width_ns};
  self->latency = histogram_create();
  self->service = histogram_create();
  self->lag = histogram_create();
  if (self->latency == NULL || self->service == NULL || self->lag == NULL) {
    stats_finish(self);
    return false;
  }
  return true;
}

void stats_finish(stats *self) {
  histogram_destroy(self->latency);
  histogram_destroy(self->service);
  histogram_destroy(self->lag);
  self->latency = self->service = self->lag = NULL;
}

void stats_begin(stats *self, uint64_t now) { self->begin = self->end = self->last_end = now; }

/* Pairs of buckets become one. */
static void widen(stats *self) {
  for (size_t i = 0; i < STATS_BUCKETS / 2; i++) {
    stats_bucket a = self->buckets[2 * i], b = self->buckets[2 * i + 1];
    self->buckets[i] =
        (stats_bucket){a.offered + b.offered, a.right + b.right, a.failed + b.failed};
  }
  memset(&self->buckets[STATS_BUCKETS / 2], 0, STATS_BUCKETS / 2 * sizeof *self->buckets);
  self->n_buckets = (self->n_buckets + 1) / 2;
  self->bucket_ns *= 2;
}

static stats_bucket *bucket_at(stats *self, uint64_t now) {
  uint64_t since = now > self->begin ? now - self->begin : 0;
  while (since / self->bucket_ns >= STATS_BUCKETS) {
    widen(self);
  }
  size_t at = (size_t)(since / self->bucket_ns);
  self->n_buckets = at >= self->n_buckets ? at + 1 : self->n_buckets;
  return &self->buckets[at];
}

void stats_offer(stats *self, uint64_t intended, bool dropped) {
  stats_bucket *bucket = bucket_at(self, intended);
  self->offered++;
  bucket->offered++;
  self->end = intended > self->end ? intended : self->end;
  if (dropped) {
    self->dropped++;
    bucket->failed++;
  }
}

static uint64_t since(uint64_t from, uint64_t until) { return until > from ? until - from : 0; }

void stats_end(stats *self, const stats_event *event) {
  stats_bucket *bucket = bucket_at(self, event->ended);
  self->ended++;
  self->last_end = event->ended > self->last_end ? event->ended : self->last_end;
  histogram_record(self->lag, since(event->intended, event->begun));
  if (event->kind == OUTCOME_CANCELLED) {
    self->cancelled++;
    return;
  }
  if (event->kind == OUTCOME_ANSWER && event->status == 200 && event->verdict == CHECK_RIGHT) {
    uint64_t latency = since(event->intended, event->ended);
    self->right++;
    bucket->right++;
    self->documents += event->documents;
    self->good += self->deadline == 0 || latency <= self->deadline;
    histogram_record(self->latency, latency);
    histogram_record(self->service, since(event->begun, event->ended));
    return;
  }
  bucket->failed++;
  if (event->kind != OUTCOME_ANSWER) {
    self->failed[event->kind]++;
  } else if (event->status != 200) {
    self->status[event->status < STATS_STATUSES ? event->status : 0]++;
  } else {
    self->wrong[event->verdict]++;
  }
}

const char *stats_failure_words(outcome_kind kind) {
  static const char *const words[OUTCOME_KINDS] = {
      [OUTCOME_CONNECT] = "connect",   [OUTCOME_RESET] = "reset",
      [OUTCOME_CUT] = "cut answer",    [OUTCOME_TIMEOUT] = "timeout",
      [OUTCOME_PROTOCOL] = "not HTTP", [OUTCOME_TOO_LARGE] = "answer too large",
  };
  return words[kind];
}

uint64_t stats_failures(const stats *self) { return self->ended - self->right - self->cancelled; }

stats_summary stats_summarize(const stats *self) {
  double window = (double)since(self->begin, self->end) / (double)second_ns;
  double elapsed = (double)since(self->begin, self->last_end) / (double)second_ns;
  stats_summary out = {.seconds = window};
  elapsed = elapsed < window ? window : elapsed;
  if (window > 0) {
    out.offered_rate = (double)self->offered / window;
    out.goodput = (double)self->good / window;
  }
  if (elapsed > 0) {
    out.right_rate = (double)self->right / elapsed;
    out.documents_rate = (double)self->documents / elapsed;
  }
  if (self->offered > 0) {
    out.good_share = (double)self->good / (double)self->offered;
    out.error_share = (double)(stats_failures(self) + self->dropped) / (double)self->offered;
  }
  return out;
}
