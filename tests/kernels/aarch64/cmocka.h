/* The part of cmocka that the kernels' tests use, printing TAP: for a target that the library is
 * not built for. Before the system's cmocka.h on the include path. */
#ifndef RR_TESTS_KERNELS_AARCH64_CMOCKA_H
#define RR_TESTS_KERNELS_AARCH64_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
  const char *name;
  CMUnitTestFunction test_func;
  CMFixtureFunction setup_func;
  CMFixtureFunction teardown_func;
  void *initial_state;
};

enum { SMALL_CMOCKA_FAILED = 1, SMALL_CMOCKA_SKIPPED = 2 };

static jmp_buf small_cmocka_end;

__attribute__((noreturn, unused)) static void small_cmocka_fail(const char *file, int line,
                                                                const char *what) {
  printf("# %s:%d: %s\n", file, line, what);
  longjmp(small_cmocka_end, SMALL_CMOCKA_FAILED);
}

static inline int small_cmocka_run(const struct CMUnitTest *test, size_t number) {
  void *state = test->initial_state;
  int ending = setjmp(small_cmocka_end);
  if (ending == 0) {
    if (test->setup_func != NULL && test->setup_func(&state) != 0) {
      small_cmocka_fail(__FILE__, __LINE__, "the set-up failed");
    }
    test->test_func(&state);
    if (test->teardown_func != NULL && test->teardown_func(&state) != 0) {
      small_cmocka_fail(__FILE__, __LINE__, "the tear-down failed");
    }
  }
  printf("%s %zu - %s%s\n", ending == SMALL_CMOCKA_FAILED ? "not ok" : "ok", number, test->name,
         ending == SMALL_CMOCKA_SKIPPED ? " # SKIP" : "");
  fflush(stdout);
  return ending == SMALL_CMOCKA_FAILED;
}

static inline int small_cmocka_run_all(const struct CMUnitTest *tests, size_t count) {
  int failed = 0;
  printf("1..%zu\n", count);
  for (size_t i = 0; i < count; i++) {
    failed += small_cmocka_run(&tests[i], i + 1);
  }
  return failed;
}

#define cmocka_unit_test(function)                                                                 \
  { #function, function, NULL, NULL, NULL }
#define cmocka_unit_test_prestate(function, state)                                                 \
  { #function, function, NULL, NULL, state }
#define cmocka_unit_test_setup_teardown(function, setup, teardown)                                 \
  { #function, function, setup, teardown, NULL }
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
  ((void)(setup), (void)(teardown), small_cmocka_run_all(tests, sizeof(tests) / sizeof((tests)[0])))
/* What the macro calls; for a number of tests that is known at run time only. */
#define _cmocka_run_group_tests(name, tests, count, setup, teardown)                               \
  ((void)(name), (void)(setup), (void)(teardown), small_cmocka_run_all(tests, count))

#define skip() longjmp(small_cmocka_end, SMALL_CMOCKA_SKIPPED)
#define print_message(...) printf("# " __VA_ARGS__)
#define fail() small_cmocka_fail(__FILE__, __LINE__, "failed")
#define fail_msg(...) (printf("# " __VA_ARGS__), printf("\n"), fail())
#define small_cmocka_assert(condition, what)                                                       \
  ((condition) ? (void)0 : small_cmocka_fail(__FILE__, __LINE__, what))
#define assert_true(a) small_cmocka_assert(a, #a)
#define assert_false(a) small_cmocka_assert(!(a), "not " #a)
#define assert_int_equal(a, b) small_cmocka_assert((intmax_t)(a) == (intmax_t)(b), #a " == " #b)
#define assert_int_not_equal(a, b) small_cmocka_assert((intmax_t)(a) != (intmax_t)(b), #a " != " #b)
#define assert_in_range(a, low, high)                                                              \
  small_cmocka_assert((a) >= (low) && (a) <= (high), #a " in range")
#define assert_null(a) small_cmocka_assert((a) == NULL, #a " is NULL")
#define assert_non_null(a) small_cmocka_assert((a) != NULL, #a " is not NULL")
#define assert_ptr_equal(a, b)                                                                     \
  small_cmocka_assert((const void *)(a) == (const void *)(b), #a " == " #b)
#define assert_string_equal(a, b) small_cmocka_assert(strcmp(a, b) == 0, #a " is " #b)
#define assert_memory_equal(a, b, size) small_cmocka_assert(memcmp(a, b, size) == 0, #a " is " #b)

#endif
