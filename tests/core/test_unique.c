#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/score/unique.h"
#include "core/scorer.h"

enum { MANY = 2000 };

static rr_text text_of(const char *string) { return (rr_text){string, strlen(string)}; }

static void texts_are_numbered_by_their_first_appearance(void **state) {
  (void)state;
  const rr_text texts[] = {text_of("a"), text_of("b"), text_of("a"),  {NULL, 0},   text_of("c"),
                           text_of("b"), {"", 0},      text_of("a "), {"a\0x", 3}, {"a\0y", 3}};
  static const uint32_t expected[] = {0, 1, 0, 2, 3, 1, 2, 4, 5, 6};
  for (uint64_t seed = 0; seed < 50; seed++) {
    rr_arena arena;
    rr_arena_init(&arena, 1 << 20);
    size_t unique = 0;
    const uint32_t *numbers = rr_unique_texts(texts, 10, seed * 0x123456789u, &arena, &unique);
    assert_non_null(numbers);
    assert_int_equal(unique, 7);
    assert_memory_equal(numbers, expected, sizeof expected);
    rr_arena_finish(&arena);
  }
}

/* Against the plain quadratic search, on texts that differ in one byte at every place of a word. */
static void many_similar_texts_agree_with_a_plain_search(void **state) {
  (void)state;
  static char memory[MANY][24];
  static rr_text texts[MANY];
  uint64_t random = 7;
  for (size_t i = 0; i < MANY; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    size_t size = 1 + (random >> 40) % sizeof memory[i];
    memset(memory[i], 'x', size);
    memory[i][(random >> 20) % size] = (char)('a' + (random >> 55) % 8);
    texts[i] = (rr_text){memory[i], size};
  }
  rr_arena arena;
  rr_arena_init(&arena, 1 << 20);
  size_t unique = 0;
  const uint32_t *numbers = rr_unique_texts(texts, MANY, 99, &arena, &unique);
  assert_non_null(numbers);
  size_t expected = 0;
  for (size_t i = 0; i < MANY; i++) {
    size_t k = 0;
    while (texts[k].size != texts[i].size ||
           memcmp(texts[k].data, texts[i].data, texts[i].size) != 0) {
      k++;
    }
    assert_int_equal(numbers[i], k == i ? expected : numbers[k]);
    expected += k == i;
  }
  assert_int_equal(unique, expected);
  rr_arena_finish(&arena);
}

static void an_exhausted_arena_is_told(void **state) {
  (void)state;
  const rr_text texts[] = {text_of("a"), text_of("b")};
  rr_arena arena;
  size_t unique;
  rr_arena_init(&arena, 64);
  assert_null(rr_unique_texts(texts, 2, 1, &arena, &unique));
  rr_arena_finish(&arena);
}

/* Through the scorer: three candidates, two of them the same, make two sequences and equal
 * scores. */
static void the_scorer_computes_identical_candidates_once(void **state) {
  (void)state;
  static const struct {
    const char *model;
    size_t sequences;
  } kinds[] = {{"cross-encoder", 2}, {"bi-encoder-mean", 3}};
  const rr_text texts[] = {text_of("the cat"), text_of("a dog"), text_of("the cat")};
  const rr_encode_options options = {.truncate = true};
  for (size_t i = 0; i < 2; i++) {
    char directory[4096];
    (void)snprintf(directory, sizeof directory, "%s/score/%s", getenv("RR_GOLDEN"), kinds[i].model);
    rr_scorer *scorer = NULL;
    rr_workspace *workspace = NULL;
    rr_encoded encoded;
    rr_arena arena;
    float scores[3];
    rr_arena_init(&arena, 1 << 20);
    const rr_load_options load = {.dtype = RR_DTYPE_FLOAT32};
    assert_int_equal(rr_scorer_load(directory, &load, &scorer, NULL), RR_OK);
    assert_int_equal(rr_workspace_create(scorer, 512, &workspace, NULL), RR_OK);
    assert_int_equal(
        rr_scorer_encode(scorer, text_of("cat"), texts, 3, &options, &arena, &encoded, NULL),
        RR_OK);
    assert_int_equal(encoded.n_sequences, kinds[i].sequences);
    assert_int_equal(encoded.n_candidates, 3);
    assert_int_equal(
        rr_scorer_rerank(workspace, text_of("cat"), texts, 3, &options, true, scores, NULL), RR_OK);
    assert_memory_equal(&scores[0], &scores[2], sizeof scores[0]);
    assert_true(scores[0] != scores[1]);
    rr_arena_finish(&arena);
    rr_workspace_destroy(workspace);
    rr_scorer_destroy(scorer);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(texts_are_numbered_by_their_first_appearance),
      cmocka_unit_test(many_similar_texts_agree_with_a_plain_search),
      cmocka_unit_test(an_exhausted_arena_is_told),
      cmocka_unit_test(the_scorer_computes_identical_candidates_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
