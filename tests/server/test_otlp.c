/* Spans before they are sent: contexts, sampling, settings, and the document, held to one that
 * OpenTelemetry's own messages made (tests/golden/otlp). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "server/base/version.h"
#include "server/http/trace_context.h"
#include "server/otlp/json.h"
#include "server/otlp/post.h"
#include "server/otlp/settings.h"
#include "server/otlp/spans.h"

enum { SEED = 7, FAULTS_MAX = 100 };

#define BEGIN 1700000000123456789u

static void new_ids_are_well_formed_and_differ(void **state) {
  (void)state;
  char trace[2][TRACE_CONTEXT_BYTES];
  char span[2][TRACE_PARENT_BYTES];
  for (int i = 0; i < 2; i++) {
    trace_new_ids(trace[i], span[i]);
    assert_int_equal(strspn(trace[i], "0123456789abcdef"), 32);
    assert_int_equal(strspn(span[i], "0123456789abcdef"), 16);
    assert_int_equal(strlen(trace[i]) + strlen(span[i]), 48);
  }
  assert_string_not_equal(trace[0], trace[1]);
  assert_string_not_equal(span[0], span[1]);
  trace_new_ids(NULL, span[0]);
  assert_int_equal(strlen(span[0]), 16);
}

static void a_ratio_decides_by_the_traces_id_alone(void **state) {
  (void)state;
  static const struct {
    const char *trace;
    double ratio;
    bool sampled;
  } cases[] = {
      {"ffffffffffffffff0000000000000000", 0, false},
      {"ffffffffffffffff0000000000000000", 1e-18, true},
      {"ffffffffffffffffffffffffffffffff", 1, true},
      {"0000000000000001ffffffffffffffff", 0.999999, false},
      {"ffffffffffffffff7fffffffffffffff", 0.5, true},
      {"00000000000000018000000000000000", 0.5, false},
      {"000000000000000119999999999999ff", 0.1, true},
      {"00000000000000011999999999999a00", 0.1, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (trace_is_sampled(cases[i].trace, trace_bound(cases[i].ratio)) != cases[i].sampled) {
      fail_msg("%s at %g", cases[i].trace, cases[i].ratio);
    }
  }
  assert_int_equal(trace_bound(-1), 0);
  assert_true(trace_bound(2) == TRACE_RATIO_ONE);
}

static void a_trace_state_is_a_list_of_members_that_differ(void **state) {
  (void)state;
  char many[512] = "";
  for (int i = 0; i < 32; i++) {
    (void)snprintf(many + strlen(many), sizeof many - strlen(many), "k%d=v,", i);
  }
  assert_true(trace_state_is_valid(many));
  (void)strcat(many, "last=v");
  assert_false(trace_state_is_valid(many));
  static const char *const good[] = {
      "a=1", "a=1,b=2", " a=1 ,\tb=2 ", "a=1,,b=2", "tenant@system=x", "0a-_*/=\"!~", "a= b"};
  static const char *const bad[] = {
      "",      " , ",    "a",          "=1",    "a=",   "A=1",      "a=1,a=2",
      "a=b=c", "a=\x7f", "a=\xc3\xa4", "a b=1", "-a=1", "a=1;b=2\n"};
  assert_false(trace_state_is_valid(NULL));
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    if (!trace_state_is_valid(good[i])) {
      fail_msg("\"%s\"", good[i]);
    }
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (trace_state_is_valid(bad[i])) {
      fail_msg("\"%s\"", bad[i]);
    }
  }
  char key[258];
  memset(key, 'a', sizeof key);
  (void)snprintf(key + 256, 2, "=");
  assert_false(trace_state_is_valid(key)); /* no value */
}

static void a_host_is_split_from_its_port(void **state) {
  (void)state;
  static const struct {
    const char *given;
    const char *host;
    unsigned port;
  } cases[] = {{NULL, "", 0},
               {"", "", 0},
               {"h", "h", 0},
               {"h:80", "h", 80},
               {"[::1]:3000", "::1", 3000},
               {"[::1]", "::1", 0},
               {":80", "", 0},
               {"h:80x", "h", 0},
               {"h:65536", "h", 0},
               {"h:", "h", 0},
               {"a b", "", 0},
               {"h\xff", "", 0},
               {"h:99999999999999999999", "h", 0}};
  char host[OTLP_TEXT_BYTES];
  unsigned port;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    spans_split_host(cases[i].given, host, &port);
    assert_string_equal(host, cases[i].host);
    assert_int_equal(port, cases[i].port);
  }
  char longest[OTLP_TEXT_BYTES + 1];
  memset(longest, 'h', sizeof longest);
  longest[OTLP_TEXT_BYTES] = '\0';
  spans_split_host(longest, host, &port);
  assert_string_equal(host, "");
}

