#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/options/table.h"
#include "tests/server/options.h"

static void lists_grow_and_the_command_line_replaces_the_environments(void **state) {
  (void)state;
  options o;
  static const char *const set[] = {"API_KEY",     "e,f",          "CORS_ALLOW_ORIGIN",
                                    "*",           "API_KEY_FILE", "file",
                                    "UNIX_SOCKET", "socket",       NULL};
  environment = set;
  assert_int_equal(read_line("--model-id m", &o), OPTIONS_RUN);
  assert_int_equal(o.api_keys.n, 1);
  assert_string_equal(o.api_keys.items[0], "e,f");
  assert_string_equal(o.cors_origins.items[0], "*");
  assert_string_equal(o.api_key_file, "file");
  assert_string_equal(o.unix_socket, "socket");
  assert_int_equal(read_line("--model-id m --api-key a --api-key b,c", &o), OPTIONS_RUN);
  assert_int_equal(o.api_keys.n, 2);
  assert_string_equal(o.api_keys.items[0], "a");
  assert_string_equal(o.api_keys.items[1], "b,c");
  assert_int_equal(o.cors_origins.n, 1);
}

static void draining_is_bounded_and_the_command_line_wins(void **state) {
  (void)state;
  options o;
  static const char *const set[] = {"DRAIN_DELAY", "5", "DRAIN_TIMEOUT", "7", NULL};
  assert_int_equal(read_line("--model-id m", &o), OPTIONS_RUN);
  assert_int_equal(o.drain_delay, 0);
  assert_int_equal(o.drain_timeout, 120);
  environment = set;
  assert_int_equal(read_line("--model-id m --drain-timeout 9", &o), OPTIONS_RUN);
  assert_int_equal(o.drain_delay, 5);
  assert_int_equal(o.drain_timeout, 9);
  assert_int_equal(read_line("--model-id m --drain-delay 3601", &o), OPTIONS_INVALID);
  assert_int_equal(read_line("--model-id m --drain-timeout 0", &o), OPTIONS_INVALID);
}

static void asking_for_health_has_no_variable(void **state) {
  (void)state;
  options o;
  static const char *const set[] = {"HEALTH", "http://x/", "HEALTH_TIMEOUT_MS", "7", NULL};
  environment = set;
  assert_int_equal(read_line("", &o), OPTIONS_RUN);
  assert_null(o.health);
  assert_int_equal(read_line("--health unix:socket", &o), OPTIONS_HEALTH);
  assert_string_equal(o.health, "unix:socket");
  assert_int_equal(o.health_timeout_ms, 7);
}

static int reset(void **state) {
  (void)state;
  environment = NULL;
  return 0;
}

static void defaults_are_as_documented(void **state) {
  (void)state;
  options o;
  assert_int_equal(read_line("--model-id m", &o), OPTIONS_RUN);
  assert_string_equal(o.model_id, "m");
  assert_null(o.served_model_name);
  assert_string_equal(o.hostname, "0.0.0.0");
  assert_int_equal(o.port, 3000);
  assert_int_equal(o.max_concurrent_requests, 512);
  assert_int_equal(o.max_queue_ms, 30000);
  assert_int_equal(o.max_queue_tokens, 4194304);
  assert_int_equal(o.default_timeout_ms, 0);
  assert_int_equal(o.max_client_batch_size, 1000);
  assert_int_equal(o.payload_limit, 10000000);
  assert_int_equal(o.cache_bytes, 0);
  assert_int_equal(o.idle_timeout, 75);
  assert_int_equal(o.client_timeout, 60);
  assert_true(o.auto_truncate);
  assert_false(o.json_output);
  assert_int_equal(o.api_keys.n, 0);
  assert_int_equal(o.dtype, RR_DTYPE_AUTO);
  assert_int_equal(o.scoring, RR_SCORING_AUTO);
  assert_null(o.isa);
  assert_false(o.pack_cache);
  assert_true(o.threads >= 1);
  assert_int_equal(o.tokenization_workers, o.threads);
}

