/* Content codings: round trips, headers, broken and hostile input, lack of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "server/http/coding.h"

enum { LARGE = 1 << 20 };

static const coding codings[] = {CODING_GZIP, CODING_ZSTD};

static char *repetitive(size_t size) {
  char *data = malloc(size);
  assert_non_null(data);
  for (size_t i = 0; i < size; i++) {
    data[i] = "{\"index\":0,\"score\":0.5},"[i % 23];
  }
  return data;
}

static void what_was_packed_is_unpacked(void **state) {
  (void)state;
  for (size_t c = 0; c < 2; c++) {
    for (size_t size = 1000; size <= LARGE; size = size * 7 + 1) {
      char *data = repetitive(size);
      char *packed;
      char *unpacked = NULL;
      size_t packed_size = 0;
      size_t unpacked_size = 0;
      packed = coding_encode(codings[c], data, size, &packed_size);
      assert_non_null(packed);
      assert_true(packed_size < size / 2);
      assert_int_equal(
          coding_decode(codings[c], packed, packed_size, size, NULL, &unpacked, &unpacked_size),
          CODING_OK);
      assert_int_equal(unpacked_size, size);
      assert_memory_equal(unpacked, data, size);
      rr_free(unpacked);
      unpacked = NULL;
      assert_int_equal(
          coding_decode(codings[c], packed, packed_size, size - 1, NULL, &unpacked, &unpacked_size),
          CODING_TOO_LARGE);
      assert_null(unpacked);
      rr_free(packed);
      free(data);
    }
  }
}

static void frames_may_follow_each_other(void **state) {
  (void)state;
  char *data = repetitive(2000);
  for (size_t c = 0; c < 2; c++) {
    size_t size = 0;
    size_t unpacked_size = 0;
    char *unpacked = NULL;
    char *packed = coding_encode(codings[c], data, 2000, &size);
    char *twice = malloc(2 * size);
    assert_non_null(packed);
    assert_non_null(twice);
    memcpy(twice, packed, size);
    memcpy(twice + size, packed, size);
    assert_int_equal(
        coding_decode(codings[c], twice, 2 * size, 4000, NULL, &unpacked, &unpacked_size),
        CODING_OK);
    assert_int_equal(unpacked_size, 4000);
    assert_memory_equal(unpacked + 2000, data, 2000);
    rr_free(unpacked);
    free(twice);
    rr_free(packed);
  }
  free(data);
}

static void every_cut_and_every_flipped_byte_is_told_or_harmless(void **state) {
  (void)state;
  char *data = repetitive(1500);
  for (size_t c = 0; c < 2; c++) {
    size_t size = 0;
    char *packed = coding_encode(codings[c], data, 1500, &size);
    assert_non_null(packed);
    for (size_t cut = 0; cut < size; cut++) {
      char *unpacked = NULL;
      size_t unpacked_size = 0;
      char *copy = malloc(cut == 0 ? 1 : cut);
      assert_non_null(copy);
      memcpy(copy, packed, cut);
      assert_int_equal(
          coding_decode(codings[c], copy, cut, 100000, NULL, &unpacked, &unpacked_size),
          CODING_BROKEN);
      assert_null(unpacked);
      free(copy);
      packed[cut] ^= 0x41;
      if (coding_decode(codings[c], packed, size, 100000, NULL, &unpacked, &unpacked_size) ==
          CODING_OK) {
        rr_free(unpacked);
      }
      packed[cut] ^= 0x41;
    }
    rr_free(packed);
  }
  free(data);
}

static void what_does_not_shrink_stays_as_it_is(void **state) {
  (void)state;
  unsigned char noise[512];
  uint32_t seed = 1;
  size_t size = 77;
  for (size_t i = 0; i < sizeof noise; i++) {
    seed = seed * 1664525u + 1013904223u;
    noise[i] = (unsigned char)(seed >> 24);
  }
  for (size_t c = 0; c < 2; c++) {
    assert_null(coding_encode(codings[c], (const char *)noise, sizeof noise, &size));
    assert_null(coding_encode(codings[c], "x", 1, &size));
    assert_int_equal(size, 77);
  }
}

static void headers_are_read(void **state) {
  (void)state;
  static const struct {
    const char *header;
    coding wanted;
  } contents[] = {{NULL, CODING_IDENTITY},        {"", CODING_IDENTITY},
                  {"identity", CODING_IDENTITY},  {"gzip", CODING_GZIP},
                  {" GZip ", CODING_GZIP},        {"x-gzip", CODING_GZIP},
                  {"zstd", CODING_ZSTD},          {"br", CODING_UNKNOWN},
                  {"gzip, gzip", CODING_UNKNOWN}, {"gzip,zstd", CODING_UNKNOWN},
                  {"gzip2", CODING_UNKNOWN}},
    accepted[] = {{NULL, CODING_IDENTITY},
                  {"", CODING_IDENTITY},
                  {"gzip", CODING_GZIP},
                  {"gzip, deflate, br", CODING_GZIP},
                  {"gzip, deflate, br, zstd", CODING_ZSTD},
                  {"zstd;q=0.5, gzip", CODING_GZIP},
                  {"gzip;q=0", CODING_IDENTITY},
                  {"*", CODING_ZSTD},
                  {"*;q=0", CODING_IDENTITY},
                  {"zstd;q=0, *", CODING_GZIP},
                  {"identity", CODING_IDENTITY},
                  {"identity, gzip;q=0.5", CODING_IDENTITY},
                  {"br", CODING_IDENTITY},
                  {";;,,q=,", CODING_IDENTITY},
                  {"gzip ; q=1.0", CODING_GZIP},
                  {"gzip;q=nonsense", CODING_IDENTITY}};
  for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
    assert_int_equal(coding_of_content(contents[i].header), contents[i].wanted);
  }
  for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
    if (coding_accepted(accepted[i].header) != accepted[i].wanted) {
      print_error("%s\n", accepted[i].header);
      fail();
    }
  }
}

static void each_failed_allocation_is_told(void **state) {
  (void)state;
  char *data = repetitive(LARGE);
  for (size_t c = 0; c < 2; c++) {
    size_t size = 0;
    char *packed = coding_encode(codings[c], data, LARGE, &size);
    assert_non_null(packed);
    unsigned long failed = 0;
    for (;;) {
      char *unpacked = NULL;
      size_t unpacked_size = 0;
      rr_alloc_fail_at(failed + 1, 0);
      coding_result result =
          coding_decode(codings[c], packed, size, LARGE, NULL, &unpacked, &unpacked_size);
      bool reached = rr_alloc_count() > failed;
      rr_alloc_fail_at(0, 0);
      if (!reached) {
        assert_int_equal(result, CODING_OK);
        rr_free(unpacked);
        break;
      }
      assert_int_equal(result, CODING_NO_MEMORY);
      assert_null(unpacked);
      failed++;
    }
    assert_true(failed > 3);
    rr_free(packed);
  }
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_packed_is_unpacked),
      cmocka_unit_test(frames_may_follow_each_other),
      cmocka_unit_test(every_cut_and_every_flipped_byte_is_told_or_harmless),
      cmocka_unit_test(what_does_not_shrink_stays_as_it_is),
      cmocka_unit_test(headers_are_read),
      cmocka_unit_test(each_failed_allocation_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
