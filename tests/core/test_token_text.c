/* Texts that are malformed, huge or made to be slow. */
#include "tests/core/token_support.h"

enum { MANY = 2 << 20 };

static rr_tokenizer *tokenizer;
static rr_tokenizer *with_added;

static int load(void **state) {
  (void)state;
  tokenizer = load_tokenizer(golden_path("uncased"));
  with_added = load_tokenizer(golden_path("added"));
  return 0;
}

static int unload(void **state) {
  (void)state;
  rr_tokenizer_destroy(with_added);
  rr_tokenizer_destroy(tokenizer);
  return 0;
}

static void invalid_utf8_is_refused_with_its_place(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t size;
    const char *place;
  } bad[] = {
      {"\x80", 1, "byte 0"},
      {"ab\xff", 3, "byte 2"},
      {"abcdefgh\xc3", 9, "byte 8"},
      {"abcdefghijklmnop\xe4\xb8", 18, "byte 16"},
      {"\xf0\x9f\x98", 3, "byte 0"},
      {"\xc0\x80", 2, "byte 0"},
      {"\xc1\xbf", 2, "byte 0"},
      {"\xe0\x9f\xbf", 3, "byte 0"},
      {"\xf0\x8f\xbf\xbf", 4, "byte 0"},
      {"\xed\xa0\x80", 3, "byte 0"},
      {"a\xed\xbf\xbf", 4, "byte 1"},
      {"\xf4\x90\x80\x80", 4, "byte 0"},
      {"\xf5\x80\x80\x80", 4, "byte 0"},
      {"\xc3\xa9\xc3(", 4, "byte 2"},
      {"\xe4\xb8(", 3, "byte 0"},
      {"\xf0\x9f\x98(", 4, "byte 0"},
      {"\xfe", 1, "byte 0"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    rr_arena arena;
    rr_arena_init(&arena, TEST_ARENA_LIMIT);
    rr_tokens tokens = {NULL, 77};
    rr_error err = {.message = ""};
    assert_int_equal(
        rr_tokenizer_tokens(tokenizer, (rr_text){bad[i].text, bad[i].size}, &arena, &tokens, &err),
        RR_ERR_INPUT);
    assert_non_null(strstr(err.message, bad[i].place));
    assert_int_equal(tokens.size, 77);
    rr_arena_finish(&arena);
  }
}

static void no_text_has_no_tokens(void **state) {
  (void)state;
  rr_arena arena;
  rr_arena_init(&arena, 0);
  assert_int_equal(tokens_of(tokenizer, (rr_text){NULL, 0}, &arena).size, 0);
  assert_int_equal(tokens_of(with_added, (rr_text){NULL, 0}, &arena).size, 0);
  rr_arena_finish(&arena);
}

/* Tokenizes `piece` repeated to megabytes; returns the number of tokens. */
static size_t count_repeated(const rr_tokenizer *with, const char *piece) {
  size_t size = strlen(piece);
  size_t count = MANY / size;
  char *text = malloc(count * size);
  assert_non_null(text);
  for (size_t i = 0; i < count; i++) {
    memcpy(text + i * size, piece, size);
  }
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  size_t tokens = tokens_of(with, (rr_text){text, count * size}, &arena).size;
  rr_arena_finish(&arena);
  free(text);
  return tokens;
}

/* Nothing here is timed: what is not linear does not end within the test's time. */
static void long_texts_made_to_be_slow_end(void **state) {
  (void)state;
  const rr_tokenizer *const both[] = {tokenizer, with_added};
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(count_repeated(both[i], "x"), 1);
    assert_int_equal(count_repeated(both[i], "a\u0301"), 1);
    assert_int_equal(count_repeated(both[i], "\u0301"), 0);
    assert_int_equal(count_repeated(both[i], "\u302e\u302f"), 1);
    assert_int_equal(count_repeated(both[i], "\u302f\u302e\U0001d16d\U0001d165\u0345"), 1);
    assert_int_equal(count_repeated(both[i], "\U0001d15e\u0327"), 1);
    assert_int_equal(count_repeated(both[i], "\u1fa7"), 1);
    assert_int_equal(count_repeated(both[i], "한"), 1);
    assert_int_equal(count_repeated(both[i], "\u200b"), 0);
    assert_int_equal(count_repeated(both[i], " "), 0);
    assert_int_equal(count_repeated(both[i], "\u3000"), 0);
    assert_int_equal(count_repeated(both[i], "."), MANY);
    assert_int_equal(count_repeated(both[i], "a "), MANY / 2);
    assert_int_equal(count_repeated(both[i], "中"), MANY / 3);
    assert_int_equal(count_repeated(both[i], "[SE"), 3 * (MANY / 3));
    assert_int_equal(count_repeated(both[i], "[SEP]"), MANY / 5);
  }
}

static void added_tokens_that_strip_blanks_end(void **state) {
  (void)state;
  /* The first swallows all the blanks; those that follow in them are nothing. */
  assert_int_equal(count_repeated(with_added, "\u3000 "), 1);
  assert_int_equal(count_repeated(with_added, "<lr>  "), MANY / 6);
  assert_int_equal(count_repeated(with_added, "<r> <l> "), 2 * (MANY / 8));
  /* Hidden by the words beside them. */
  assert_int_equal(count_repeated(with_added, "<one>x"), 6 * (MANY / 6));
}

static void every_failing_allocation_is_reported(void **state) {
  (void)state;
  static const char text[] = "some words, New York café [SEP] and 中文 "
                             "................................................................."
                             "...............................................";
  const rr_tokenizer *const both[] = {tokenizer, with_added};
  for (size_t i = 0; i < 2; i++) {
    rr_status status = RR_ERR_MEMORY;
    for (size_t limit = 0; status != RR_OK; limit += 16) {
      assert_in_range(limit, 0, 100000);
      rr_arena arena;
      rr_arena_init(&arena, limit);
      rr_tokens tokens = {NULL, 77};
      status = rr_tokenizer_tokens(both[i], text_of(text), &arena, &tokens, NULL);
      assert_true(status == RR_OK || (status == RR_ERR_MEMORY && tokens.size == 77));
      rr_arena_finish(&arena);
    }
  }
}

static void plain_text_takes_about_a_byte_a_byte(void **state) {
  (void)state;
  char *text = malloc(MANY);
  assert_non_null(text);
  for (size_t i = 0; i < MANY; i++) {
    text[i] = "quick "[i % 6];
  }
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  rr_tokens tokens = tokens_of(tokenizer, (rr_text){text, MANY / 6 * 6}, &arena);
  assert_int_equal(tokens.size, MANY / 6);
  assert_in_range(arena.total, 0, MANY + MANY / 8);
  rr_arena_finish(&arena);
  free(text);
}

int main(void) {
  rr_json_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(invalid_utf8_is_refused_with_its_place),
      cmocka_unit_test(no_text_has_no_tokens),
      cmocka_unit_test(long_texts_made_to_be_slow_end),
      cmocka_unit_test(added_tokens_that_strip_blanks_end),
      cmocka_unit_test(every_failing_allocation_is_reported),
      cmocka_unit_test(plain_text_takes_about_a_byte_a_byte),
  };
  return cmocka_run_group_tests(tests, load, unload);
}
