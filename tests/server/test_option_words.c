/* Words of a command line that are not as the server has them: short forms, slips, other servers'
 * options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/options/hints.h"
#include "tests/server/options.h"

static int reset(void **state) {
  (void)state;
  environment = NULL;
  return 0;
}

/* Refused in one line that holds the words. */
static void expect_problem(const char *line, const char *words) {
  options o;
  options_result result = read_line(line, &o);
  if (result != OPTIONS_INVALID || strstr(problem, words) == NULL ||
      strchr(problem, '\n') != NULL) {
    fail_msg("%s: \"%s\" instead of \"%s\"", line, problem, words);
  }
}

static void short_options_are_those_of_letters(void **state) {
  (void)state;
  options o;
  assert_int_equal(read_line("-p 81", &o), OPTIONS_RUN);
  assert_int_equal(o.port, 81);
  assert_int_equal(read_line("-p82 --threads=2 --port=83", &o), OPTIONS_RUN);
  assert_int_equal(o.port, 83);
  assert_int_equal(o.threads, 2);
  assert_int_equal(read_line("-h", &o), OPTIONS_DONE);
  assert_non_null(strstr(printed, "--model-id"));
  assert_int_equal(read_line("-p 81 -V", &o), OPTIONS_DONE);
  assert_non_null(strstr(printed, "rerankd "));
  assert_int_equal(read_line("--model-id m --", &o), OPTIONS_RUN);
  expect_problem("-p", "-p: needs a value");
  expect_problem("-p 80x", "--port: '80x'");
  expect_problem("-x", "unknown option '-x'");
}

static void slips_are_told_what_was_meant(void **state) {
  (void)state;
  static const struct {
    const char *line;
    const char *words;
  } slips[] = {
      {"--prot 80", "unknown option '--prot'; did you mean '--port'?"},
      {"--prot=80", "unknown option '--prot'; did you mean '--port'?"},
      {"-port 80", "unknown option '-port'; did you mean '--port'?"},
      {"-model-id x", "unknown option '-model-id'; did you mean '--model-id'?"},
      {"--modle-id x", "did you mean '--model-id'?"},
      {"--treads 2", "did you mean '--threads'?"},
      {"--max_batch_tokens 4", "did you mean '--max-batch-tokens'?"},
      {"--MAX_BATCH_TOKENS 4", "did you mean '--max-batch-tokens'?"},
      {"--cach-bytes 4", "did you mean '--cache-bytes'?"},
      {"--api-keys a", "did you mean '--api-key'?"},
      {"--api k", "'--api' may be each of --api-key, --api-key-file"},
      {"--dtype bfloat", "did you mean 'bfloat16'?"},
      {"--dtype int4", "did you mean 'int8'?"},
      {"--scoring cosin", "did you mean 'cosine'?"},
      {"--scoring max", "did you mean 'maxsim'?"},
      {"--seccomp atuo", "did you mean 'auto'?"},
      {"--log-level warning", "did you mean 'warn'?"},
      {"--log-level ifno", "did you mean 'info'?"},
      {"--auto-truncate=ture", "did you mean 'true'?"},
      {"--auto-truncate maybe", "--auto-truncate: 'maybe' is not valid; expected true or false"},
      {"--port --dtype int8", "--port: needs a value; '--dtype' is an option"},
      {"--model-id --port 80", "--model-id: needs a value; '--port' is an option"},
      {"--help=x", "--help: 'x' is not valid; expected all or markdown"},
      {"./model", "a model is named as --model-id ./model"},
      {"BAAI/bge-small-en-v1.5", "--model-id BAAI/bge-small-en-v1.5"},
      {"-- ./model", "--model-id ./model"},
      {"port=80", "did you mean '--port=...'?"},
      {"--cache-bytes 64 MB", "write the size without a blank, as 64MB"},
  };
  for (size_t i = 0; i < sizeof slips / sizeof slips[0]; i++) {
    expect_problem(slips[i].line, slips[i].words);
  }
}

static void what_is_near_nothing_is_not_guessed(void **state) {
  (void)state;
  static const char *const lines[] = {"--zzzzz",           "--colour",     "--x", "--",
                                      "--dtype complex64", "--scoring l2", "--=", "-="};
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    options o;
    (void)read_line(lines[i], &o);
    assert_null(strstr(problem, "did you mean"));
  }
}

/* A value may be a secret, and the line ends up in a log. */
static void values_of_unknown_options_are_not_repeated(void **state) {
  (void)state;
  static const char *const lines[] = {"--api-kye=hunter2", "-api-key=hunter2", "api-key=hunter2",
                                      "--hf-api-token=hunter2"};
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    options o;
    assert_int_equal(read_line(lines[i], &o), OPTIONS_INVALID);
    assert_null(strstr(problem, "hunter2"));
  }
}

static void options_of_other_servers_lead_to_those_here(void **state) {
  (void)state;
  static const struct {
    const char *line;
    const char *words;
  } others[] = {
      {"-m model", "--model-id"},
      {"--max-batch-requests 8", "--max-batch-tokens"},
      {"--pooling cls", "1_Pooling/config.json"},
      {"--uds-path /tmp/x", "--unix-socket"},
      {"--disable-spans", "--otlp-endpoint"},
      {"--dense-path 2_Dense", "Dense modules"},
      {"--default-prompt x", "put the prompt before the query"},
      {"--prometheus-port 9000", "/metrics"},
      {"--hf-api-token x", "--hf-token"},
      {"--tensor-parallel-size 2", "CPU"},
      {"--max-model-len 512", "a request may ask for less"},
      {"--ssl-keyfile x", "TLS"},
      {"--alias x", "--served-model-name"},
      {"--ctx-size 512", "there is none"},
      {"-c 512", "there is none"},
      {"-ngl 99", "CPU"},
      {"-t 4", "--threads"},
      {"-v", "--version"},
  };
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    expect_problem(others[i].line, others[i].words);
    expect_problem(others[i].line, "unknown option");
  }
}

