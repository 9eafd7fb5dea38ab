/* Model directories that are malformed, hostile or of another kind: clear errors, no crash. */
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "tests/core/token_support.h"

static char directory[64];

static const char *path_of(const char *name) {
  static char path[256];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

static void write_file(const char *name, const char *data, size_t size) {
  FILE *file = fopen(path_of(name), "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

static void write_string(const char *name, const char *data) {
  write_file(name, data, strlen(data));
}

static const char *const file_names[] = {"tokenizer.json", "tokenizer_config.json", "vocab.txt",
                                         "special_tokens_map.json", "added_tokens.json"};

static int make_directory(void **state) {
  (void)state;
  (void)snprintf(directory, sizeof directory, "/tmp/rr-token-XXXXXX");
  return mkdtemp(directory) == NULL ? -1 : 0;
}

static int remove_directory(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof file_names / sizeof file_names[0]; i++) {
    (void)unlink(path_of(file_names[i]));
    (void)rmdir(path_of(file_names[i]));
  }
  return rmdir(directory);
}

/* Loads the directory, which must fail with this status and a message that holds `needle`. */
static void expect_refused(rr_status status, const char *needle) {
  rr_tokenizer *tokenizer = (rr_tokenizer *)&directory;
  rr_error err = {.message = ""};
  rr_status got = rr_tokenizer_load(directory, &tokenizer, &err);
  if (got != status || strstr(err.message, needle) == NULL) {
    fail_msg("wanted %s and \"%s\", got %s: %s", rr_status_name(status), needle,
             rr_status_name(got), err.message);
  }
  assert_ptr_equal(tokenizer, &directory);
}

#define NORMALIZER                                                                                 \
  "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"                \
  "\"strip_accents\":null,\"lowercase\":true}"
#define PRE_TOKENIZER "{\"type\":\"BertPreTokenizer\"}"
#define MODEL_OF(vocab)                                                                            \
  "{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","          \
  "\"max_input_chars_per_word\":100,\"vocab\":" vocab "}"
#define MODEL MODEL_OF("{\"[UNK]\":0,\"a\":1,\"b\":2,\"##b\":3}")
#define BERT_PROCESSING "{\"type\":\"BertProcessing\",\"sep\":[\"s\",2],\"cls\":[\"c\",1]}"

/* What differs from a good tokenizer.json; NULL: nothing. */
typedef struct parts {
  const char *normalizer;
  const char *pre_tokenizer;
  const char *post_processor;
  const char *model;
  const char *added;
} parts;

static void write_tokenizer(parts changed) {
  static char json[1 << 16];
  int size = snprintf(json, sizeof json,
                      "{\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,\"model\":%s,"
                      "\"added_tokens\":%s}",
                      changed.normalizer != NULL ? changed.normalizer : NORMALIZER,
                      changed.pre_tokenizer != NULL ? changed.pre_tokenizer : PRE_TOKENIZER,
                      changed.post_processor != NULL ? changed.post_processor : "null",
                      changed.model != NULL ? changed.model : MODEL,
                      changed.added != NULL ? changed.added : "[]");
  assert_in_range(size, 1, sizeof json - 1);
  write_file("tokenizer.json", json, (size_t)size);
}

static rr_tokenizer *load_written(void) { return load_tokenizer(directory); }

static void expect_ids(const rr_tokenizer *tokenizer, const char *text, const int32_t *ids,
                       size_t size) {
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  rr_tokens tokens = tokens_of(tokenizer, text_of(text), &arena);
  assert_int_equal(tokens.size, size);
  assert_memory_equal(tokens.ids, ids, size * sizeof *ids);
  rr_arena_finish(&arena);
}

static void the_good_file_loads(void **state) {
  (void)state;
  write_tokenizer((parts){.normalizer = NULL});
  rr_tokenizer *tokenizer = load_written();
  static const int32_t ids[] = {1, 3, 0, 2};
  expect_ids(tokenizer, "AB ba b", ids, 4);
  assert_int_equal(rr_tokenizer_id_bound(tokenizer), 4);
  assert_int_equal(rr_tokenizer_max_length(tokenizer), SIZE_MAX);
  rr_tokenizer_destroy(tokenizer);
  rr_tokenizer_destroy(NULL);
}

static void the_largest_id_may_be_a_templates_or_an_added_tokens(void **state) {
  (void)state;
  write_tokenizer((parts){.post_processor = "{\"type\":\"BertProcessing\","
                                            "\"sep\":[\"s\",2],\"cls\":[\"c\",41]}"});
  rr_tokenizer *tokenizer = load_written();
  assert_int_equal(rr_tokenizer_id_bound(tokenizer), 42);
  rr_tokenizer_destroy(tokenizer);
  write_tokenizer((parts){.added = "[{\"id\":9,\"content\":\"new\","
                                   "\"single_word\":false,\"lstrip\":false,"
                                   "\"rstrip\":false,\"normalized\":false,\"special\":true}]"});
  tokenizer = load_written();
  assert_int_equal(rr_tokenizer_id_bound(tokenizer), 5);
  rr_tokenizer_destroy(tokenizer);
}

static void nothing_there_is_an_io_error(void **state) {
  (void)state;
  expect_refused(RR_ERR_IO, "vocab.txt");
  rr_tokenizer *tokenizer = NULL;
  char *path = malloc(10000);
  assert_non_null(path);
  memset(path, 'x', 9999);
  path[9999] = '\0';
  assert_int_equal(rr_tokenizer_load(path, &tokenizer, NULL), RR_ERR_IO);
  free(path);
}

static void a_folder_in_place_of_a_file_is_an_io_error(void **state) {
  (void)state;
  assert_int_equal(mkdir(path_of("tokenizer.json"), 0700), 0);
  expect_refused(RR_ERR_IO, "tokenizer.json");
  assert_int_equal(rmdir(path_of("tokenizer.json")), 0);
  assert_int_equal(mkdir(path_of("vocab.txt"), 0700), 0);
  expect_refused(RR_ERR_IO, "vocab.txt");
}

static void what_is_no_json_object_is_a_format_error(void **state) {
  (void)state;
  static const char *const bad[] = {"",         "{",    "[]", "null", "1", "\"x\"", "{\"model\":}",
                                    "\xff\xfe", "{} {}"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    write_string("tokenizer.json", bad[i]);
    expect_refused(RR_ERR_FORMAT, "tokenizer.json");
  }
  write_tokenizer((parts){.normalizer = NULL});
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    write_string("tokenizer_config.json", bad[i]);
    expect_refused(RR_ERR_FORMAT, "tokenizer_config.json");
  }
}

static void files_over_the_limit_are_refused(void **state) {
  (void)state;
  write_string("tokenizer.json", "{}");
  assert_int_equal(truncate(path_of("tokenizer.json"), (64 << 20) + 1), 0);
  expect_refused(RR_ERR_FORMAT, "tokenizer.json");
  assert_int_equal(unlink(path_of("tokenizer.json")), 0);
  write_string("vocab.txt", "[UNK]\n");
  assert_int_equal(truncate(path_of("vocab.txt"), (64 << 20) + 1), 0);
  expect_refused(RR_ERR_FORMAT, "vocab.txt");
}

typedef struct refusal {
  parts changed;
  rr_status status;
  const char *needle;
} refusal;

static void expect_all_refused(const refusal *refusals, size_t count) {
  for (size_t i = 0; i < count; i++) {
    write_tokenizer(refusals[i].changed);
    expect_refused(refusals[i].status, refusals[i].needle);
  }
}

static void other_kinds_of_tokenizer_are_named(void **state) {
  (void)state;
  static const refusal refusals[] = {
      {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[]}"},
       RR_ERR_UNSUPPORTED,
       "Sequence"},
      {{.normalizer = "{\"type\":\"NFC\"}"}, RR_ERR_UNSUPPORTED, "NFC"},
      {{.pre_tokenizer = "{\"type\":\"Whitespace\"}"}, RR_ERR_UNSUPPORTED, "Whitespace"},
      {{.pre_tokenizer = "{\"type\":\"Metaspace\"}"}, RR_ERR_UNSUPPORTED, "Metaspace"},
      {{.model = "{\"type\":\"BPE\",\"vocab\":{}}"}, RR_ERR_UNSUPPORTED, "BPE"},
      {{.model = "{\"type\":\"Unigram\",\"vocab\":[]}"}, RR_ERR_UNSUPPORTED, "Unigram"},
      {{.post_processor = "{\"type\":\"RobertaProcessing\"}"},
       RR_ERR_UNSUPPORTED,
       "RobertaProcessing"},
      {{.post_processor = "{\"type\":\"ByteLevel\"}"}, RR_ERR_UNSUPPORTED, "ByteLevel"},
  };
  expect_all_refused(refusals, sizeof refusals / sizeof refusals[0]);
}