static void every_option_reaches_its_field(void **state) {
  (void)state;
  options o;
  assert_int_equal(
      read_line("--model-id m --served-model-name s --hostname ::1 --port 0 --dtype float32 "
                "--threads 3 --api-key k --log-level debug",
                &o),
      OPTIONS_RUN);
  assert_string_equal(o.served_model_name, "s");
  assert_int_equal(o.dtype, RR_DTYPE_FLOAT32);
  assert_string_equal(o.hostname, "::1");
  assert_int_equal(o.port, 0);
  assert_int_equal(o.threads, 3);
  assert_int_equal(o.tokenization_workers, 3);
  assert_int_equal(o.api_keys.n, 1);
  assert_string_equal(o.api_keys.items[0], "k");
  assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
  assert_int_equal(
      read_line(
          "--model-id=m --tokenization-workers=2 --max-concurrent-requests 7 "
          "--max-batch-tokens 99 --max-client-batch-size 5 --payload-limit 10 --max-queue-ms 11 "
          "--max-queue-tokens 12 --default-timeout-ms 13 --cache-bytes 65536 --idle-timeout 7 "
          "--client-timeout 8 --slow-request-ms 9",
          &o),
      OPTIONS_RUN);
  assert_int_equal(o.tokenization_workers, 2);
  assert_int_equal(o.max_concurrent_requests, 7);
  assert_int_equal(o.max_batch_tokens, 99);
  assert_int_equal(o.max_client_batch_size, 5);
  assert_int_equal(o.payload_limit, 10);
  assert_int_equal(o.cache_bytes, 65536);
  assert_int_equal(o.max_queue_ms, 11);
  assert_int_equal(o.max_queue_tokens, 12);
  assert_int_equal(o.default_timeout_ms, 13);
  assert_int_equal(o.idle_timeout, 7);
  assert_int_equal(o.client_timeout, 8);
  assert_int_equal(o.slow_request_ms, 9);
}

static void the_shared_cache_has_options_and_its_secrets_variables(void **state) {
  (void)state;
  options o;
  assert_int_equal(read_line("--model-id m", &o), OPTIONS_RUN);
  assert_null(o.shared_cache);
  assert_null(o.shared_cache_password);
  assert_null(o.shared_cache_secret);
  assert_string_equal(o.shared_cache_prefix, "rerankd:");
  assert_int_equal(o.shared_cache_timeout_ms, 2);
  assert_int_equal(o.shared_cache_ttl, 86400);
  static const char *const variables[] = {"SHARED_CACHE",
                                          "/run/e",
                                          "RERANKD_SHARED_CACHE_PASSWORD",
                                          "p",
                                          "RERANKD_SHARED_CACHE_SECRET",
                                          "s",
                                          "SHARED_CACHE_PASSWORD",
                                          "no",
                                          "SHARED_CACHE_SECRET",
                                          "no",
                                          "CACHE_BYTES",
                                          "65536",
                                          NULL};
  environment = variables;
  assert_int_equal(
      read_line(
          "--model-id m --shared-cache-timeout-ms 9 --shared-cache-ttl 8 --shared-cache-prefix x",
          &o),
      OPTIONS_RUN);
  assert_string_equal(o.shared_cache, "/run/e");
  assert_string_equal(o.shared_cache_password, "p");
  assert_string_equal(o.shared_cache_secret, "s");
  assert_string_equal(o.shared_cache_prefix, "x");
  assert_int_equal(o.shared_cache_timeout_ms, 9);
  assert_int_equal(o.shared_cache_ttl, 8);
}

static void the_hub_has_options_and_its_own_variables(void **state) {
  (void)state;
  options o;
  assert_int_equal(read_line("--model-id a/b", &o), OPTIONS_RUN);
  assert_null(o.revision);
  assert_null(o.hf_token);
  assert_null(o.hf_endpoint);
  assert_null(o.hf_home);
  assert_null(o.huggingface_hub_cache);
  assert_false(o.hf_hub_offline);
  static const char *const variables[] = {"HF_TOKEN",
                                          "t",
                                          "HF_ENDPOINT",
                                          "http://e",
                                          "HF_HOME",
                                          "/h",
                                          "HUGGINGFACE_HUB_CACHE",
                                          "/old",
                                          "HF_HUB_CACHE",
                                          "/new",
                                          "HF_HUB_OFFLINE",
                                          "YES",
                                          "REVISION",
                                          "r",
                                          NULL};
  environment = variables;
  assert_int_equal(read_line("--model-id a/b", &o), OPTIONS_RUN);
  assert_string_equal(o.revision, "r");
  assert_string_equal(o.hf_token, "t");
  assert_string_equal(o.hf_endpoint, "http://e");
  assert_string_equal(o.hf_home, "/h");
  assert_string_equal(o.huggingface_hub_cache, "/new");
  assert_true(o.hf_hub_offline);
  assert_int_equal(
      read_line("--model-id a/b --revision v2 --hf-token u --hf-endpoint http://f --hf-home /i "
                "--huggingface-hub-cache /c --hf-hub-offline=off",
                &o),
      OPTIONS_RUN);
  assert_string_equal(o.revision, "v2");
  assert_string_equal(o.hf_token, "u");
  assert_string_equal(o.hf_endpoint, "http://f");
  assert_string_equal(o.hf_home, "/i");
  assert_string_equal(o.huggingface_hub_cache, "/c");
  assert_false(o.hf_hub_offline);
}

