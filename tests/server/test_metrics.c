#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "proto/error.h"
#include "server/metrics/metrics.h"

static lfu_stats cached;
static metrics_facts facts;
static process_stats process;

static char *text_of(const metrics *counters, const workers_stats *stats) {
  size_t size = 0;
  const document_stats documents = {.bytes = 77};
  const metrics_view view = {.counters = counters,
                             .facts = &facts,
                             .workers = stats,
                             .cached = &cached,
                             .documents = &documents,
                             .process = &process};
  char *text = metrics_text(&view, &size);
  assert_non_null(text);
  assert_int_equal(strlen(text), size);
  return text;
}

static void histograms_are_cumulative_and_put_bounds_into_the_lower_bucket(void **state) {
  (void)state;
  metrics counters;
  workers_stats stats;
  metrics_init(&counters);
  workers_stats_init(&stats);
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
  workers_stats stats;
  metrics_init(&counters);
  workers_stats_init(&stats);
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
  assert_non_null(strstr(text, "te_requests_failed_total{err=\"overloaded\"} 7\n"));
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
  workers_stats stats;
  metrics_init(&counters);
  workers_stats_init(&stats);
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
  workers_stats stats;
  metrics_init(&counters);
  workers_stats_init(&stats);
  char *text = text_of(&counters, &stats);
  assert_non_null(strstr(text, "te_cache_hits 0\n"));
  assert_non_null(strstr(text, "te_cache_hit_ratio 0\n"));
  assert_non_null(strstr(text, "te_cache_bytes 0\n"));
  rr_free(text);
  cached = (lfu_stats){.hits = 3,
                       .misses = 9,
                       .insertions = 8,
                       .evictions = 1,
                       .rejections = 2,
                       .entries = 5,
                       .capacity = 6,
                       .bytes = 65536};
  text = text_of(&counters, &stats);
  cached = (lfu_stats){0};
  assert_non_null(strstr(text, "# TYPE te_cache_hits_total counter\nte_cache_hits_total 3\n"));
  assert_non_null(strstr(text, "# TYPE te_cache_hits untyped\nte_cache_hits 3\n"));
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

static void the_shared_cache_is_told(void **state) {
  (void)state;
  metrics counters;
  workers_stats stats;
  metrics_init(&counters);
  workers_stats_init(&stats);
  counters.shared.lookups[REDIS_LATE] = 3;
  counters.shared.hits = 7;
  counters.shared.up = 1;
  histogram_add(&counters.shared.wait, 0.0015);
  char *text = text_of(&counters, &stats);
  assert_non_null(strstr(text, "# TYPE te_shared_cache_lookups_total counter\n"));
  assert_non_null(strstr(text, "te_shared_cache_lookups_total{outcome=\"answered\"} 0\n"));
  assert_non_null(strstr(text, "te_shared_cache_lookups_total{outcome=\"late\"} 3\n"));
  assert_non_null(strstr(text, "te_shared_cache_hits_total 7\n"));
  assert_non_null(strstr(text, "# TYPE te_shared_cache_up gauge\nte_shared_cache_up 1\n"));
  assert_non_null(strstr(text, "te_shared_cache_wait_duration_bucket{le=\"0.001\"} 0\n"));
  assert_non_null(strstr(text, "te_shared_cache_wait_duration_bucket{le=\"0.0015\"} 1\n"));
  rr_free(text);
}

static void phases_are_one_histogram_by_phase(void **state) {
  (void)state;
  metrics counters;
  workers_stats stats;
  metrics_init(&counters);
  workers_stats_init(&stats);
  const uint64_t ms = 1000000;
  request_phases phases = {.begun = ms, .ended = 101 * ms};
  phases.of[PHASE_READ] = (phase_span){ms, 3 * ms};
  phases.of[PHASE_COMPUTE] = (phase_span){41 * ms, 101 * ms};
  metrics_add_phases(&counters, &phases);
  char *text = text_of(&counters, &stats);
  assert_non_null(strstr(text, "# TYPE rerankd_request_phase_seconds histogram\n"));
  assert_non_null(
      strstr(text, "rerankd_request_phase_seconds_bucket{phase=\"read\",le=\"0.001\"} 0\n"));
  assert_non_null(
      strstr(text, "rerankd_request_phase_seconds_bucket{phase=\"read\",le=\"0.0025\"} 1\n"));
  assert_non_null(strstr(text, "rerankd_request_phase_seconds_sum{phase=\"compute\"} 0.06\n"));
  assert_non_null(strstr(text, "rerankd_request_phase_seconds_count{phase=\"compute\"} 1\n"));
  assert_non_null(strstr(text, "rerankd_request_phase_seconds_count{phase=\"queue\"} 0\n"));
  assert_non_null(strstr(text, "rerankd_request_phase_seconds_sum{phase=\"between\"} 0.038\n"));
  rr_free(text);
}

static void what_the_server_is_and_holds_is_told(void **state) {
  (void)state;
  metrics counters;
  workers_stats stats;
  metrics_init(&counters);
  workers_stats_init(&stats);
  histogram_add(&stats.batch_tokens, 500);
  histogram_add(&stats.batch_tokens, 700);
  stats.workers = 3;
  stats.busy_ns = 2500000000;
  stats.workspace_bytes = 4096;
  counters.known_tokens = 88;
  counters.slow = 2;
  facts = (metrics_facts){.version = "1.2.3",
                          .model = "a\\b\"c\nd",
                          .dtype = "int8",
                          .started = 1700000000,
                          .ready = true,
                          .max_queue_ms = 1500,
                          .weight_bytes = 1000,
                          .body_bytes = 20,
                          .arena_bytes = 30};
  process = (process_stats){.resident_bytes = 8192,
                            .virtual_bytes = 16384,
                            .open_descriptors = 9,
                            .max_descriptors = 1024,
                            .cpu_seconds = 1.25};
  char *text = text_of(&counters, &stats);
  facts = (metrics_facts){0};
  process = (process_stats){0};
  assert_non_null(
      strstr(text, "rerankd_build_info{version=\"1.2.3\",model=\"a\\\\b\\\"c\\nd\",dtype=\"int8\","
                   "scoring=\"\",kernels=\"\"} 1\n"));
  assert_non_null(strstr(text, "rerankd_tokens_total{source=\"computed\"} 1200\n"));
  assert_non_null(strstr(text, "rerankd_tokens_total{source=\"known\"} 88\n"));
  assert_non_null(strstr(text, "rerankd_worker_busy_seconds_total 2.5\n"));
  assert_non_null(strstr(text, "rerankd_workers 3\n"));
  assert_non_null(strstr(text, "rerankd_slow_requests_total 2\n"));
  assert_non_null(strstr(text, "rerankd_queue_limit_seconds 1.5\n"));
  assert_non_null(strstr(text, "rerankd_memory_bytes{kind=\"weights\"} 1000\n"));
  assert_non_null(strstr(text, "rerankd_memory_bytes{kind=\"workspaces\"} 4096\n"));
  assert_non_null(strstr(text, "rerankd_memory_bytes{kind=\"document_cache\"} 77\n"));
  assert_non_null(strstr(text, "rerankd_memory_bytes{kind=\"bodies\"} 20\n"));
  assert_non_null(strstr(text, "rerankd_memory_bytes{kind=\"arenas\"} 30\n"));
  assert_non_null(strstr(text, "rerankd_ready 1\n"));
  assert_non_null(strstr(text, "process_start_time_seconds 1700000000\n"));
  assert_non_null(strstr(text, "process_resident_memory_bytes 8192\n"));
  assert_non_null(strstr(text, "process_open_fds 9\n"));
  assert_non_null(strstr(text, "process_cpu_seconds_total 1.25\n"));
  rr_free(text);
}

static void what_is_not_known_of_the_process_is_left_out(void **state) {
  (void)state;
  metrics counters;
  workers_stats stats;
  metrics_init(&counters);
  workers_stats_init(&stats);
  char *text = text_of(&counters, &stats);
  assert_null(strstr(text, "process_resident_memory_bytes"));
  assert_null(strstr(text, "process_open_fds"));
  rr_free(text);
}

static void the_process_knows_its_memory_and_descriptors(void **state) {
  (void)state;
  process_stats before;
  process_stats after;
  process_stats_read(&before);
  int copy = dup(STDERR_FILENO);
  process_stats_read(&after);
  assert_true(copy >= 0);
  (void)close(copy);
  assert_int_equal(after.open_descriptors, before.open_descriptors + 1);
  assert_true(after.resident_bytes >= 65536 && after.virtual_bytes >= after.resident_bytes);
  assert_true(after.max_descriptors > after.open_descriptors);
  assert_true(after.cpu_seconds >= 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(histograms_are_cumulative_and_put_bounds_into_the_lower_bucket),
      cmocka_unit_test(failures_are_told_by_kind),
      cmocka_unit_test(the_cache_is_told),
      cmocka_unit_test(the_shared_cache_is_told),
      cmocka_unit_test(phases_are_one_histogram_by_phase),
      cmocka_unit_test(what_the_server_is_and_holds_is_told),
      cmocka_unit_test(what_is_not_known_of_the_process_is_left_out),
      cmocka_unit_test(the_process_knows_its_memory_and_descriptors),
      cmocka_unit_test(every_line_is_a_comment_or_a_sample_of_a_declared_metric),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
