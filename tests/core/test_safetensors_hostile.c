/* Files that lie: each must be refused with a message that names the file, none may crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/files/safetensors.h"
#include "tests/core/score_support.h"

enum { PATH_SIZE = 4096, FILE_MAX = 8192 };

static const char *directory;
static char path[PATH_SIZE];

static int set_up(void **state) {
  (void)state;
  directory = scratch_create();
  (void)snprintf(path, sizeof path, "%s/model.safetensors", directory);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static rr_status open_bytes(const void *data, size_t size, rr_error *err) {
  rr_safetensors *file = NULL;
  scratch_bytes(directory, "model.safetensors", data, size);
  rr_status status = rr_safetensors_open(path, &file, err);
  rr_safetensors_close(file);
  return status;
}

/* A file of this header, a length that says so, and `size` bytes of data. */
static size_t make(const char *header, size_t size, unsigned char bytes[FILE_MAX]) {
  size_t length = strlen(header);
  assert_true(8 + length + size <= FILE_MAX);
  memset(bytes, 0, FILE_MAX);
  for (size_t i = 0; i < 8; i++) {
    bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
  }
  memcpy(bytes + 8, header, length);
  return 8 + length + size;
}

static void refuse(const char *header, size_t size, rr_status status, const char *message) {
  unsigned char bytes[FILE_MAX];
  rr_error err = {.message = ""};
  rr_status got = open_bytes(bytes, make(header, size, bytes), &err);
  if (got != status || strstr(err.message, message) == NULL || strstr(err.message, path) == NULL) {
    fail_msg("%s: %s: \"%s\" instead of %s", header, rr_status_name(got), err.message, message);
  }
}

#define TENSOR(dtype, shape, begin, end)                                                           \
  "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static const char valid[] =
    "{\"a\":" TENSOR("F32", "[2,2]", "0", "16") ",\"b\":" TENSOR("F16", "[3]", "16", "22") "}";

static void the_valid_file_is_accepted(void **state) {
  (void)state;
  unsigned char bytes[FILE_MAX];
  assert_int_equal(open_bytes(bytes, make(valid, 22, bytes), NULL), RR_OK);
}

static void every_truncation_is_refused(void **state) {
  (void)state;
  unsigned char bytes[FILE_MAX];
  size_t size = make(valid, 22, bytes);
  for (size_t cut = 0; cut < size; cut++) {
    rr_error err = {.message = ""};
    assert_int_equal(open_bytes(bytes, cut, &err), RR_ERR_FORMAT);
    assert_non_null(strstr(err.message, path));
  }
  assert_int_equal(open_bytes(bytes, size + 1, NULL), RR_ERR_FORMAT);
}

static void every_changed_byte_is_survived(void **state) {
  (void)state;
  unsigned char bytes[FILE_MAX];
  size_t size = make(valid, 22, bytes);
  static const unsigned char values[] = {0,   1,   ' ', '"', '-',  '9',  ':', ',',
                                         '[', ']', '{', '}', 0x7f, 0x80, 0xff};
  for (size_t at = 0; at < size - 22; at++) {
    unsigned char before = bytes[at];
    for (size_t v = 0; v < sizeof values; v++) {
      bytes[at] = values[v];
      (void)open_bytes(bytes, size, NULL);
    }
    bytes[at] = before;
  }
  assert_int_equal(open_bytes(bytes, size, NULL), RR_OK);
}

static void huge_header_lengths_are_refused(void **state) {
  (void)state;
  unsigned char bytes[FILE_MAX];
  size_t size = make(valid, 22, bytes);
  static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 100000001,
                                     1 << 20};
  for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
    for (size_t i = 0; i < 8; i++) {
      bytes[i] = (unsigned char)(lengths[l] >> (8 * i));
    }
    assert_int_equal(open_bytes(bytes, size, NULL), RR_ERR_FORMAT);
  }
}

static void offsets_must_stay_in_the_data(void **state) {
  (void)state;
  refuse("{\"a\":" TENSOR("F32", "[1]", "0", "8") "}", 4, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":" TENSOR("F32", "[1]", "4", "0") "}", 4, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":" TENSOR("F32", "[1]", "-4", "0") "}", 4, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":" TENSOR("F32", "[1]", "9223372036854775804", "9223372036854775807") "}", 4,
         RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":" TENSOR("F32", "[1]", "0", "18446744073709551620") "}", 4, RR_ERR_FORMAT,
         "header");
  refuse("{\"a\":" TENSOR("F32", "[1]", "0.0", "4.0") "}", 4, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, RR_ERR_FORMAT,
         "tensor a");
}