/* What says that an option is elsewhere must not hide one that is here. */
static void every_option_of_help_is_known(void **state) {
  (void)state;
  options o;
  assert_int_equal(read_line("--help", &o), OPTIONS_DONE);
  for (const char *at = strstr(printed, "\n  --"); at != NULL; at = strstr(at + 1, "\n  --")) {
    char name[64];
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 5, " "), at + 5);
    assert_null(option_elsewhere(name));
  }
}

static void float16_is_taken_as_bfloat16_and_kept_in_mind(void **state) {
  (void)state;
  options o;
  static const char *const names[] = {"float16", "fp16", "half", "Float16"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char line[64];
    (void)snprintf(line, sizeof line, "--dtype %s", names[i]);
    assert_int_equal(read_line(line, &o), OPTIONS_RUN);
    assert_int_equal(o.dtype, RR_DTYPE_BFLOAT16);
    assert_true(o.dtype_float16);
  }
  static const char *const set[] = {"DTYPE", "float16", NULL};
  environment = set;
  assert_int_equal(read_line("", &o), OPTIONS_RUN);
  assert_true(o.dtype_float16);
  assert_int_equal(read_line("--dtype bf16", &o), OPTIONS_RUN); /* the command line wins */
  assert_int_equal(o.dtype, RR_DTYPE_BFLOAT16);
  assert_false(o.dtype_float16);
  assert_int_equal(read_line("--dtype fp32", &o), OPTIONS_RUN);
  assert_int_equal(o.dtype, RR_DTYPE_FLOAT32);
  expect_problem("--dtype float8", "expected auto, float32, bfloat16 or int8");
}

static void sizes_have_units(void **state) {
  (void)state;
  options o;
  static const char *const set[] = {"PAYLOAD_LIMIT",   "20MB", "CACHE_BYTES", "1GiB",
                                    "DOCUMENTS_BYTES", "2g",   NULL};
  environment = set;
  assert_int_equal(read_line("--document-cache-bytes 64MB", &o), OPTIONS_RUN);
  assert_int_equal(o.payload_limit, 20000000);
  assert_int_equal(o.cache_bytes, 1 << 30);
  assert_int_equal(o.documents_bytes, 2000000000);
  assert_int_equal(o.document_cache_bytes, 64000000);
  environment = NULL;
  static const char *const names[] = {"payload-limit", "cache-bytes", "document-cache-bytes",
                                      "documents-bytes"};
  static const char *const bad[] = {
      "64MX", "-1",         "+1", "1.5GB", "", "MB", "0x10", "1e6", "99999999999999999999",
      "17T",  "99999999TiB"};
  for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
      char line[128];
      char words[128];
      (void)snprintf(line, sizeof line, "--%s=%s", names[n], bad[i]);
      if (strcmp(bad[i], "17T") == 0 && n == 3) { /* 17,000,000,000,000 are less than 16 TiB */
        continue;
      }
      (void)snprintf(words, sizeof words, "--%s: '%s' is not valid; expected ", names[n], bad[i]);
      expect_problem(line, words);
      expect_problem(line, "64MiB");
    }
  }
  expect_problem("--payload-limit 2GiB", "1 to 1073741824 (1GiB) bytes");
  expect_problem("--idle-timeout 1k", "a whole number"); /* seconds are no size */
}

static void edits_are_counted(void **state) {
  (void)state;
  static const struct {
    const char *a;
    const char *b;
    size_t distance;
  } cases[] = {{"", "", 0},          {"a", "", 1},
               {"", "abc", 3},       {"port", "prot", 1},
               {"port", "sort", 1},  {"port", "ort", 1},
               {"port", "ports", 1}, {"a-b", "A_B", 0},
               {"ca", "abc", 3},     {"kitten", "sitting", 3}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(option_distance(cases[i].a, cases[i].b), cases[i].distance);
    assert_int_equal(option_distance(cases[i].b, cases[i].a), cases[i].distance);
  }
  char longer[4096];
  memset(longer, 'x', sizeof longer);
  longer[sizeof longer - 1] = '\0';
  assert_int_equal(option_distance(longer, ""), 64);
  assert_int_equal(option_distance(longer, longer), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(short_options_are_those_of_letters, reset),
      cmocka_unit_test_setup(slips_are_told_what_was_meant, reset),
      cmocka_unit_test_setup(what_is_near_nothing_is_not_guessed, reset),
      cmocka_unit_test_setup(values_of_unknown_options_are_not_repeated, reset),
      cmocka_unit_test_setup(options_of_other_servers_lead_to_those_here, reset),
      cmocka_unit_test_setup(every_option_of_help_is_known, reset),
      cmocka_unit_test_setup(float16_is_taken_as_bfloat16_and_kept_in_mind, reset),
      cmocka_unit_test_setup(sizes_have_units, reset),
      cmocka_unit_test_setup(edits_are_counted, reset),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