static void wrong_types_in_the_parts_are_format_errors(void **state) {
  (void)state;
  static const char *const values[] = {"1", "\"x\"", "[]", "[1]", "true", "{}", "{\"type\":1}"};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    const refusal refusals[] = {
        {{.normalizer = values[i]}, RR_ERR_FORMAT, "normalizer"},
        {{.pre_tokenizer = values[i]}, RR_ERR_FORMAT, "pre_tokenizer"},
        {{.post_processor = values[i]}, RR_ERR_FORMAT, "post_processor"},
        {{.model = values[i]}, RR_ERR_FORMAT, "model"},
    };
    expect_all_refused(refusals, sizeof refusals / sizeof refusals[0]);
  }
  static const refusal refusals[] = {
      {{.pre_tokenizer = "null"}, RR_ERR_FORMAT, "pre_tokenizer"},
      {{.model = "null"}, RR_ERR_FORMAT, "model"},
      {{.normalizer = "{\"type\":\"BertNormalizer\"}"}, RR_ERR_FORMAT, "clean_text"},
      {{.normalizer =
            "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":1}"},
       RR_ERR_FORMAT,
       "handle_chinese_chars"},
      {{.normalizer =
            "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
            "\"lowercase\":true,\"strip_accents\":\"yes\"}"},
       RR_ERR_FORMAT,
       "strip_accents"},
      {{.added = "{}"}, RR_ERR_FORMAT, "added_tokens"},
      {{.added = "[1]"}, RR_ERR_FORMAT, "added_tokens"},
      {{.added = "[{\"id\":1,\"content\":2}]"}, RR_ERR_FORMAT, "added_tokens"},
      {{.added = "[{\"id\":\"1\",\"content\":\"a\"}]"}, RR_ERR_FORMAT, "added_tokens"},
      {{.added = "[{\"id\":1,\"content\":\"a\",\"special\":true,\"single_word\":0}]"},
       RR_ERR_FORMAT,
       "single_word"},
  };
  expect_all_refused(refusals, sizeof refusals / sizeof refusals[0]);
}

