/* Reading well-formed safetensors files. */
#include <math.h>
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

enum { FILE_MAX = 4096 };

/* Writes header and data as DIRECTORY/model.safetensors and opens it. */
static rr_status open_made(const char *directory, const char *header, const void *data, size_t size,
                           rr_safetensors **ret_file, rr_error *err) {
  unsigned char bytes[FILE_MAX];
  char path[FILE_MAX];
  size_t length = strlen(header);
  assert_true(8 + length + size <= sizeof bytes);
  for (size_t i = 0; i < 8; i++) {
    bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
  }
  memcpy(bytes + 8, header, length);
  memcpy(bytes + 8 + length, data, size);
  scratch_bytes(directory, "model.safetensors", bytes, 8 + length + size);
  (void)snprintf(path, sizeof path, "%s/model.safetensors", directory);
  return rr_safetensors_open(path, ret_file, err);
}

static void all_float_types_are_converted(void **state) {
  (void)state;
  const char *directory = scratch_create();
  const char *header = "{\"__metadata__\":{\"format\":\"pt\"},"
                       "\"byte\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                       "\"f32\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]},"
                       "\"f16\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[9,21]},"
                       "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[21,25]}}   ";
  /* 1.5, -2; 1, -2, the least subnormal, infinity, NaN, 65504; 1, -3.140625: all misaligned. */
  const unsigned char data[] = {9, 0, 0, 0xc0, 0x3f, 0,    0,    0,    0xc0, 0,    0x3c, 0,   0xc0,
                                1, 0, 0, 0x7c, 0,    0x7e, 0xff, 0x7b, 0x80, 0x3f, 0x49, 0xc0};
  rr_safetensors *file;
  float to[8];
  assert_int_equal(open_made(directory, header, data, sizeof data, &file, NULL), RR_OK);
  assert_int_equal(rr_safetensors_read(file, rr_safetensors_find(file, "f32"), to, NULL), RR_OK);
  assert_true(to[0] == 1.5f && to[1] == -2.0f);
  const rr_tensor *half = rr_safetensors_find(file, "f16");
  assert_int_equal(half->rank, 2);
  assert_int_equal(half->shape[1], 3);
  assert_int_equal(rr_safetensors_read(file, half, to, NULL), RR_OK);
  assert_true(to[0] == 1.0f && to[1] == -2.0f && to[2] == 0x1p-24f);
  assert_true(isinf(to[3]) && isnan(to[4]) && to[5] == 65504.0f);
  assert_int_equal(rr_safetensors_read(file, rr_safetensors_find(file, "bf16"), to, NULL), RR_OK);
  assert_true(to[0] == 1.0f && to[1] == -3.140625f);
  rr_safetensors_close(file);
  scratch_remove(directory);
}

/* w: 2 x 2 bytes with a scale a row, in the form [rows, 1], in bfloat16; v: a vector, scales in
 * float32. */
static void bytes_are_read_with_a_scale_a_row(void **state) {
  (void)state;
  const char *directory = scratch_create();
  const char *header = "{\"w\":{\"dtype\":\"I8\",\"shape\":[2,2],\"data_offsets\":[0,4]},"
                       "\"w_scale\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[4,8]},"
                       "\"v\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[8,9]},"
                       "\"v_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9,13]}}";
  const unsigned char data[] = {127,  0x80, 1, 0xff, 0x80, 0x3f, 0x00,
                                0x40, 3,    0, 0,    0xc0, 0x3f}; /* 1, 2; 1.5 */
  rr_safetensors *file;
  float to[4];
  assert_int_equal(open_made(directory, header, data, sizeof data, &file, NULL), RR_OK);
  assert_int_equal(rr_safetensors_read(file, rr_safetensors_find(file, "w"), to, NULL), RR_OK);
  assert_true(to[0] == 127.0f && to[1] == -128.0f && to[2] == 2.0f && to[3] == -2.0f);
  assert_int_equal(rr_safetensors_read(file, rr_safetensors_find(file, "v"), to, NULL), RR_OK);
  assert_true(to[0] == 4.5f);
  rr_safetensors_close(file);
  scratch_remove(directory);
}