static void flags_stand_alone_or_take_a_value(void **state) {
  (void)state;
  options o;
  assert_int_equal(read_line("--json-output --model-id m --auto-truncate false", &o), OPTIONS_RUN);
  assert_true(o.json_output);
  assert_false(o.auto_truncate);
  assert_false(o.pack_cache);
  assert_int_equal(
      read_line("--model-id m --json-output=false --auto-truncate=true --pack-cache", &o),
      OPTIONS_RUN);
  assert_true(o.pack_cache);
  assert_false(o.json_output);
  assert_true(o.auto_truncate);
}

static void the_environment_is_read_and_the_command_line_wins(void **state) {
  (void)state;
  static const char *const variables[] = {"MODEL_ID",
                                          "env",
                                          "PORT",
                                          "81",
                                          "AUTO_TRUNCATE",
                                          "false",
                                          "API_KEY",
                                          "",
                                          "MAX_CLIENT_BATCH_SIZE",
                                          "8",
                                          "PACK_CACHE",
                                          "true",
                                          NULL};
  environment = variables;
  options o;
  assert_int_equal(read_line("--port 82", &o), OPTIONS_RUN);
  assert_string_equal(o.model_id, "env");
  assert_int_equal(o.port, 82);
  assert_true(o.pack_cache);
  assert_false(o.auto_truncate);
  assert_int_equal(o.api_keys.n, 0); /* set but empty is as good as unset */
  assert_int_equal(o.max_client_batch_size, 8);
}