static void bad_vocabularies_are_refused(void **state) {
  (void)state;
  static const refusal refusals[] = {
      {{.model = MODEL_OF("{\"a\":1}")}, RR_ERR_FORMAT, "[UNK]"},
      {{.model = MODEL_OF("{}")}, RR_ERR_FORMAT, "[UNK]"},
      {{.model = MODEL_OF("[\"[UNK]\"]")}, RR_ERR_FORMAT, "vocab"},
      {{.model = MODEL_OF("{\"[UNK]\":-1}")}, RR_ERR_FORMAT, "[UNK]"},
      {{.model = MODEL_OF("{\"[UNK]\":0,\"a\":4000000}")}, RR_ERR_FORMAT, "\"a\""},
      {{.model = MODEL_OF("{\"[UNK]\":0,\"a\":9223372036854775807}")}, RR_ERR_FORMAT, "\"a\""},
      {{.model = MODEL_OF("{\"[UNK]\":0,\"a\":92233720368547758070}")}, RR_ERR_FORMAT, "model"},
      {{.model = MODEL_OF("{\"[UNK]\":0,\"a\":1.0}")}, RR_ERR_FORMAT, "\"a\""},
      {{.model = MODEL_OF("{\"[UNK]\":0,\"a\":\"1\"}")}, RR_ERR_FORMAT, "\"a\""},
      {{.model = MODEL_OF("{\"[UNK]\":0,\"a\":null}")}, RR_ERR_FORMAT, "\"a\""},
      {{.model =
            "{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
            "\"max_input_chars_per_word\":-1,\"vocab\":{\"[UNK]\":0}}"},
       RR_ERR_FORMAT,
       "max_input_chars_per_word"},
      {{.model =
            "{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
            "\"max_input_chars_per_word\":1001,\"vocab\":{\"[UNK]\":0}}"},
       RR_ERR_UNSUPPORTED,
       "max_input_chars_per_word"},
      {{.model = "{\"type\":\"WordPiece\",\"unk_token\":null,\"continuing_subword_prefix\":\"##\","
                 "\"max_input_chars_per_word\":100,\"vocab\":{\"[UNK]\":0}}"},
       RR_ERR_FORMAT,
       "unk_token"},
  };
  expect_all_refused(refusals, sizeof refusals / sizeof refusals[0]);
}

