/* Messages without what they quote: the format decides what is left out, whatever the bytes are. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/redact.h"

static char told[80];

static void print(rr_redaction what, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void print(rr_redaction what, size_t size, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  memset(told, 'x', sizeof told - 1);
  rr_redact(what, told, size, format, arguments);
  va_end(arguments);
}

static void quotations_are_left_out(void **state) {
  (void)state;
  print(RR_REDACT_QUOTED, sizeof told, "`%s[%zu].id`: '%.80s' was there before, %d", "documents",
        (size_t)3, "secret", -4);
  assert_string_equal(told, "`documents[3].id`: '...' was there before, -4");
  print(RR_REDACT_QUOTED, sizeof told, "%.*s and %.3s, then %s", 4, "secret", "secret", "ours");
  assert_string_equal(told, "... and ..., then ours");
  print(RR_REDACT_QUOTED, sizeof told, "%.1s%%", "%s%n");
  assert_string_equal(told, "...%");
}

static void or_all_strings(void **state) {
  (void)state;
  print(RR_REDACT_STRINGS, sizeof told, "%s for `%20s' failed: %-*s, port %u", "secret", "secret",
        3, "secret", 80u);
  assert_string_equal(told, "... for `...' failed: ..., port 80");
}

static void numbers_of_every_size_are_kept(void **state) {
  (void)state;
  print(RR_REDACT_QUOTED, sizeof told, "%d %ld %lld %" PRId64 " %td %hd", -1, -2L, -3LL,
        (int64_t)-4, (ptrdiff_t)-5, (short)-6);
  assert_string_equal(told, "-1 -2 -3 -4 -5 -6");
  print(RR_REDACT_QUOTED, sizeof told, "%u %lu %llu %" PRIu64 " %zu %x", 1u, 2UL, UINT64_MAX + 0ULL,
        UINT64_MAX, SIZE_MAX, 255u);
  assert_string_equal(told,
                      "1 2 18446744073709551615 18446744073709551615 18446744073709551615 ff");
  print(RR_REDACT_QUOTED, sizeof told, "%g of %.3f, %08d, %5u", 0.5, 0.25, 7, 8u);
  assert_string_equal(told, "0.5 of 0.25, 7, 8");
}

static void what_is_too_long_is_cut(void **state) {
  (void)state;
  print(RR_REDACT_QUOTED, 6, "%s", "0123456789");
  assert_string_equal(told, "01234");
  print(RR_REDACT_QUOTED, 1, "%s", "0123456789");
  assert_string_equal(told, "");
  print(RR_REDACT_QUOTED, 0, "%s", "0123456789");
  assert_int_equal(told[0], 'x');
}

static void an_unknown_conversion_ends_it(void **state) {
  (void)state;
  print(RR_REDACT_QUOTED, sizeof told, "before %p after %s", (void *)told, "secret");
  assert_string_equal(told, "before ");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quotations_are_left_out),        cmocka_unit_test(or_all_strings),
      cmocka_unit_test(numbers_of_every_size_are_kept), cmocka_unit_test(what_is_too_long_is_cut),
      cmocka_unit_test(an_unknown_conversion_ends_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
