#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "bench/load/report.h"

static const uint64_t ms = 1000000, second = 1000000000;

static stats made(uint64_t deadline) {
  stats figures;
  assert_true(stats_init(&figures, deadline));
  stats_begin(&figures, 5 * second);
  return figures;
}

/* A request intended `at` ms after the begin, begun `lag` later, ended `took` after its intended
 * start.
 */
static void add(stats *figures, outcome_kind kind, unsigned status, check_verdict verdict,
                uint64_t at, uint64_t lag, uint64_t took) {
  uint64_t intended = 5 * second + at * ms;
  stats_event event = {kind, status, verdict, intended, intended + lag * ms, intended + took * ms,
                       10};
  stats_offer(figures, intended, false);
  stats_end(figures, &event);
}

static void close_to(double value, double wanted) {
  if (fabs(value - wanted) > fabs(wanted) / 1000 + 1e-9) {
    fail_msg("%g is not %g", value, wanted);
  }
}

static void latency_counts_from_the_intended_start_and_service_from_sending(void **state) {
  (void)state;
  stats figures = made(0);
  add(&figures, OUTCOME_ANSWER, 200, CHECK_RIGHT, 0, 700, 1000);
  close_to(histogram_percentile(figures.latency, 50), 1000);
  close_to(histogram_percentile(figures.service, 50), 300);
  close_to(histogram_percentile(figures.lag, 50), 700);
  stats_finish(&figures);
}

static void rates_and_goodput_are_those_of_the_window(void **state) {
  (void)state;
  stats figures = made(100 * ms);
  for (uint64_t i = 0; i < 8; i++) { /* half of them within 100 ms */
    add(&figures, OUTCOME_ANSWER, 200, CHECK_RIGHT, 200 * i, 0, i % 2 == 0 ? 100 : 101);
  }
  add(&figures, OUTCOME_ANSWER, 503, CHECK_RIGHT, 1600, 0, 1);
  stats_offer(&figures, 5 * second + 2000 * ms, true);
  figures.end = 7 * second;
  figures.last_end = 9 * second;
  stats_summary summary = stats_summarize(&figures);
  close_to(summary.seconds, 2);
  close_to(summary.offered_rate, 5);
  close_to(summary.right_rate, 2); /* 8 until the last ended, 4 s later */
  close_to(summary.documents_rate, 20);
  close_to(summary.goodput, 2);
  close_to(summary.good_share, 0.4);
  close_to(summary.error_share, 0.2);
  stats_finish(&figures);
}

static void failures_are_told_by_kind_and_are_in_no_percentile(void **state) {
  (void)state;
  stats figures = made(0);
  add(&figures, OUTCOME_CONNECT, 0, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_RESET, 0, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_RESET, 0, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_CUT, 0, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_TIMEOUT, 0, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_PROTOCOL, 0, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_TOO_LARGE, 0, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_CANCELLED, 0, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_ANSWER, 429, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_ANSWER, 503, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_ANSWER, 204, CHECK_RIGHT, 0, 0, 1);
  add(&figures, OUTCOME_ANSWER, 200, CHECK_ORDER, 0, 0, 1);
  assert_int_equal(stats_failures(&figures), 11);
  assert_int_equal(histogram_count(figures.latency), 0);
  const options settings = {
      .label = "x", .dialect_name = "tei", .sizes_text = "1", .connections = 1};
  const run_result result = {0};
  report made_report = report_make(&settings, &figures, &result);
  static const struct {
    const char *name;
    uint64_t count;
  } wanted[] = {{"connect", 1},    {"reset", 2},
                {"cut answer", 1}, {"timeout", 1},
                {"not HTTP", 1},   {"answer too large", 1},
                {"status 204", 1}, {"status 429", 1},
                {"status 503", 1}, {"wrong: not descending", 1}};
  assert_int_equal(made_report.n_failures, sizeof wanted / sizeof *wanted);
  for (size_t i = 0; i < made_report.n_failures; i++) {
    assert_string_equal(made_report.failures[i].name, wanted[i].name);
    assert_int_equal(made_report.failures[i].count, wanted[i].count);
  }
  stats_finish(&figures);
}