static void odd_vocabularies_that_the_reference_takes_are_taken(void **state) {
  (void)state;
  /* Of a token that is there twice the last counts; the empty token is never found. */
  write_tokenizer(
      (parts){.model = MODEL_OF("{\"[UNK]\":0,\"a\":1,\"a\":7,\"\":9,\"b\":7,\"##\":3}")});
  rr_tokenizer *tokenizer = load_written();
  static const int32_t ids[] = {7, 7, 0};
  expect_ids(tokenizer, "a b ab", ids, 3);
  assert_int_equal(rr_tokenizer_id_bound(tokenizer), 10);
  rr_tokenizer_destroy(tokenizer);
  /* No characters a word: everything is unknown. */
  write_tokenizer((parts){.model =
                              "{\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
                              "\"max_input_chars_per_word\":0,\"vocab\":{\"[UNK]\":0,\"a\":1}}"});
  tokenizer = load_written();
  static const int32_t unknown[] = {0, 0};
  expect_ids(tokenizer, "a .", unknown, 2);
  rr_tokenizer_destroy(tokenizer);
}

#define SPECIALS "\"special_tokens\":{\"x\":{\"id\":\"x\",\"ids\":[1],\"tokens\":[\"x\"]}}}"
#define A "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define B "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}"
#define TEMPLATE(single, pair)                                                                     \
  "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[" pair "]," SPECIALS

