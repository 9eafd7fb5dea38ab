#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/options/sizes.h"

static void sizes_are_read(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t bytes;
  } sizes[] = {{"0", 0},
               {"7", 7},
               {"7B", 7},
               {"007", 7},
               {"1k", 1000},
               {"1K", 1000},
               {"1kB", 1000},
               {"1kb", 1000},
               {"1Ki", 1024},
               {"1KiB", 1024},
               {"1kib", 1024},
               {"64M", 64000000},
               {"64MB", 64000000},
               {"64Mi", 64u << 20},
               {"64MiB", 64u << 20},
               {"2g", 2000000000},
               {"2GB", 2000000000},
               {"2GiB", 2ull << 30},
               {"1T", 1000000000000},
               {"16TiB", 16ull << 40},
               {"18446744073709551615", SIZE_MAX},
               {"0TiB", 0}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    size_t bytes = 1;
    if (!size_parse(sizes[i].text, &bytes) || bytes != sizes[i].bytes) {
      fail_msg("%s is %zu", sizes[i].text, bytes);
    }
  }
}

static void what_is_no_size_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {"",
                                      " 1",
                                      "1 ",
                                      "1 MB",
                                      "1MB ",
                                      "-1",
                                      "+1",
                                      "1.5GB",
                                      "1,5GB",
                                      "MB",
                                      "B",
                                      "0x10",
                                      "1e3",
                                      "1MBB",
                                      "1Bi",
                                      "1m b",
                                      "1P",
                                      "1iB",
                                      "1bit",
                                      "1M\n",
                                      "NaN",
                                      "1kk",
                                      "١",
                                      "1MБ",
                                      "18446744073709551616",
                                      "18446744073709551615k",
                                      "16777216TiB",
                                      "18446745TB",
                                      "99999999999999999999999999"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    size_t bytes;
    if (size_parse(texts[i], &bytes)) {
      fail_msg("'%s' is taken", texts[i]);
    }
  }
}

static void what_is_printed_is_read_again(void **state) {
  (void)state;
  static const struct {
    size_t bytes;
    const char *text;
  } sizes[] = {
      {0, "0"},       {1, "1"},           {65537, "65537"},   {1000, "1kB"},
      {1024, "1KiB"}, {10000000, "10MB"}, {1u << 30, "1GiB"}, {SIZE_MAX, "18446744073709551615"}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char text[SIZE_TEXT_MAX];
    size_t bytes = 5;
    size_print(sizes[i].bytes, text);
    assert_string_equal(text, sizes[i].text);
    assert_true(size_parse(text, &bytes));
    assert_int_equal(bytes, sizes[i].bytes);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_read),
      cmocka_unit_test(what_is_no_size_is_refused),
      cmocka_unit_test(what_is_printed_is_read_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
