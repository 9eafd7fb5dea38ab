/* Ids of nasty and random texts against the reference, under every kind of configuration. */
#include "tests/core/token_support.h"

typedef struct folder {
  const char *name;
  size_t max_length; /* as tokenizer_config.json says */
} folder;

static const folder folders[] = {
    {"uncased", SIZE_MAX},
    {"cased", SIZE_MAX},
    {"cased-unaccented", SIZE_MAX},
    {"uncased-accented", SIZE_MAX},
    {"no-han-spaces", SIZE_MAX},
    {"uncleaned", SIZE_MAX},
    {"uncleaned-cased", SIZE_MAX},
    {"unnormalized", SIZE_MAX},
    {"added", SIZE_MAX},
    {"added-cased", SIZE_MAX},
    {"prefix-of-letters", SIZE_MAX},
    {"no-prefix", SIZE_MAX},
    {"unused-prefix", SIZE_MAX},
    {"vocabulary", SIZE_MAX},
    {"vocabulary-cased", SIZE_MAX},
    {"vocabulary-decoder", 64},
    {"overruled", SIZE_MAX},
    {"not-overruled", SIZE_MAX},
};
enum { FOLDERS = sizeof folders / sizeof folders[0] };

static json_t *golden;

static int load_golden(void **state) {
  (void)state;
  golden = golden_json("ids.json");
  return 0;
}

static int unload_golden(void **state) {
  (void)state;
  json_decref(golden);
  return 0;
}

static rr_text json_text(const json_t *json) {
  return (rr_text){json_string_value(json), json_string_length(json)};
}

static bool same_ids(const json_t *wanted, const int32_t *ids, size_t size) {
  if (json_array_size(wanted) != size) {
    return false;
  }
  for (size_t i = 0; i < size; i++) {
    if (json_integer_value(json_array_get(wanted, i)) != ids[i]) {
      return false;
    }
  }
  return true;
}

static void fail_on(const char *name, const json_t *text, const json_t *wanted,
                    const rr_encoding *encoding) {
  char *shown = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
  char *ids = json_dumps(wanted, JSON_ENCODE_ANY | JSON_COMPACT);
  (void)fprintf(stderr, "# %s: %.300s\n#   wanted %.300s\n#   got   ", name, shown, ids);
  for (size_t i = 0; i < encoding->length && i < 60; i++) {
    (void)fprintf(stderr, " %d", encoding->ids[i]);
  }
  (void)fprintf(stderr, "\n");
  json_free_t give_back;
  json_get_alloc_funcs(NULL, &give_back);
  give_back(shown);
  give_back(ids);
}

static size_t count_wrong_singles(const rr_tokenizer *tokenizer, const char *name,
                                  const json_t *wanted) {
  const json_t *texts = json_object_get(golden, "texts");
  size_t wrong = 0;
  for (size_t i = 0; i < json_array_size(texts); i++) {
    rr_arena arena;
    rr_arena_init(&arena, TEST_ARENA_LIMIT);
    const json_t *text = json_array_get(texts, i);
    rr_tokens tokens = tokens_of(tokenizer, json_text(text), &arena);
    rr_encoding encoding;
    assert_int_equal(rr_tokenizer_single(tokenizer, &tokens, &UNTRUNCATED, &arena, &encoding, NULL),
                     RR_OK);
    assert_int_equal(encoding.dropped, 0);
    for (size_t j = 0; j < encoding.length; j++) {
      assert_in_range(encoding.ids[j], 0, rr_tokenizer_id_bound(tokenizer) - 1);
    }
    if (!same_ids(json_array_get(wanted, i), encoding.ids, encoding.length)) {
      fail_on(name, text, json_array_get(wanted, i), &encoding);
      wrong++;
    }
    rr_arena_finish(&arena);
  }
  return wrong;
}

static size_t count_wrong_pairs(const rr_tokenizer *tokenizer, const char *name,
                                const json_t *wanted) {
  const json_t *pairs = json_object_get(golden, "pairs");
  size_t wrong = 0;
  for (size_t i = 0; i < json_array_size(pairs); i++) {
    rr_arena arena;
    rr_arena_init(&arena, TEST_ARENA_LIMIT);
    const json_t *pair = json_array_get(pairs, i);
    const json_t *ids = json_array_get(json_array_get(wanted, i), 0);
    const json_t *type_ids = json_array_get(json_array_get(wanted, i), 1);
    rr_tokens a = tokens_of(tokenizer, json_text(json_array_get(pair, 0)), &arena);
    rr_tokens b = tokens_of(tokenizer, json_text(json_array_get(pair, 1)), &arena);
    rr_encoding encoding;
    assert_int_equal(rr_tokenizer_pair(tokenizer, &a, &b, &UNTRUNCATED, &arena, &encoding, NULL),
                     RR_OK);
    bool right = same_ids(ids, encoding.ids, encoding.length);
    for (size_t j = 0; right && j < encoding.length; j++) {
      right = json_integer_value(json_array_get(type_ids, j)) == encoding.type_ids[j];
    }
    if (!right) {
      fail_on(name, pair, json_array_get(wanted, i), &encoding);
      wrong++;
    }
    rr_arena_finish(&arena);
  }
  return wrong;
}

static void compare(const char *directory, const char *name, size_t max_length) {
  const json_t *wanted = json_object_get(json_object_get(golden, "ids"), name);
  assert_non_null(wanted);
  rr_tokenizer *tokenizer = load_tokenizer(directory);
  assert_int_equal(rr_tokenizer_max_length(tokenizer), max_length);
  assert_true(json_array_size(json_object_get(golden, "texts")) > 100);
  size_t singles = count_wrong_singles(tokenizer, name, json_object_get(wanted, "single"));
  size_t pairs = count_wrong_pairs(tokenizer, name, json_object_get(wanted, "pair"));
  rr_tokenizer_destroy(tokenizer);
  assert_int_equal(singles, 0);
  assert_int_equal(pairs, 0);
}

static void ids_are_the_references(void **state) {
  const folder *one = *state;
  compare(golden_path(one->name), one->name, one->max_length);
}

static void every_golden_configuration_is_tested(void **state) {
  (void)state;
  /* And the model's, below. */
  assert_int_equal(json_object_size(json_object_get(golden, "ids")), FOLDERS + 1);
}

static void ids_of_all_minilm_are_the_references(void **state) {
  (void)state;
  const char *directory = getenv("RR_MODEL_DIR");
  if (directory == NULL) {
    skip();
  }
  compare(directory, "all-MiniLM-L6-v2", 512);
}

int main(void) {
  rr_json_init();
  struct CMUnitTest tests[FOLDERS + 2];
  char names[FOLDERS][64];
  for (size_t i = 0; i < FOLDERS; i++) {
    (void)snprintf(names[i], sizeof names[i], "ids_are_the_references_%s", folders[i].name);
    tests[i] = (struct CMUnitTest){.name = names[i],
                                   .test_func = ids_are_the_references,
                                   .initial_state = (void *)&folders[i]};
  }
  tests[FOLDERS] = (struct CMUnitTest)cmocka_unit_test(every_golden_configuration_is_tested);
  tests[FOLDERS + 1] = (struct CMUnitTest)cmocka_unit_test(ids_of_all_minilm_are_the_references);
  return cmocka_run_group_tests(tests, load_golden, unload_golden);
}