static void bad_templates_are_refused(void **state) {
  (void)state;
  static const refusal refusals[] = {
      {{.post_processor = TEMPLATE("", A "," B)}, RR_ERR_UNSUPPORTED, "single"},
      {{.post_processor = TEMPLATE(A "," A, A "," B)}, RR_ERR_UNSUPPORTED, "single"},
      {{.post_processor = TEMPLATE(A "," B, A "," B)}, RR_ERR_UNSUPPORTED, "single"},
      {{.post_processor = TEMPLATE(A, A)}, RR_ERR_UNSUPPORTED, "pair"},
      {{.post_processor = TEMPLATE(A, B "," B)}, RR_ERR_UNSUPPORTED, "pair"},
      {{.post_processor = TEMPLATE("1", A "," B)}, RR_ERR_FORMAT, "piece"},
      {{.post_processor = TEMPLATE("{\"Sequence\":{\"id\":\"C\",\"type_id\":0}}", A "," B)},
       RR_ERR_FORMAT,
       "\"C\""},
      {{.post_processor = TEMPLATE("{\"Sequence\":{\"id\":\"A\",\"type_id\":256}}", A "," B)},
       RR_ERR_FORMAT,
       "type_id"},
      {{.post_processor = TEMPLATE("{\"Sequence\":{\"id\":\"A\",\"type_id\":-1}}", A "," B)},
       RR_ERR_FORMAT,
       "type_id"},
      {{.post_processor = TEMPLATE(A ",{\"SpecialToken\":{\"id\":\"y\",\"type_id\":0}}", A "," B)},
       RR_ERR_FORMAT,
       "\"y\""},
      {{.post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[],\"pair\":[]}"},
       RR_ERR_FORMAT,
       "special_tokens"},
      {{.post_processor = "{\"type\":\"BertProcessing\",\"cls\":[\"c\",1]}"}, RR_ERR_FORMAT, "sep"},
      {{.post_processor = "{\"type\":\"BertProcessing\",\"cls\":[\"c\",-1],\"sep\":[\"s\",1]}"},
       RR_ERR_FORMAT,
       "cls"},
      {{.post_processor =
            "{\"type\":\"BertProcessing\",\"cls\":[\"c\",4000000],\"sep\":[\"s\",1]}"},
       RR_ERR_FORMAT,
       "cls"},
  };
  expect_all_refused(refusals, sizeof refusals / sizeof refusals[0]);
  char many[8192] = "{\"type\":\"TemplateProcessing\",\"single\":[" A;
  for (size_t i = 0; i < 64; i++) {
    strcat(many, ",{\"SpecialToken\":{\"id\":\"x\",\"type_id\":0}}");
  }
  strcat(many, "],\"pair\":[" A "," B "]," SPECIALS);
  write_tokenizer((parts){.post_processor = many});
  expect_refused(RR_ERR_UNSUPPORTED, "64 pieces");
}

#define ADDED(content, normalized)                                                                 \
  "{\"id\":1,\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false," \
  "\"normalized\":" normalized ",\"special\":false}"

static void added_tokens_that_cannot_be_exact_are_refused(void **state) {
  (void)state;
  static const refusal refusals[] = {
      {{.added = "[" ADDED("Foo", "true") "," ADDED("fOO", "true") "]"},
       RR_ERR_UNSUPPORTED,
       "\"foo\""},
      {{.added = "[" ADDED("\\u200b", "true") "]"}, RR_ERR_UNSUPPORTED, "empty"},
      {{.added = "[" ADDED("a\\u302e", "true") "]"}, RR_ERR_UNSUPPORTED, "combining"},
  };
  expect_all_refused(refusals, sizeof refusals / sizeof refusals[0]);
  char long_one[1024];
  char content[514];
  memset(content, 'x', 513);
  content[513] = '\0';
  (void)snprintf(long_one, sizeof long_one,
                 "[{\"id\":1,\"content\":\"%s\","
                 "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                 "\"normalized\":false,\"special\":false}]",
                 content);
  write_tokenizer((parts){.added = long_one});
  expect_refused(RR_ERR_UNSUPPORTED, "513");
}

static void added_tokens_may_repeat_and_be_empty(void **state) {
  (void)state;
  write_tokenizer((parts){
      .added = "[" ADDED("", "false") "," ADDED("xx", "true") "," ADDED("xx", "false") "]"});
  rr_tokenizer *tokenizer = load_written();
  static const int32_t ids[] = {4, 0};
  expect_ids(tokenizer, "xx XX", ids, 2);
  rr_tokenizer_destroy(tokenizer);
}