static void shapes_must_fit_the_bytes(void **state) {
  (void)state;
  refuse("{\"a\":" TENSOR("F32", "[2]", "0", "4") "}", 4, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":" TENSOR("F16", "[1]", "0", "4") "}", 4, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":" TENSOR("F32", "[-1]", "0", "4") "}", 4, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":" TENSOR("F32", "[4294967296,4294967296]", "0", "4") "}", 4, RR_ERR_FORMAT,
         "tensor a");
  refuse("{\"a\":" TENSOR("F32", "[4611686018427387905]", "0", "4") "}", 4, RR_ERR_FORMAT,
         "tensor a");
  refuse("{\"a\":" TENSOR("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, RR_ERR_FORMAT,
         "tensor a");
  refuse("{\"a\":" TENSOR("F32", "\"1\"", "0", "4") "}", 4, RR_ERR_FORMAT, "tensor a");
}

static void dtypes_must_be_known(void **state) {
  (void)state;
  refuse("{\"a\":" TENSOR("F31", "[1]", "0", "4") "}", 4, RR_ERR_UNSUPPORTED, "F31");
  refuse("{\"a\":" TENSOR("F32\\u0000", "[1]", "0", "4") "}", 4, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, RR_ERR_FORMAT,
         "tensor a");
}

static void tensors_must_cover_the_data_once(void **state) {
  (void)state;
  refuse("{\"a\":" TENSOR("U8", "[4]", "0", "4") ",\"b\":" TENSOR("U8", "[4]", "2", "6") "}", 6,
         RR_ERR_FORMAT, "overlaps");
  refuse("{\"a\":" TENSOR("U8", "[4]", "0", "4") ",\"b\":" TENSOR("U8", "[4]", "0", "4") "}", 4,
         RR_ERR_FORMAT, "overlaps");
  refuse("{\"a\":" TENSOR("U8", "[4]", "0", "4") ",\"b\":" TENSOR("U8", "[4]", "5", "9") "}", 9,
         RR_ERR_FORMAT, "hole");
  refuse("{\"a\":" TENSOR("U8", "[4]", "1", "5") "}", 5, RR_ERR_FORMAT, "hole");
  refuse("{\"a\":" TENSOR("U8", "[4]", "0", "4") "}", 5, RR_ERR_FORMAT, "5 bytes of data");
  refuse("{}", 1, RR_ERR_FORMAT, "1 bytes of data");
}

static void the_header_must_be_an_object_of_distinct_tensors(void **state) {
  (void)state;
  refuse("{\"a\":" TENSOR("U8", "[4]", "0", "4") ",\"a\":" TENSOR("U8", "[4]", "0", "4") "}", 4,
         RR_ERR_FORMAT, "header");
  refuse("[]", 0, RR_ERR_FORMAT, "object");
  refuse("7", 0, RR_ERR_FORMAT, "object");
  refuse("", 0, RR_ERR_FORMAT, "header");
  refuse("{\"a\":[]}", 0, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":{}}", 0, RR_ERR_FORMAT, "tensor a");
  refuse("{\"a\":", 0, RR_ERR_FORMAT, "header");
}

static void long_names_do_not_overflow_a_message(void **state) {
  (void)state;
  char header[4096];
  char name[3000];
  memset(name, 'n', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  (void)snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"%s\"}}", name, "F32");
  refuse(header, 0, RR_ERR_FORMAT, "nnnn");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_valid_file_is_accepted),
      cmocka_unit_test(every_truncation_is_refused),
      cmocka_unit_test(every_changed_byte_is_survived),
      cmocka_unit_test(huge_header_lengths_are_refused),
      cmocka_unit_test(offsets_must_stay_in_the_data),
      cmocka_unit_test(shapes_must_fit_the_bytes),
      cmocka_unit_test(dtypes_must_be_known),
      cmocka_unit_test(tensors_must_cover_the_data_once),
      cmocka_unit_test(the_header_must_be_an_object_of_distinct_tensors),
      cmocka_unit_test(long_names_do_not_overflow_a_message),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
