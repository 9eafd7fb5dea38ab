#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "proto/error.h"
#include "server/metrics.h"

static cache_stats cached;

static char *text_of(const metrics *counters, const engine_stats *stats) {
  size_t size = 0;
  char *text = metrics_text(counters, stats, &cached, &(document_stats){0}, &size);
  assert_non_null(text);
  assert_int_equal(strlen(text), size);
  return text;
}

static void histograms_are_cumulative_and_put_bounds_into_the_lower_bucket(void **state) {
  (void)state;
  metrics counters;
  engine_stats stats;
  metrics_init(&counters);
  engine_stats_init(&stats);
  histogram_add(&counters.total, 0.001); /* on a bound: le means less or equal */
  histogram_add(&counters.total, 0.3);
  histogram_add(&counters.total, 1000);
  char *text = text_of(&counters, &stats);
  assert_non_null(strstr(text, "te_request_duration_bucket{le=\"0.0005\"} 0\n"));
  assert_non_null(strstr(text, "te_request_duration_bucket{le=\"0.001\"} 1\n"));
  assert_non_null(strstr(text, "te_request_duration_bucket{le=\"0.25\"} 1\n"));
  assert_non_null(strstr(text, "te_request_duration_bucket{le=\"0.5\"} 2\n"));
  assert_non_null(strstr(text, "te_request_duration_bucket{le=\"60\"} 2\n"));
  assert_non_null(strstr(text, "te_request_duration_bucket{le=\"+Inf\"} 3\n"));
  assert_non_null(strstr(text, "te_request_duration_sum 1000.301\n"));
  assert_non_null(strstr(text, "te_request_duration_count 3\n"));
  rr_free(text);
}

static void failures_are_told_by_kind(void **state) {
  (void)state;
  metrics counters;
  engine_stats stats;
  metrics_init(&counters);
  engine_stats_init(&stats);
  counters.failures[RR_API_OVERLOADED] = 7;
  counters.requests[RR_OPERATION_RERANK] = 9;
  counters.successes[RR_OPERATION_RERANK] = 2;
  stats.queued_tokens = 1234;
  stats.queued_ns = 1500000000;
  stats.tokens_per_second = 20000;
  counters.failures[RR_API_TIMEOUT] = 3;
  counters.refusals[ADMISSION_DEADLINE] = 4;
  counters.missed = 5;
  counters.degraded = 6;
  counters.dropped = 8;
  char *text = text_of(&counters, &stats);
  assert_non_null(strstr(text, "te_request_failure{err=\"overloaded\"} 7\n"));
  assert_non_null(strstr(text, "te_request_failure{err=\"empty\"} 0\n"));
  assert_non_null(strstr(text, "te_request_count{method=\"rerank\"} 9\n"));
  assert_non_null(strstr(text, "te_request_success{method=\"rerank\"} 2\n"));
  assert_non_null(strstr(text, "te_queue_tokens 1234\n"));
  assert_non_null(strstr(text, "te_request_failure{err=\"timeout\"} 3\n"));
  assert_non_null(strstr(text, "te_request_refused{reason=\"deadline\"} 4\n"));
  assert_non_null(strstr(text, "te_request_refused{reason=\"wait\"} 0\n"));
  assert_non_null(strstr(text, "te_request_deadline_missed 5\n"));
  assert_non_null(strstr(text, "te_request_degraded 6\n"));
  assert_non_null(strstr(text, "te_request_dropped 8\n"));
  assert_non_null(strstr(text, "te_queue_predicted_duration 1.5\n"));
  assert_non_null(strstr(text, "te_estimated_tokens_per_second 20000\n"));
  rr_free(text);
}

static void every_line_is_a_comment_or_a_sample_of_a_declared_metric(void **state) {
  (void)state;
  metrics counters;
  engine_stats stats;
  metrics_init(&counters);
  engine_stats_init(&stats);
  char *text = text_of(&counters, &stats);
  char declared[128] = "";
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    if (strncmp(line, "# TYPE ", 7) == 0) {
      size_t length = strcspn(line + 7, " ");
      assert_true(length < sizeof declared);
      memcpy(declared, line + 7, length);
      declared[length] = '\0';
    } else if (line[0] != '#') {
      assert_int_equal(strncmp(line, declared, strlen(declared)), 0);
      assert_non_null(strchr(line, ' '));
    }
  }
  rr_free(text);
}

static void the_cache_is_told(void **state) {
  (void)state;
  metrics counters;
  engine_stats stats;
  metrics_init(&counters);
  engine_stats_init(&stats);
  char *text = text_of(&counters, &stats);
  assert_non_null(strstr(text, "te_cache_hits 0\n"));
  assert_non_null(strstr(text, "te_cache_hit_ratio 0\n"));
  assert_non_null(strstr(text, "te_cache_bytes 0\n"));
  rr_free(text);
  cached = (cache_stats){.hits = 3, .misses = 9, .insertions = 8, .evictions = 1, .rejections = 2,
                         .entries = 5, .capacity = 6, .bytes = 65536};
  text = text_of(&counters, &stats);
  cached = (cache_stats){0};
  assert_non_null(strstr(text, "# TYPE te_cache_hits counter\nte_cache_hits 3\n"));
  assert_non_null(strstr(text, "te_cache_misses 9\n"));
  assert_non_null(strstr(text, "# TYPE te_cache_hit_ratio gauge\nte_cache_hit_ratio 0.25\n"));
  assert_non_null(strstr(text, "te_cache_insertions 8\n"));
  assert_non_null(strstr(text, "te_cache_evictions 1\n"));
  assert_non_null(strstr(text, "te_cache_rejections 2\n"));
  assert_non_null(strstr(text, "te_cache_entries 5\n"));
  assert_non_null(strstr(text, "te_cache_capacity 6\n"));
  assert_non_null(strstr(text, "te_cache_bytes 65536\n"));
  rr_free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(histograms_are_cumulative_and_put_bounds_into_the_lower_bucket),
      cmocka_unit_test(failures_are_told_by_kind),
      cmocka_unit_test(the_cache_is_told),
      cmocka_unit_test(every_line_is_a_comment_or_a_sample_of_a_declared_metric),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