static void configuration_of_wrong_types_is_refused(void **state) {
  (void)state;
  write_tokenizer((parts){.normalizer = NULL});
  static const struct {
    const char *config;
    const char *needle;
  } bad[] = {
      {"{\"do_lower_case\":1}", "do_lower_case"},
      {"{\"strip_accents\":\"x\"}", "strip_accents"},
      {"{\"tokenize_chinese_chars\":[]}", "tokenize_chinese_chars"},
      {"{\"model_max_length\":\"512\"}", "model_max_length"},
      {"{\"model_max_length\":0}", "model_max_length"},
      {"{\"model_max_length\":-5}", "model_max_length"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    write_string("tokenizer_config.json", bad[i].config);
    expect_refused(RR_ERR_FORMAT, bad[i].needle);
  }
}

static void a_model_max_length_beyond_reason_is_none(void **state) {
  (void)state;
  write_tokenizer((parts){.normalizer = NULL});
  static const struct {
    const char *config;
    size_t wanted;
  } lengths[] = {
      {"{\"model_max_length\":1000000000000000019884624838656}", SIZE_MAX},
      {"{\"model_max_length\":1e30}", SIZE_MAX},
      {"{\"model_max_length\":null}", SIZE_MAX},
      {"{}", SIZE_MAX},
      {"{\"model_max_length\":512}", 512},
  };
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    write_string("tokenizer_config.json", lengths[i].config);
    rr_tokenizer *tokenizer = load_written();
    assert_int_equal(rr_tokenizer_max_length(tokenizer), lengths[i].wanted);
    rr_tokenizer_destroy(tokenizer);
  }
}

static void bad_vocabulary_files_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text;
    rr_status status;
    const char *needle;
  } bad[] = {
      {"", RR_ERR_FORMAT, "[UNK]"},
      {"a\nb\n", RR_ERR_FORMAT, "[UNK]"},
      {"[UNK]\n\xc3(\n", RR_ERR_FORMAT, "byte 6"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    write_string("vocab.txt", bad[i].text);
    expect_refused(bad[i].status, bad[i].needle);
  }
  write_string("vocab.txt", "[UNK]\n[CLS]\n[SEP]\na");
  write_string("tokenizer_config.json", "{\"tokenizer_class\":\"XLMRobertaTokenizer\"}");
  expect_refused(RR_ERR_UNSUPPORTED, "XLMRobertaTokenizer");
  write_string("tokenizer_config.json", "{\"additional_special_tokens\":[\"<x>\"]}");
  expect_refused(RR_ERR_UNSUPPORTED, "added_tokens_decoder");
  write_string("tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":5}}");
  expect_refused(RR_ERR_FORMAT, "added_tokens_decoder");
  write_string("tokenizer_config.json", "{\"sep_token\":5}");
  expect_refused(RR_ERR_FORMAT, "sep_token");
  write_string("tokenizer_config.json", "{\"sep_token\":\"\"}");
  expect_refused(RR_ERR_FORMAT, "sep_token");
  write_string("tokenizer_config.json", "{}");
  write_string("added_tokens.json", "{\"x\":5}");
  expect_refused(RR_ERR_UNSUPPORTED, "added_tokens.json");
}

static void the_last_line_of_a_vocabulary_counts_without_a_line_feed(void **state) {
  (void)state;
  write_string("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n\n\nA\r\nna");
  rr_tokenizer *tokenizer = load_written();
  /* [PAD] and [MASK] are not there and get the ids behind the six different tokens. */
  static const int32_t ids[] = {6, 0, 6, 7, 2};
  expect_ids(tokenizer, "na A [PAD] [MASK][SEP]", ids, 5);
  assert_int_equal(rr_tokenizer_id_bound(tokenizer), 8);
  rr_tokenizer_destroy(tokenizer);
}

static void a_million_tokens_load(void **state) {
  (void)state;
  FILE *file = fopen(path_of("vocab.txt"), "w");
  assert_non_null(file);
  (void)fputs("[UNK]\n[CLS]\n[SEP]\n", file);
  for (int i = 3; i < 1000000; i++) {
    (void)fprintf(file, "%dx\n", i);
  }
  assert_int_equal(fclose(file), 0);
  rr_tokenizer *tokenizer = load_written();
  static const int32_t ids[] = {999999, 4, 0};
  expect_ids(tokenizer, "999999x 4x 4", ids, 3);
  rr_tokenizer_destroy(tokenizer);
}