/* None; too few; too many dimensions; bytes themselves; of a scalar. */
static void bytes_without_fitting_scales_are_an_error(void **state) {
  (void)state;
  static const char *const scales[] = {
      "\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[2,10]}",
      "\"w_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]},"
      "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[6,10]}",
      "\"w_scale\":{\"dtype\":\"F32\",\"shape\":[2,1,1],\"data_offsets\":[2,10]}",
      "\"w_scale\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[2,4]},"
      "\"x\":{\"dtype\":\"I8\",\"shape\":[6],\"data_offsets\":[4,10]}",
      "\"w_scale\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[2,10]}"};
  static const rr_status wanted[] = {RR_ERR_FORMAT, RR_ERR_FORMAT, RR_ERR_FORMAT, RR_ERR_FORMAT,
                                     RR_ERR_UNSUPPORTED};
  for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
    const char *directory = scratch_create();
    char header[FILE_MAX / 2];
    rr_safetensors *file;
    rr_error err;
    float to[4];
    (void)snprintf(header, sizeof header,
                   "{\"w\":{\"dtype\":\"I8\",\"shape\":[2,1],\"data_offsets\":[0,2]},%s}",
                   scales[i]);
    assert_int_equal(open_made(directory, header, "0123456789", 10, &file, &err), RR_OK);
    assert_int_equal(rr_safetensors_read(file, rr_safetensors_find(file, "w"), to, &err),
                     wanted[i]);
    assert_non_null(strstr(err.message, "w_scale"));
    rr_safetensors_close(file);
    scratch_remove(directory);
  }
}

static void integers_are_no_weights(void **state) {
  (void)state;
  const char *directory = scratch_create();
  rr_safetensors *file;
  rr_error err;
  float to[1];
  const char *header = "{\"ids\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}";
  assert_int_equal(open_made(directory, header, "12345678", 8, &file, NULL), RR_OK);
  assert_int_equal(rr_safetensors_read(file, rr_safetensors_find(file, "ids"), to, &err),
                   RR_ERR_UNSUPPORTED);
  assert_non_null(strstr(err.message, "ids"));
  assert_non_null(strstr(err.message, "I64"));
  rr_safetensors_close(file);
  scratch_remove(directory);
}

static void a_tensor_of_no_elements_takes_no_bytes(void **state) {
  (void)state;
  const char *directory = scratch_create();
  rr_safetensors *file;
  const char *header = "{\"none\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]},"
                       "\"one\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
  assert_int_equal(open_made(directory, header, "x", 1, &file, NULL), RR_OK);
  assert_int_equal(rr_safetensors_find(file, "none")->count, 0);
  rr_safetensors_close(file);
  scratch_remove(directory);
}

static void names_that_are_not_there_are_not_found(void **state) {
  (void)state;
  rr_safetensors *file;
  assert_int_equal(rr_safetensors_open(golden_path("cross-encoder/model.safetensors"), &file, NULL),
                   RR_OK);
  assert_null(rr_safetensors_find(file, "classifier"));
  assert_null(rr_safetensors_find(file, "__metadata__"));
  assert_non_null(rr_safetensors_find(file, "classifier.bias"));
  rr_safetensors_close(file);
}

static void a_missing_file_is_an_input_output_error(void **state) {
  (void)state;
  rr_safetensors *file;
  rr_error err;
  assert_int_equal(rr_safetensors_open("/nowhere/model.safetensors", &file, &err), RR_ERR_IO);
  assert_non_null(strstr(err.message, "/nowhere/model.safetensors"));
  assert_int_equal(rr_safetensors_open("/", &file, &err), RR_ERR_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_float_types_are_converted),
      cmocka_unit_test(bytes_are_read_with_a_scale_a_row),
      cmocka_unit_test(bytes_without_fitting_scales_are_an_error),
      cmocka_unit_test(integers_are_no_weights),
      cmocka_unit_test(a_tensor_of_no_elements_takes_no_bytes),
      cmocka_unit_test(names_that_are_not_there_are_not_found),
      cmocka_unit_test(a_missing_file_is_an_input_output_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