/* --- settings --------------------------------------------------------------------------------- */

static const char *const *environment;

static char *lookup(const char *name) {
  for (size_t i = 0; environment != NULL && environment[i] != NULL; i += 2) {
    if (strcmp(environment[i], name) == 0) {
      return (char *)environment[i + 1];
    }
  }
  return NULL;
}

static rr_error problem;
static bool foreign;
static otlp_settings settings;

static rr_status read_settings(const otlp_choices *choices, const char *const *variables) {
  environment = variables;
  problem = (rr_error){.message = ""};
  return otlp_settings_read(choices, lookup, &settings, &foreign, &problem);
}

static const char *attribute(const char *name) {
  for (size_t i = 0; i < settings.n_attributes; i++) {
    if (strcmp(settings.attributes[i].name, name) == 0) {
      return settings.attributes[i].value;
    }
  }
  return "";
}

static const otlp_choices nothing = {.endpoint = NULL};

static void without_an_endpoint_nothing_is_sent(void **state) {
  (void)state;
  static const char *const broken[] = {"OTEL_TRACES_SAMPLER", "nonsense",
                                       "OTEL_EXPORTER_OTLP_HEADERS", "x", NULL};
  assert_int_equal(read_settings(&nothing, NULL), RR_OK);
  assert_false(settings.on);
  assert_int_equal(read_settings(&nothing, broken), RR_OK);
  assert_false(settings.on);
  static const char *const off[] = {"OTEL_SDK_DISABLED", "True", "OTEL_EXPORTER_OTLP_ENDPOINT",
                                    "http://c", NULL};
  static const char *const none[] = {"OTEL_TRACES_EXPORTER", "none", NULL};
  assert_int_equal(read_settings(&nothing, off), RR_OK);
  assert_false(settings.on);
  assert_int_equal(read_settings(&(otlp_choices){.endpoint = "http://c"}, none), RR_OK);
  assert_false(settings.on);
}