static void too_many_trie_nodes_are_refused(void **state) {
  (void)state;
  /* Lines without common prefixes: 17 M bytes below the file limit, but over the trie's. */
  enum { LINE = 1 << 16 };
  char *line = malloc(LINE + 1);
  assert_non_null(line);
  FILE *file = fopen(path_of("vocab.txt"), "w");
  assert_non_null(file);
  (void)fputs("[UNK]\n[CLS]\n[SEP]\n", file);
  for (int i = 0; i < 270; i++) {
    memset(line, 'x', LINE);
    line[0] = (char)('0' + i % 64);
    line[1] = (char)('0' + i / 64);
    line[LINE] = '\n';
    assert_int_equal(fwrite(line, 1, LINE + 1, file), LINE + 1);
  }
  assert_int_equal(fclose(file), 0);
  free(line);
  expect_refused(RR_ERR_UNSUPPORTED, "too long");
}

/* Loads with the n-th allocation failing, until none is left to fail. */
static void fail_each_allocation(void) {
  rr_status status = RR_ERR_MEMORY;
  unsigned long n = 1;
  for (; status != RR_OK && n < 10000; n++) {
    rr_tokenizer *tokenizer = NULL;
    rr_alloc_fail_at(n, 0);
    status = rr_tokenizer_load(directory, &tokenizer, NULL);
    rr_alloc_fail_at(0, 0);
    if (status == RR_OK) {
      rr_tokenizer_destroy(tokenizer);
    } else {
      assert_int_equal(status, RR_ERR_MEMORY);
      assert_null(tokenizer);
    }
  }
  assert_in_range(n, 10, 9999);
}

static void each_failing_allocation_is_reported_and_leaks_nothing(void **state) {
  (void)state;
  write_string("tokenizer_config.json",
               "{\"do_lower_case\":true,\"added_tokens_decoder\":{\"0\":{\"content\":\"x\"}}}");
  write_string("vocab.txt", "[UNK]\n[CLS]\n[SEP]\nA\n");
  write_string("special_tokens_map.json", "{\"mask_token\":\"m\"}");
  fail_each_allocation();
  write_tokenizer((parts){.added = "[" ADDED("xx", "true") "," ADDED("yy", "false") "]",
                          .post_processor = BERT_PROCESSING});
  fail_each_allocation();
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void) {
  rr_json_init();
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(the_good_file_loads),
      IN_DIRECTORY(the_largest_id_may_be_a_templates_or_an_added_tokens),
      IN_DIRECTORY(nothing_there_is_an_io_error),
      IN_DIRECTORY(a_folder_in_place_of_a_file_is_an_io_error),
      IN_DIRECTORY(what_is_no_json_object_is_a_format_error),
      IN_DIRECTORY(files_over_the_limit_are_refused),
      IN_DIRECTORY(other_kinds_of_tokenizer_are_named),
      IN_DIRECTORY(wrong_types_in_the_parts_are_format_errors),
      IN_DIRECTORY(bad_vocabularies_are_refused),
      IN_DIRECTORY(odd_vocabularies_that_the_reference_takes_are_taken),
      IN_DIRECTORY(bad_templates_are_refused),
      IN_DIRECTORY(added_tokens_that_cannot_be_exact_are_refused),
      IN_DIRECTORY(added_tokens_may_repeat_and_be_empty),
      IN_DIRECTORY(configuration_of_wrong_types_is_refused),
      IN_DIRECTORY(a_model_max_length_beyond_reason_is_none),
      IN_DIRECTORY(bad_vocabulary_files_are_refused),
      IN_DIRECTORY(the_last_line_of_a_vocabulary_counts_without_a_line_feed),
      IN_DIRECTORY(a_million_tokens_load),
      IN_DIRECTORY(too_many_trie_nodes_are_refused),
      IN_DIRECTORY(each_failing_allocation_is_reported_and_leaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