static void the_series_keeps_every_count_in_bounded_memory(void **state) {
  (void)state;
  enum { N = 10000 };
  stats figures = made(0);
  for (uint64_t i = 0; i < N; i++) { /* close to three hours */
    add(&figures, OUTCOME_ANSWER, i % 4 == 0 ? 500 : 200, CHECK_RIGHT, 1000 * i, 0, 10);
  }
  uint64_t offered = 0, right = 0, failed = 0;
  assert_true(figures.n_buckets <= STATS_BUCKETS && figures.n_buckets > STATS_BUCKETS / 4);
  for (size_t i = 0; i < figures.n_buckets; i++) {
    offered += figures.buckets[i].offered;
    right += figures.buckets[i].right;
    failed += figures.buckets[i].failed;
  }
  assert_int_equal(offered, N);
  assert_int_equal(right, N - N / 4);
  assert_int_equal(failed, N / 4);
  stats_finish(&figures);
}

/* What a report writes, as text from malloc. */
static char *text_of(void (*write)(const report *, FILE *), const report *from) {
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  assert_non_null(out);
  write(from, out);
  (void)fclose(out);
  return text;
}

static void every_report_tells_the_same_figures(void **state) {
  (void)state;
  stats figures = made(50 * ms);
  for (uint64_t i = 1; i <= 100; i++) {
    add(&figures, OUTCOME_ANSWER, 200, CHECK_RIGHT, 10 * i, 0, i);
  }
  stats_offer(&figures, 6 * second, true);
  const options settings = {.label = "a <\"name\">",
                            .url = "u",
                            .dialect_name = "tei",
                            .sizes_text = "10",
                            .arrivals = "even",
                            .rate = 100,
                            .repeat = -1,
                            .deadline_ms = 50,
                            .max_in_flight = 9,
                            .max_buffer_mb = 1};
  const run_result result = {.most_in_flight = 9};
  report made_report = report_make(&settings, &figures, &result);
  json_t *json = report_json(&made_report);
  assert_non_null(json);
  close_to(json_number_value(json_object_get(json_object_get(json, "latency_ms"), "p99")), 99);
  close_to(json_number_value(json_object_get(json_object_get(json, "rates"), "goodput")), 50);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "counts"), "dropped")),
                   1);
  json_decref(json);
  char *table = text_of(report_table, &made_report), *csv = text_of(report_csv, &made_report),
       *html = text_of(report_html, &made_report);
  char in_table[32], in_csv[32];
  double p99 = histogram_percentile(figures.latency, 99);
  (void)snprintf(in_table, sizeof in_table, " %.2f ", p99);
  (void)snprintf(in_csv, sizeof in_csv, ",%.3f,", p99);
  assert_non_null(strstr(table, in_table));
  assert_non_null(strstr(table, "dropped        1: more than --max-in-flight 9"));
  assert_non_null(strstr(csv, "\n\"a <\"\"name\"\">\",\"tei\","));
  assert_non_null(strstr(csv, in_csv));
  assert_non_null(strstr(html, "a &lt;&quot;name&quot;&gt;"));
  assert_null(strstr(html, "<\"name"));
  assert_null(strstr(html, "nan"));
  assert_null(strstr(html, "<script"));
  assert_null(strstr(html, "http"));
  free(table);
  free(csv);
  free(html);
  stats_finish(&figures);
}

static void a_run_without_answers_has_reports_without_nonsense(void **state) {
  (void)state;
  stats figures = made(10 * ms);
  const options settings = {.label = "none",
                            .url = "u",
                            .dialect_name = "tei",
                            .sizes_text = "10",
                            .connections = 3,
                            .repeat = 0.5,
                            .deadline_ms = 10};
  const run_result result = {0};
  report made_report = report_make(&settings, &figures, &result);
  char *table = text_of(report_table, &made_report), *csv = text_of(report_csv, &made_report),
       *html = text_of(report_html, &made_report);
  const char *const texts[] = {table, csv, html};
  for (size_t i = 0; i < 3; i++) {
    assert_null(strstr(texts[i], "nan"));
    assert_null(strstr(texts[i], "inf"));
  }
  json_t *json = report_json(&made_report);
  assert_non_null(json);
  json_decref(json);
  free(table);
  free(csv);
  free(html);
  stats_finish(&figures);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(latency_counts_from_the_intended_start_and_service_from_sending),
      cmocka_unit_test(rates_and_goodput_are_those_of_the_window),
      cmocka_unit_test(failures_are_told_by_kind_and_are_in_no_percentile),
      cmocka_unit_test(the_series_keeps_every_count_in_bounded_memory),
      cmocka_unit_test(every_report_tells_the_same_figures),
      cmocka_unit_test(a_run_without_answers_has_reports_without_nonsense),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