static void an_address_gets_its_path(void **state) {
  (void)state;
  static const struct {
    const char *variable; /* NULL: the option */
    const char *given;
    const char *url;
  } cases[] = {
      {NULL, "http://c:4318", "http://c:4318/v1/traces"},
      {NULL, "http://c:4318/", "http://c:4318/v1/traces"},
      {NULL, "https://c/otel/", "https://c/otel/v1/traces"},
      {NULL, "https://c/otel/v1/traces", "https://c/otel/v1/traces"},
      {NULL, "http://[::1]:4318?key=1", "http://[::1]:4318/v1/traces?key=1"},
      {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318", "http://c:4318/v1/traces"},
      {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c/v1/traces", "http://c/v1/traces/v1/traces"},
      {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318", "http://c:4318/"},
      {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/in", "http://c/in"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const char *const variables[] = {cases[i].variable, cases[i].given, NULL};
    otlp_choices choices = {.endpoint = cases[i].variable == NULL ? cases[i].given : NULL};
    assert_int_equal(read_settings(&choices, variables), RR_OK);
    assert_true(settings.on);
    assert_string_equal(settings.url, cases[i].url);
  }
  assert_int_equal(
      read_settings(&(otlp_choices){.endpoint = "http://me:secret@c/?token=secret"}, NULL), RR_OK);
  assert_null(strstr(settings.where, "secret"));
  assert_non_null(strstr(settings.url, "me:secret@c"));
}

static void the_nearest_of_several_counts(void **state) {
  (void)state;
  static const char *const all[] = {"OTEL_EXPORTER_OTLP_ENDPOINT",
                                    "http://far",
                                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                                    "http://near/x",
                                    "OTEL_SERVICE_NAME",
                                    "mine",
                                    "OTEL_RESOURCE_ATTRIBUTES",
                                    "service.name=other, a = b%20c%2Cd ,service.version=9",
                                    "OTEL_TRACES_SAMPLER",
                                    "traceidratio",
                                    "OTEL_TRACES_SAMPLER_ARG",
                                    "0.25",
                                    "OTEL_EXPORTER_OTLP_HEADERS",
                                    "a=1",
                                    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                                    "api-key=s%3Decret, x=y z",
                                    "OTEL_EXPORTER_OTLP_COMPRESSION",
                                    "gzip",
                                    "OTEL_EXPORTER_OTLP_CERTIFICATE",
                                    "/ca",
                                    NULL};
  assert_int_equal(read_settings(&nothing, all), RR_OK);
  assert_string_equal(settings.url, "http://near/x");
  assert_string_equal(attribute("service.name"), "mine");
  assert_string_equal(attribute("service.version"), "9");
  assert_string_equal(attribute("a"), "b c,d");
  assert_int_equal(strlen(attribute("service.instance.id")), 32);
  assert_false(settings.by_parent);
  assert_true(settings.bound == TRACE_RATIO_ONE / 4);
  assert_int_equal(settings.n_headers, 2);
  assert_string_equal(settings.headers[0], "api-key: s=ecret");
  assert_string_equal(settings.headers[1], "x: y z");
  assert_true(settings.gzip);
  assert_string_equal(settings.ca_file, "/ca");
  const otlp_choices own = {.endpoint = "http://own", .service = "ours", .sample = "0.5"};
  assert_int_equal(read_settings(&own, all), RR_OK);
  assert_string_equal(settings.url, "http://own/v1/traces");
  assert_string_equal(attribute("service.name"), "ours");
  assert_true(settings.bound == TRACE_RATIO_ONE / 2);
}

static void samplers_have_names(void **state) {
  (void)state;
  static const struct {
    const char *name;
    const char *argument;
    bool by_parent;
    uint64_t bound;
  } cases[] = {{"", "", true, TRACE_RATIO_ONE},
               {"always_on", "", false, TRACE_RATIO_ONE},
               {"always_off", "", false, 0},
               {"traceidratio", "", false, TRACE_RATIO_ONE},
               {"parentbased_always_on", "0.1", true, TRACE_RATIO_ONE},
               {"parentbased_always_off", "", true, 0},
               {"parentbased_traceidratio", "0.5", true, TRACE_RATIO_ONE / 2}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const char *const variables[] = {"OTEL_TRACES_SAMPLER", cases[i].name,
                                     "OTEL_TRACES_SAMPLER_ARG", cases[i].argument, NULL};
    assert_int_equal(read_settings(&(otlp_choices){.endpoint = "http://c"}, variables), RR_OK);
    assert_int_equal(settings.by_parent, cases[i].by_parent);
    assert_true(settings.bound == cases[i].bound);
  }
}

static void what_is_wrong_is_named_and_whose_it_is(void **state) {
  (void)state;
  static const struct {
    const char *name; /* an option or a variable */
    const char *value;
  } cases[] = {
      {"--otlp-endpoint", "c:4317x"},
      {"--otlp-endpoint", "ftp://c"},
      {"--otlp-endpoint", ""},
      {"--otlp-sample", "1.1"},
      {"--otlp-sample", "nan"},
      {"--otlp-sample", "half"},
      {"--otlp-sample", "0.5x"},
      {"OTEL_EXPORTER_OTLP_ENDPOINT", "collector"},
      {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
      {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"},
      {"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "no pair"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0ax: y"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "content-length=1"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "a b=1"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "a=%zz"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "a=%4"},
      {"OTEL_EXPORTER_OTLP_HEADERS",
       "a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1,a=1"},
      {"OTEL_RESOURCE_ATTRIBUTES", "x"},
      {"OTEL_RESOURCE_ATTRIBUTES", "x=%00"},
      {"OTEL_TRACES_SAMPLER", "xray"},
      {"OTEL_TRACES_SAMPLER", "parentbased_"},
      {"OTEL_TRACES_SAMPLER_ARG", "2"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const char *name = cases[i].name;
    bool ours = name[0] == '-';
    otlp_choices choices = {.endpoint =
                                strcmp(name, "--otlp-endpoint") == 0 ? cases[i].value : NULL,
                            .sample = strcmp(name, "--otlp-sample") == 0 ? cases[i].value : NULL};
    const char *const variables[] = {ours ? "-" : name,
                                     ours ? "" : cases[i].value,
                                     "OTEL_EXPORTER_OTLP_ENDPOINT",
                                     "http://c",
                                     strstr(name, "SAMPLER_ARG") != NULL ? "OTEL_TRACES_SAMPLER"
                                                                         : "-",
                                     "traceidratio",
                                     NULL};
    if (read_settings(&choices, variables) != RR_ERR_INPUT ||
        strstr(problem.message, name) == NULL) {
      fail_msg("%s=%s: \"%s\"", name, cases[i].value, problem.message);
    }
    assert_int_equal(foreign, !ours);
    assert_null(strchr(problem.message, '\n'));
  }
}

/* --- the document ----------------------------------------------------------------------------- */

static void add_phase(otlp_record *record, const char *name) {
  uint64_t begin = BEGIN + 1000 * record->n_phases;
  record->phases[record->n_phases++] =
      (otlp_phase){.name = name, .begin = begin, .end = begin + 999};
}

static otlp_record ranking(void) {
  otlp_record record = {.trace = "0af7651916cd43dd8448eb211c80319c",
                        .span = "00f067aa0ba902b7",
                        .parent = "b7ad6b7169203331",
                        .flags = TRACE_SAMPLED,
                        .state = "vendor=1,other@x=a b",
                        .begin = BEGIN,
                        .end = BEGIN + 10000000000u,
                        .request_id = "id-1",
                        .method = "POST",
                        .path = "/v1/rerank",
                        .routed = true,
                        .host = "rank.example",
                        .port = 8080,
                        .agent = "a \"quoted\" \\ agent",
                        .status = 200,
                        .request_bytes = 1234,
                        .reply_bytes = ((uint64_t)1 << 53) + 1,
                        .ranks = true,
                        .candidates = 100,
                        .tokens = 8899,
                        .cached = 7,
                        .truncated = 3,
                        .unscored = 2,
                        .dialect = "jina"};
  add_phase(&record, "read");
  add_phase(&record, "parse");
  add_phase(&record, "write");
  return record;
}

static otlp_record refusal(void) {
  return (otlp_record){.trace = "ffffffffffffffff0000000000000001",
                       .span = "ffffffffffffffff",
                       .flags = 3,
                       .begin = BEGIN,
                       .end = BEGIN,
                       .request_id = "id-2",
                       .method = "BREW",
                       .path = "/c\xff\nffee",
                       .version_1_0 = true,
                       .status = 503,
                       .reply_bytes = 17,
                       .error = "503",
                       .message = "the server is stopping"};
}

static void tell_who_we_are(void) {
  settings = (otlp_settings){.n_attributes = 2};
  (void)strcpy(settings.attributes[0].name, "service.name");
  (void)strcpy(settings.attributes[0].value, "ranker");
  (void)strcpy(settings.attributes[1].name, "deployment.environment");
  (void)strcpy(settings.attributes[1].value, "te\"st");
}

static json_t *parse(const char *text, size_t size) {
  json_t *document = NULL;
  rr_error err = {.message = ""};
  if (rr_json_parse_unique(text, size, 10000, &document, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return document;
}

static json_t *scope_of(json_t *document) {
  json_t *resource = json_array_get(json_object_get(document, "resourceSpans"), 0);
  return json_array_get(json_object_get(resource, "scopeSpans"), 0);
}

static void the_document_is_what_opentelemetrys_messages_make(void **state) {
  (void)state;
  char path[4096];
  json_t *expected = NULL;
  (void)snprintf(path, sizeof path, "%s/otlp/request.json", getenv("RR_GOLDEN"));
  assert_int_equal(rr_json_load(path, 1 << 20, &expected, NULL), RR_OK);
  json_object_set_new(json_object_get(scope_of(expected), "scope"), "version",
                      json_string(RERANKD_VERSION));
  const otlp_record records[] = {ranking(), refusal()};
  uint64_t seed = SEED;
  size_t taken;
  size_t size;
  tell_who_we_are();
  assert_int_equal(otlp_spans(&records[0]), 4);
  char *body = otlp_encode(&settings, records, 2, 1 << 20, &seed, &taken, &size);
  assert_non_null(body);
  assert_int_equal(taken, 2);
  json_t *made = parse(body, size);
  if (!json_equal(made, expected)) {
    fail_msg("%s", body);
  }
  json_decref(made);
  json_decref(expected);
  rr_free(body);
}

static void what_does_not_fit_waits_but_one_always_goes(void **state) {
  (void)state;
  const otlp_record records[] = {ranking(), ranking(), ranking(), ranking()};
  size_t taken;
  size_t one;
  size_t size;
  uint64_t seed = SEED;
  tell_who_we_are();
  rr_free(otlp_encode(&settings, records, 4, 1, &seed, &taken, &one));
  assert_int_equal(taken, 1);
  for (size_t limit = one; limit < 4 * one; limit += 61) {
    char *body = otlp_encode(&settings, records, 4, limit, &seed, &taken, &size);
    assert_true(size <= limit && taken >= 1);
    json_t *document = parse(body, size);
    assert_int_equal(json_array_size(json_object_get(scope_of(document), "spans")), 4 * taken);
    json_decref(document);
    rr_free(body);
  }
  assert_true(taken > 1);
}

static void a_failed_allocation_costs_a_batch_and_no_more(void **state) {
  (void)state;
  const otlp_record records[] = {ranking(), ranking(), ranking()};
  tell_who_we_are();
  for (unsigned long n = 1; n < FAULTS_MAX; n++) {
    uint64_t seed = SEED;
    size_t taken = 0;
    size_t size = 0;
    rr_alloc_fail_at(n, 0);
    char *body = otlp_encode(&settings, records, 3, 1 << 20, &seed, &taken, &size);
    bool reached = rr_alloc_count() >= n;
    rr_alloc_fail_at(0, 0);
    assert_int_equal(body == NULL, reached);
    assert_in_range(taken, 1, 3);
    rr_free(body);
    if (!reached) {
      assert_true(n > 2);
      return;
    }
  }
  fail();
}

static void what_a_collector_says_is_understood_or_ignored(void **state) {
  (void)state;
  static const struct {
    const char *body;
    uint64_t rejected;
  } cases[] = {{"", 0},
               {"{}", 0},
               {"{\"partialSuccess\":{}}", 0},
               {"{\"partialSuccess\":{\"rejectedSpans\":\"3\",\"errorMessage\":\"why\"}}", 3},
               {"{\"partialSuccess\":{\"rejectedSpans\":4}}", 4},
               {"{\"partialSuccess\":{\"rejectedSpans\":\"-4\"}}", 0},
               {"{\"partialSuccess\":{\"rejectedSpans\":\"x\"}}", 0},
               {"{\"partialSuccess\":{\"rejectedSpans\":[]}}", 0},
               {"{\"partialSuccess\":7}", 0},
               {"[1,2]", 0},
               {"<html>", 0},
               {"\x0a\x02\x08\x03", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(otlp_rejected(cases[i].body, strlen(cases[i].body)), cases[i].rejected);
  }
  assert_int_equal(otlp_judge(200), OTLP_DONE);
  static const long again[] = {429, 502, 503, 504};
  static const long refused[] = {0, 100, 301, 400, 401, 404, 413, 500, 501, 505};
  for (size_t i = 0; i < sizeof again / sizeof again[0]; i++) {
    assert_int_equal(otlp_judge(again[i]), OTLP_AGAIN);
  }
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    assert_int_equal(otlp_judge(refused[i]), OTLP_REFUSED);
  }
}

int main(void) {
  rr_json_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(new_ids_are_well_formed_and_differ),
      cmocka_unit_test(a_ratio_decides_by_the_traces_id_alone),
      cmocka_unit_test(a_trace_state_is_a_list_of_members_that_differ),
      cmocka_unit_test(a_host_is_split_from_its_port),
      cmocka_unit_test(without_an_endpoint_nothing_is_sent),
      cmocka_unit_test(an_address_gets_its_path),
      cmocka_unit_test(the_nearest_of_several_counts),
      cmocka_unit_test(samplers_have_names),
      cmocka_unit_test(what_is_wrong_is_named_and_whose_it_is),
      cmocka_unit_test(the_document_is_what_opentelemetrys_messages_make),
      cmocka_unit_test(what_does_not_fit_waits_but_one_always_goes),
      cmocka_unit_test(a_failed_allocation_costs_a_batch_and_no_more),
      cmocka_unit_test(what_a_collector_says_is_understood_or_ignored),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
