/* Truncation against the reference, for all small sizes, and what happens without it. */
#include "core/base/alloc.h"
#include "core/token/template.h"
#include "tests/core/token_support.h"

enum { SIZES = 13 }; /* 0..12 tokens */

static const int32_t a_ids[] = {100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111};
static const int32_t b_ids[] = {200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211};

static rr_tokenizer *tokenizer;

static int load(void **state) {
  (void)state;
  tokenizer = load_tokenizer(golden_path("uncased"));
  return 0;
}

static int unload(void **state) {
  (void)state;
  rr_tokenizer_destroy(tokenizer);
  return 0;
}

static size_t digit(const json_t *digits, size_t at) {
  assert_true(at < json_string_length(digits));
  char c = json_string_value(digits)[at];
  return (size_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* What must be left of `whole` ids of which `kept` are kept. */
static const int32_t *kept_ids(const int32_t *ids, size_t whole, size_t kept, bool left) {
  return left ? ids + (whole - kept) : ids;
}

static void check_pair(size_t a, size_t b, const rr_truncation *truncation, size_t a_kept,
                       size_t b_kept) {
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  rr_tokens first = {a_ids, a};
  rr_tokens second = {b_ids, b};
  rr_encoding got;
  assert_int_equal(rr_tokenizer_pair(tokenizer, &first, &second, truncation, &arena, &got, NULL),
                   RR_OK);
  assert_int_equal(got.length, a_kept + b_kept + 3);
  assert_int_equal(got.dropped, a + b - a_kept - b_kept);
  assert_int_equal(got.ids[0], 2);
  assert_memory_equal(got.ids + 1, kept_ids(a_ids, a, a_kept, truncation->left),
                      a_kept * sizeof *a_ids);
  assert_int_equal(got.ids[1 + a_kept], 3);
  assert_memory_equal(got.ids + 2 + a_kept, kept_ids(b_ids, b, b_kept, truncation->left),
                      b_kept * sizeof *b_ids);
  assert_int_equal(got.ids[got.length - 1], 3);
  for (size_t i = 0; i < got.length; i++) {
    assert_int_equal(got.type_ids[i], i >= a_kept + 2);
  }
  rr_arena_finish(&arena);
}

static void check_single(size_t a, const rr_truncation *truncation, size_t a_kept) {
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  rr_tokens tokens = {a_ids, a};
  rr_encoding got;
  assert_int_equal(rr_tokenizer_single(tokenizer, &tokens, truncation, &arena, &got, NULL), RR_OK);
  assert_int_equal(got.length, a_kept + 2);
  assert_int_equal(got.dropped, a - a_kept);
  assert_int_equal(got.ids[0], 2);
  assert_memory_equal(got.ids + 1, kept_ids(a_ids, a, a_kept, truncation->left),
                      a_kept * sizeof *a_ids);
  assert_int_equal(got.ids[got.length - 1], 3);
  rr_arena_finish(&arena);
}

static void all_small_sizes_are_cut_as_the_reference_does(void **state) {
  (void)state;
  json_t *golden = golden_json("truncation.json");
  size_t checked = 0;
  for (size_t max_length = 3; max_length <= 16; max_length++) {
    char key[8];
    (void)snprintf(key, sizeof key, "%zu", max_length);
    for (int left = 0; left < 2; left++) {
      const json_t *digits =
          json_object_get(json_object_get(golden, key), left != 0 ? "left" : "right");
      const json_t *pair = json_object_get(digits, "pair");
      rr_truncation truncation = {.max_length = max_length, .enabled = true, .left = left != 0};
      for (size_t a = 0; a < SIZES; a++) {
        check_single(a, &truncation, digit(json_object_get(digits, "single"), a));
        for (size_t b = 0; b < SIZES; b++) {
          size_t at = 2 * (a * SIZES + b);
          check_pair(a, b, &truncation, digit(pair, at), digit(pair, at + 1));
          checked++;
        }
      }
    }
  }
  json_decref(golden);
  assert_int_equal(checked, 14 * 2 * SIZES * SIZES);
}

static void pairs_whose_second_text_alone_is_cut_are_cut_as_the_reference_does(void **state) {
  (void)state;
  json_t *golden = golden_json("only_second.json");
  size_t refused = 0;
  for (size_t max_length = 4; max_length <= 16; max_length++) {
    char key[8];
    (void)snprintf(key, sizeof key, "%zu", max_length);
    for (int left = 0; left < 2; left++) {
      const json_t *digits =
          json_object_get(json_object_get(golden, key), left != 0 ? "left" : "right");
      rr_truncation truncation = {
          .max_length = max_length, .enabled = true, .left = left != 0, .cut = RR_CUT_TEXT};
      for (size_t at = 0; at < SIZES * SIZES; at++) {
        size_t a = at / SIZES;
        size_t b = at % SIZES;
        if (json_string_value(digits)[at] != '-') {
          check_pair(a, b, &truncation, a, digit(digits, at));
          continue;
        }
        rr_arena arena;
        rr_arena_init(&arena, TEST_ARENA_LIMIT);
        rr_error err = {.message = ""};
        rr_encoding got = {.length = 77};
        assert_int_equal(rr_tokenizer_pair(tokenizer, &(rr_tokens){a_ids, a},
                                           &(rr_tokens){b_ids, b}, &truncation, &arena, &got, &err),
                         RR_ERR_INPUT);
        assert_non_null(strstr(err.message, "leaves no room for a text"));
        assert_int_equal(got.length, 77);
        rr_arena_finish(&arena);
        refused++;
      }
    }
  }
  json_decref(golden);
  assert_true(refused > 100);
}

static void too_long_is_refused_where_truncation_is_off(void **state) {
  (void)state;
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  rr_tokens a = {a_ids, 5};
  rr_tokens b = {b_ids, 6};
  rr_encoding got = {.length = 77};
  rr_error err = {.message = ""};
  rr_truncation truncation = {.max_length = 13};
  assert_int_equal(rr_tokenizer_pair(tokenizer, &a, &b, &truncation, &arena, &got, &err),
                   RR_ERR_INPUT);
  assert_string_equal(err.message, "`inputs` must have less than 13 tokens. Given: 14");
  assert_int_equal(got.length, 77);
  truncation.max_length = 6;
  assert_int_equal(rr_tokenizer_single(tokenizer, &a, &truncation, &arena, &got, &err),
                   RR_ERR_INPUT);
  assert_string_equal(err.message, "`inputs` must have less than 6 tokens. Given: 7");
  truncation.max_length = 7;
  assert_int_equal(rr_tokenizer_single(tokenizer, &a, &truncation, &arena, &got, &err), RR_OK);
  assert_int_equal(got.length, 7);
  rr_arena_finish(&arena);
}

static void a_limit_below_the_special_tokens_is_refused(void **state) {
  (void)state;
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  rr_tokens none = {NULL, 0};
  rr_encoding got;
  rr_error err = {.message = ""};
  rr_truncation truncation = {.max_length = 2, .enabled = true};
  assert_int_equal(rr_tokenizer_pair(tokenizer, &none, &none, &truncation, &arena, &got, &err),
                   RR_ERR_INPUT);
  assert_int_equal(rr_tokenizer_single(tokenizer, &none, &truncation, &arena, &got, &err), RR_OK);
  truncation.max_length = 0;
  assert_int_equal(rr_tokenizer_single(tokenizer, &none, &truncation, &arena, &got, &err),
                   RR_ERR_INPUT);
  rr_arena_finish(&arena);
}

static void absurd_sizes_do_not_overflow(void **state) {
  (void)state;
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  rr_tokens huge = {a_ids, SIZE_MAX - 1};
  rr_encoding got;
  rr_truncation truncation = {.max_length = 8, .enabled = true};
  assert_int_equal(rr_tokenizer_pair(tokenizer, &huge, &huge, &truncation, &arena, &got, NULL),
                   RR_ERR_INPUT);
  for (size_t budget = 0; budget < 9; budget++) {
    size_t a = SIZE_MAX;
    size_t b = SIZE_MAX;
    rr_truncate_longest_first(budget, &a, &b);
    assert_int_equal(a, budget / 2);
    assert_int_equal(b, budget - budget / 2);
  }
  rr_arena_finish(&arena);
}

static void an_arena_at_its_limit_is_told(void **state) {
  (void)state;
  rr_arena arena;
  rr_arena_init(&arena, 100);
  rr_tokens a = {a_ids, 12};
  rr_encoding got = {.length = 77};
  assert_int_equal(rr_tokenizer_pair(tokenizer, &a, &a, &UNTRUNCATED, &arena, &got, NULL),
                   RR_ERR_MEMORY);
  assert_int_equal(got.length, 77);
  rr_arena_finish(&arena);
}

int main(void) {
  rr_json_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_small_sizes_are_cut_as_the_reference_does),
      cmocka_unit_test(pairs_whose_second_text_alone_is_cut_are_cut_as_the_reference_does),
      cmocka_unit_test(too_long_is_refused_where_truncation_is_off),
      cmocka_unit_test(a_limit_below_the_special_tokens_is_refused),
      cmocka_unit_test(absurd_sizes_do_not_overflow),
      cmocka_unit_test(an_arena_at_its_limit_is_told),
  };
  return cmocka_run_group_tests(tests, load, unload);
}