static void bad_values_give_one_line_that_names_the_option(void **state) {
  (void)state;
  static const struct {
    const char *line;
    const char *named;
  } bad[] = {
      {"--model-id m --port 65536", "--port"},
      {"--model-id m --port -1", "--port"},
      {"--model-id m --port 80x", "--port"},
      {"--model-id m --port", "--port"},
      {"--model-id m --threads 0", "--threads"},
      {"--model-id m --dtype float8", "--dtype"},
      {"--model-id m --scoring l2", "--scoring"},
      {"--model-id m --scoring logit", "--scoring"},
      {"--model-id m --auto-truncate=maybe", "--auto-truncate"},
      {"--model-id m --log-level loud", "--log-level"},
      {"--model-id m --max-batch-tokens 99999999999999999999", "--max-batch-tokens"},
      {"--model-id m --cache-bytes 65535", "--cache-bytes"},
      {"--model-id m --cache-bytes 1X", "--cache-bytes"},
      {"--model-id m --shared-cache redis://cache", "--cache-bytes"},
      {"--model-id m --cache-bytes 65536 --shared-cache rediss://cache", "TLS"},
      {"--model-id m --cache-bytes 65536 --shared-cache cache", "--shared-cache"},
      {"--model-id m --shared-cache-timeout-ms 0", "--shared-cache-timeout-ms"},
      {"--model-id m --shared-cache-timeout-ms 1001", "--shared-cache-timeout-ms"},
      {"--model-id m --shared-cache-ttl 0", "--shared-cache-ttl"},
      {"--model-id m --cache-bytes 65536 --shared-cache redis://cache --shared-cache-prefix "
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
       "--shared-cache-prefix"},
      {"--model-id m --colour", "--colour"},
      {"--model-id m stray", "stray"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    options o;
    assert_int_equal(read_line(bad[i].line, &o), OPTIONS_INVALID);
    assert_non_null(strstr(problem, bad[i].named));
    assert_null(strchr(problem, '\n'));
  }
}

static void no_model_has_to_be_named(void **state) {
  (void)state;
  options o;
  assert_int_equal(read_line("", &o), OPTIONS_RUN);
  assert_null(o.model_id);
}

static void scorings_have_names(void **state) {
  (void)state;
  static const struct {
    const char *line;
    rr_scoring scoring;
  } known[] = {{"--model-id m --scoring auto", RR_SCORING_AUTO},
               {"--model-id m --scoring cosine", RR_SCORING_COSINE},
               {"--model-id m --scoring maxsim", RR_SCORING_MAXSIM},
               {"--model-id m --scoring hybrid", RR_SCORING_HYBRID}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    options o;
    assert_int_equal(read_line(known[i].line, &o), OPTIONS_RUN);
    assert_int_equal(o.scoring, known[i].scoring);
  }
}

static void instruction_sets_have_a_variable_of_their_own(void **state) {
  (void)state;
  static const char *const variables[] = {"RERANKD_ISA", "avx2", "ISA", "none", NULL};
  environment = variables;
  options o;
  assert_int_equal(read_line("--model-id m --dtype int8", &o), OPTIONS_RUN);
  assert_string_equal(o.isa, "avx2");
  assert_int_equal(o.dtype, RR_DTYPE_INT8);
  assert_int_equal(read_line("--model-id m --dtype bfloat16 --isa portable", &o), OPTIONS_RUN);
  assert_string_equal(o.isa, "portable");
  assert_int_equal(o.dtype, RR_DTYPE_BFLOAT16);
}

static void what_confines_the_server_is_chosen(void **state) {
  (void)state;
  static const char *const variables[] = {"RERANKD_USER", "www:web", "USER", "me",
                                          "SECCOMP",      "off",     NULL};
  options o;
  assert_int_equal(read_line("--model-id m", &o), OPTIONS_RUN);
  assert_null(o.user);
  assert_int_equal(o.seccomp, OPTION_AUTO);
  assert_false(o.core_dumps);
  environment = variables;
  assert_int_equal(read_line("--model-id m --core-dumps", &o), OPTIONS_RUN);
  assert_string_equal(o.user, "www:web");
  assert_int_equal(o.seccomp, OPTION_OFF);
  assert_true(o.core_dumps);
  assert_int_equal(read_line("--model-id m --user root --seccomp on", &o), OPTIONS_RUN);
  assert_string_equal(o.user, "root");
  assert_int_equal(o.seccomp, OPTION_ON);
  assert_int_equal(read_line("--model-id m --seccomp auto", &o), OPTIONS_RUN);
  assert_int_equal(o.seccomp, OPTION_AUTO);
  assert_int_equal(read_line("--model-id m --seccomp maybe", &o), OPTIONS_INVALID);
  assert_non_null(strstr(problem, "--seccomp"));
}

static void where_spans_go_is_chosen(void **state) {
  (void)state;
  static const char *const variables[] = {
      "OTLP_ENDPOINT", "http://e", "OTLP_SERVICE_NAME", "n", "OTLP_SAMPLE", "0.5", NULL};
  options o;
  assert_int_equal(read_line("--model-id m", &o), OPTIONS_RUN);
  assert_null(o.otlp_endpoint);
  assert_null(o.otlp_service_name);
  assert_null(o.otlp_sample);
  environment = variables;
  assert_int_equal(read_line("--model-id m --otlp-sample 0.25", &o), OPTIONS_RUN);
  assert_string_equal(o.otlp_endpoint, "http://e");
  assert_string_equal(o.otlp_service_name, "n");
  assert_string_equal(o.otlp_sample, "0.25");
}

static void a_bad_variable_is_named(void **state) {
  (void)state;
  static const char *const variables[] = {"PORT", "eighty", NULL};
  environment = variables;
  options o;
  assert_int_equal(read_line("--model-id m", &o), OPTIONS_INVALID);
  assert_non_null(strstr(problem, "PORT"));
}

static void help_names_every_option_even_in_a_bad_environment(void **state) {
  (void)state;
  static const char *const variables[] = {"PORT", "eighty", NULL};
  environment = variables;
  options o;
  assert_int_equal(read_line("--help all", &o), OPTIONS_DONE);
  static const char *const names[] = {"--model-id",
                                      "--served-model-name",
                                      "--hostname",
                                      "--port",
                                      "--dtype",
                                      "--isa",
                                      "--threads",
                                      "--tokenization-workers",
                                      "--max-concurrent-requests",
                                      "--max-batch-tokens",
                                      "--max-client-batch-size",
                                      "--payload-limit",
                                      "--cache-bytes",
                                      "--shared-cache",
                                      "--shared-cache-timeout-ms",
                                      "--shared-cache-ttl",
                                      "--shared-cache-prefix",
                                      "--shared-cache-password",
                                      "--shared-cache-secret",
                                      "--idle-timeout",
                                      "--client-timeout",
                                      "--auto-truncate",
                                      "--api-key",
                                      "--json-output",
                                      "--log-level",
                                      "--revision",
                                      "--hf-token",
                                      "--hf-endpoint",
                                      "--hf-home",
                                      "--huggingface-hub-cache",
                                      "--hf-hub-offline",
                                      "--pack-cache",
                                      "--api-key-file",
                                      "--cors-allow-origin",
                                      "--unix-socket",
                                      "--user",
                                      "--seccomp",
                                      "--core-dumps",
                                      "--otlp-endpoint",
                                      "--otlp-service-name",
                                      "--otlp-sample",
                                      "--help",
                                      "--version"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    assert_non_null(strstr(printed, names[i]));
  }
  assert_int_equal(read_line("--version", &o), OPTIONS_DONE);
  assert_non_null(strstr(printed, "rerankd "));
}

static void every_row_of_the_table_is_whole(void **state) {
  (void)state;
  size_t n;
  size_t matter = 0;
  const option_spec *rows = option_table(&n);
  for (size_t i = 0; i < n; i++) {
    char variable[OPTION_NAME_MAX];
    char other[OPTION_NAME_MAX];
    option_variable(&rows[i], variable);
    assert_true(strlen(rows[i].help) > 8 && rows[i].help[strlen(rows[i].help) - 1] != '.');
    assert_true((int)rows[i].group < (int)OPTION_GROUPS);
    assert_true(i == 0 || rows[i - 1].group <= rows[i].group);
    assert_int_equal(rows[i].argument == NULL, rows[i].kind >= OPTION_HELP);
    assert_ptr_equal(option_find(rows[i].name, strlen(rows[i].name)), &rows[i]);
    for (size_t j = 0; j < i; j++) {
      option_variable(&rows[j], other);
      assert_string_not_equal(variable, other);
      assert_true(rows[i].offset == 0 || rows[i].offset != rows[j].offset);
    }
    matter += rows[i].matters;
  }
  assert_int_equal(matter, 12);
}

static void help_prints_what_matters_first(void **state) {
  (void)state;
  options o;
  assert_int_equal(read_line("--help", &o), OPTIONS_DONE);
  assert_non_null(strstr(printed, "--model-id"));
  assert_null(strstr(printed, "--otlp-sample"));
  assert_non_null(strstr(printed, "--help all"));
  assert_int_equal(read_line("-h all", &o), OPTIONS_DONE);
  assert_non_null(strstr(printed, "--otlp-sample"));
  assert_int_equal(read_line("--help=markdown", &o), OPTIONS_DONE);
  assert_non_null(strstr(printed, "| `--port PORT` | `PORT` | 0 to 65535 | 3000 |"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_of_the_table_is_whole),
      cmocka_unit_test_setup(help_prints_what_matters_first, reset),
      cmocka_unit_test_setup(defaults_are_as_documented, reset),
      cmocka_unit_test_setup(every_option_reaches_its_field, reset),
      cmocka_unit_test_setup(the_shared_cache_has_options_and_its_secrets_variables, reset),
      cmocka_unit_test_setup(the_hub_has_options_and_its_own_variables, reset),
      cmocka_unit_test_setup(lists_grow_and_the_command_line_replaces_the_environments, reset),
      cmocka_unit_test_setup(flags_stand_alone_or_take_a_value, reset),
      cmocka_unit_test_setup(the_environment_is_read_and_the_command_line_wins, reset),
      cmocka_unit_test_setup(bad_values_give_one_line_that_names_the_option, reset),
      cmocka_unit_test_setup(no_model_has_to_be_named, reset),
      cmocka_unit_test_setup(scorings_have_names, reset),
      cmocka_unit_test_setup(instruction_sets_have_a_variable_of_their_own, reset),
      cmocka_unit_test_setup(what_confines_the_server_is_chosen, reset),
      cmocka_unit_test_setup(where_spans_go_is_chosen, reset),
      cmocka_unit_test_setup(a_bad_variable_is_named, reset),
      cmocka_unit_test_setup(asking_for_health_has_no_variable, reset),
      cmocka_unit_test_setup(draining_is_bounded_and_the_command_line_wins, reset),
      cmocka_unit_test_setup(help_names_every_option_even_in_a_bad_environment, reset),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
