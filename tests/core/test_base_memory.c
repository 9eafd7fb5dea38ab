#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/arena.h"

static void arena_memory_is_aligned_and_does_not_overlap(void **state) {
  (void)state;
  enum { PIECES = 500 };
  rr_arena arena;
  rr_arena_init(&arena, 16 << 20);
  unsigned char *pieces[PIECES];
  for (size_t i = 0; i < PIECES; i++) {
    pieces[i] = rr_arena_alloc(&arena, i * 7);
    assert_non_null(pieces[i]);
    assert_int_equal((uintptr_t)pieces[i] % 16, 0);
    memset(pieces[i], (int)(i & 255), i * 7);
  }
  for (size_t i = 0; i < PIECES; i++) {
    for (size_t k = 0; k < i * 7; k++) {
      assert_int_equal(pieces[i][k], i & 255);
    }
  }
  rr_arena_finish(&arena);
}

static void arena_never_takes_more_than_its_limit(void **state) {
  (void)state;
  rr_arena arena;
  rr_arena_init(&arena, 100000);
  size_t got = 0;
  while (rr_arena_alloc(&arena, 1000) != NULL) {
    got += 1000;
    assert_true(arena.total <= 100000);
  }
  assert_true(got > 80000 && got <= 100000);
  assert_null(rr_arena_alloc(&arena, SIZE_MAX));
  assert_null(rr_arena_alloc(&arena, SIZE_MAX - 20));
  assert_null(rr_arena_calloc(&arena, SIZE_MAX / 2, 4));
  assert_null(rr_arena_strndup(&arena, "", SIZE_MAX));
  rr_arena_finish(&arena);
  assert_non_null(rr_arena_alloc(&arena, 1000)); /* usable again */
  rr_arena_finish(&arena);
}

static void arena_copies_are_terminated_and_calloc_clears(void **state) {
  (void)state;
  rr_arena arena;
  rr_arena_init(&arena, 1 << 20);
  memset(rr_arena_alloc(&arena, 100), 255, 100);
  rr_arena_finish(&arena);
  const unsigned char *zeros = rr_arena_calloc(&arena, 10, 10);
  assert_non_null(zeros);
  for (int i = 0; i < 100; i++) {
    assert_int_equal(zeros[i], 0);
  }
  assert_string_equal(rr_arena_strndup(&arena, "hello world", 5), "hello");
  assert_string_equal(rr_arena_strndup(&arena, NULL, 0), "");
  rr_arena_finish(&arena);
}

static void an_armed_fault_hits_the_named_allocation_only(void **state) {
  (void)state;
  rr_alloc_fail_at(3, 0);
  for (int i = 1; i <= 5; i++) {
    void *memory = rr_malloc(8);
    assert_true((memory == NULL) == (i == 3));
    rr_free(memory);
  }
  assert_int_equal(rr_alloc_count(), 5);
  rr_alloc_fail_at(2, 1);
  void *first = rr_calloc(1, 8);
  assert_non_null(first);
  assert_null(rr_realloc(first, 16));
  assert_null(rr_alloc_aligned(64));
  assert_null(rr_strdup("x"));
  rr_alloc_fail_at(0, 0);
  rr_free(first);
}

static void arena_reports_a_failing_heap(void **state) {
  (void)state;
  rr_arena arena;
  rr_arena_init(&arena, 1 << 20);
  rr_alloc_fail_at(1, 0);
  assert_null(rr_arena_alloc(&arena, 10));
  rr_alloc_fail_at(0, 0);
  assert_non_null(rr_arena_alloc(&arena, 10));
  rr_arena_finish(&arena);
}

static void tensor_memory_is_aligned_to_cache_lines(void **state) {
  (void)state;
  for (size_t size = 0; size < 300; size += 13) {
    unsigned char *memory = rr_alloc_aligned(size);
    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % 64, 0);
    memset(memory, 1, size);
    rr_free(memory);
  }
  assert_null(rr_alloc_aligned(SIZE_MAX - 5));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arena_memory_is_aligned_and_does_not_overlap),
      cmocka_unit_test(arena_never_takes_more_than_its_limit),
      cmocka_unit_test(arena_copies_are_terminated_and_calloc_clears),
      cmocka_unit_test(an_armed_fault_hits_the_named_allocation_only),
      cmocka_unit_test(arena_reports_a_failing_heap),
      cmocka_unit_test(tensor_memory_is_aligned_to_cache_lines),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
