/* Writing answers: what is written must read back as what was meant. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "proto/info.h"
#include "proto/json_writer.h"
#include "tests/proto/spoken.h"

/* Picked before allocations fail. */
static const rr_dialect *array_of_texts;

static char *encode(const rr_rerank_request *request, const rr_ranked *ranked, size_t n,
                    size_t *ret_size) {
  const rr_result result = {.request = request, .ranked = ranked, .n = n};
  return rr_dialect_encode(array_of_texts, &result, NULL, ret_size);
}

static json_t *encode_rerank(const rr_rerank_request *request, const rr_ranked *ranked, size_t n) {
  size_t size = 0;
  char *bytes = encode(request, ranked, n, &size);
  return read_back(bytes, size);
}

static void the_answer_has_the_exact_form(void **state) {
  (void)state;
  const rr_rerank_request request = {.n_texts = 2};
  const rr_ranked ranked[] = {{.index = 1, .score = 0.5f}, {.index = 0, .score = -2.0f}};
  size_t size = 0;
  char *bytes = encode(&request, ranked, 2, &size);
  assert_non_null(bytes);
  assert_string_equal(bytes, "[{\"index\":1,\"score\":0.5},{\"index\":0,\"score\":-2.0}]");
  assert_int_equal(size, strlen(bytes));
  rr_free(bytes);
}

static void scores_read_back_as_the_same_float(void **state) {
  (void)state;
  static const float scores[] = {
      0.0f,     1.0f,  0.1f,        0.99829632f, 1.17549435e-38f, 1.4e-45f, 3.4028235e38f,
      -11.234f, 1e-5f, 16777217.0f, 0.33333334f, 0.99999994f,     1e10f,    5.9604645e-8f};
  const rr_rerank_request request = {.n_texts = 1};
  for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++) {
    const rr_ranked ranked = {.index = 0, .score = scores[i]};
    json_t *json = encode_rerank(&request, &ranked, 1);
    const json_t *score = json_object_get(json_array_get(json, 0), "score");
    assert_true(json_is_real(score)); /* never an integer, whatever its value */
    assert_true((float)json_real_value(score) == scores[i]);
    json_decref(json);
  }
}

static void a_score_that_is_not_finite_is_never_written(void **state) {
  (void)state;
  static const float scores[] = {NAN, INFINITY, -INFINITY};
  const rr_rerank_request request = {.n_texts = 1};
  for (size_t i = 0; i < 3; i++) {
    const rr_ranked ranked = {.index = 0, .score = scores[i]};
    size_t size = 77;
    assert_null(encode(&request, &ranked, 1, &size));
    assert_int_equal(size, 77);
  }
}

static void texts_are_returned_on_request_and_read_back_the_same(void **state) {
  (void)state;
  char every_byte[128];
  for (int i = 0; i < 128; i++) {
    every_byte[i] = (char)i;
  }
  rr_text texts[] = {{.data = every_byte, .size = sizeof every_byte},
                     {.data = "caf\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80", .size = 14},
                     {.data = NULL, .size = 0}};
  const rr_rerank_request request = {.texts = texts, .n_texts = 3, .return_text = true};
  const rr_ranked ranked[] = {
      {.index = 2, .score = 3}, {.index = 0, .score = 2}, {.index = 1, .score = 1}};
  json_t *json = encode_rerank(&request, ranked, 3);
  assert_int_equal(json_array_size(json), 3);
  for (size_t i = 0; i < 3; i++) {
    const json_t *text = json_object_get(json_array_get(json, i), "text");
    const rr_text *meant = &texts[ranked[i].index];
    assert_true(json_is_string(text));
    assert_int_equal(json_string_length(text), meant->size);
    if (meant->size > 0) {
      assert_memory_equal(json_string_value(text), meant->data, meant->size);
    }
  }
  json_decref(json);
}

static void a_large_answer_is_whole(void **state) {
  (void)state;
  enum { N = 5000 };
  rr_ranked *ranked = calloc(N, sizeof *ranked);
  assert_non_null(ranked);
  const rr_rerank_request request = {.n_texts = N};
  for (uint32_t i = 0; i < N; i++) {
    ranked[i] = (rr_ranked){.index = N - 1 - i, .score = -1.0f / (float)(i + 3) * 1e-20f};
  }
  json_t *json = encode_rerank(&request, ranked, N);
  assert_int_equal(json_array_size(json), N);
  for (size_t i = 0; i < N; i++) {
    const json_t *entry = json_array_get(json, i);
    assert_int_equal(json_integer_value(json_object_get(entry, "index")), ranked[i].index);
    assert_true((float)json_number_value(json_object_get(entry, "score")) == ranked[i].score);
  }
  json_decref(json);
  free(ranked);
}

static void bytes_that_are_not_utf8_are_replaced(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    const char *written;
  } cases[] = {
      {"a\xFFz", "\"a\xEF\xBF\xBDz\""},
      {"cut \xE4\xB8", "\"cut \xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"\xC0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"\xF4\x90\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"\xE0\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"\xF4\x8F\xBF\xBF", "\"\xF4\x8F\xBF\xBF\""},
      {"\x01\"\\\n\r\t\x7F", "\"\\u0001\\\"\\\\\\n\\r\\t\x7F\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    rr_json_writer writer;
    size_t size = 0;
    rr_json_writer_init(&writer, 0);
    rr_json_put_string(&writer, cases[i].bytes);
    char *written = rr_json_writer_finish(&writer, &size);
    assert_non_null(written);
    assert_string_equal(written, cases[i].written);
    rr_free(written);
  }
}

static void every_kind_of_error_has_a_status_a_type_and_a_body(void **state) {
  (void)state;
  static const struct {
    rr_api_error_kind kind;
    int status;
    const char *type;
  } kinds[] = {
      {RR_API_EMPTY, 400, "Empty"},
      {RR_API_MALFORMED, 400, "Validation"},
      {RR_API_VALIDATION, 422, "Validation"},
      {RR_API_TOKENIZER, 422, "Tokenizer"},
      {RR_API_BACKEND, 424, "Backend"},
      {RR_API_OVERLOADED, 429, "Overloaded"},
      {RR_API_UNHEALTHY, 503, "Unhealthy"},
      {RR_API_MEMORY, 503, "Overloaded"},
      {RR_API_TOO_LARGE, 413, "Validation"},
      {RR_API_MEDIA_TYPE, 415, "Validation"},
      {RR_API_UNAUTHORIZED, 401, "Validation"},
      {RR_API_NOT_FOUND, 404, "Validation"},
      {RR_API_METHOD, 405, "Validation"},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    rr_api_error error;
    size_t size = 0;
    assert_false(rr_api_fail(&error, kinds[i].kind, "broken: \"%s\" \xFF", "it"));
    assert_int_equal(rr_api_error_status(error.kind), kinds[i].status);
    char *bytes = rr_error_encode(RR_ERROR_TERSE, &error, &size);
    json_t *json = read_back(bytes, size);
    assert_string_equal(json_string_value(json_object_get(json, "error")),
                        "broken: \"it\" \xEF\xBF\xBD");
    assert_string_equal(json_string_value(json_object_get(json, "error_type")), kinds[i].type);
    json_decref(json);
    const char *fallback = rr_error_fallback(RR_ERROR_TERSE, kinds[i].kind, &size);
    rr_error problem;
    assert_int_equal(rr_json_parse(fallback, size, SIZE_MAX, &json, &problem), RR_OK);
    assert_string_equal(json_string_value(json_object_get(json, "error_type")), kinds[i].type);
    assert_true(json_is_string(json_object_get(json, "error")));
    json_decref(json);
  }
}

static rr_server_info some_info(void) {
  return (rr_server_info){.model_id = "/models/\"a\"\xFF",
                          .served_model_name = "name",
                          .model_dtype = "float32",
                          .dtype_note = "as asked for",
                          .scoring = "hybrid",
                          .calibrated = true,
                          .max_concurrent_requests = 512,
                          .max_input_length = 256,
                          .max_batch_tokens = 16384,
                          .max_client_batch_size = 1000,
                          .tokenization_workers = 2,
                          .auto_truncate = true,
                          .cache_bytes = 70000,
                          .version = "0.1.0"};
}

static void info_tells_a_cross_encoder_by_its_label(void **state) {
  (void)state;
  rr_server_info info = some_info();
  info.label = "LABEL_0";
  info.split_layers = 4;
  size_t size = 0;
  char *bytes = rr_info_encode(&info, &size);
  json_t *json = read_back(bytes, size);
  const json_t *reranker = json_object_get(json_object_get(json, "model_type"), "reranker");
  assert_string_equal(
      json_string_value(json_object_get(json_object_get(reranker, "id2label"), "0")), "LABEL_0");
  const json_t *id = json_object_get(json_object_get(reranker, "label2id"), "LABEL_0");
  assert_true(json_is_integer(id));
  assert_int_equal(json_integer_value(id), 0);
  assert_string_equal(json_string_value(json_object_get(json, "model_id")),
                      "/models/\"a\"\xEF\xBF\xBD");
  assert_string_equal(json_string_value(json_object_get(json, "served_model_name")), "name");
  assert_string_equal(json_string_value(json_object_get(json, "model_dtype")), "float32");
  assert_string_equal(json_string_value(json_object_get(json, "scoring")), "hybrid");
  assert_true(json_is_true(json_object_get(json, "calibrated")));
  assert_string_equal(json_string_value(json_object_get(json, "version")), "0.1.0");
  assert_int_equal(json_integer_value(json_object_get(json, "split_layers")), 4);
  assert_true(json_is_null(json_object_get(json, "model_sha")));
  assert_true(json_is_null(json_object_get(json, "max_batch_requests")));
  assert_int_equal(json_integer_value(json_object_get(json, "max_concurrent_requests")), 512);
  assert_int_equal(json_integer_value(json_object_get(json, "max_input_length")), 256);
  assert_int_equal(json_integer_value(json_object_get(json, "max_batch_tokens")), 16384);
  assert_int_equal(json_integer_value(json_object_get(json, "max_client_batch_size")), 1000);
  assert_int_equal(json_integer_value(json_object_get(json, "tokenization_workers")), 2);
  assert_int_equal(json_integer_value(json_object_get(json, "cache_bytes")), 70000);
  assert_true(json_is_true(json_object_get(json, "auto_truncate")));
  json_decref(json);
}

static void info_tells_a_bi_encoder_by_its_pooling(void **state) {
  (void)state;
  rr_server_info info = some_info();
  info.pooling = "mean";
  info.model_sha = "0123abcd";
  info.auto_truncate = false;
  size_t size = 0;
  char *bytes = rr_info_encode(&info, &size);
  json_t *json = read_back(bytes, size);
  const json_t *embedding = json_object_get(json_object_get(json, "model_type"), "embedding");
  assert_string_equal(json_string_value(json_object_get(embedding, "pooling")), "mean");
  assert_string_equal(json_string_value(json_object_get(json, "model_sha")), "0123abcd");
  assert_true(json_is_false(json_object_get(json, "auto_truncate")));
  json_decref(json);
}

/* A text long enough that the buffer must grow several times. */
static char *encode_something_large(size_t *ret_size) {
  static char data[8192];
  memset(data, '"', sizeof data);
  rr_text text = {.data = data, .size = sizeof data};
  const rr_rerank_request request = {.texts = &text, .n_texts = 1, .return_text = true};
  const rr_ranked ranked = {.index = 0, .score = 1};
  return encode(&request, &ranked, 1, ret_size);
}

static void each_failed_allocation_gives_no_answer(void **state) {
  (void)state;
  unsigned long failed = 0;
  for (;;) {
    size_t size = 77;
    rr_alloc_fail_at(failed + 1, 0);
    char *bytes = encode_something_large(&size);
    bool reached = rr_alloc_count() > failed;
    rr_alloc_fail_at(0, 0);
    if (!reached) {
      json_decref(read_back(bytes, size));
      break;
    }
    assert_null(bytes);
    assert_int_equal(size, 77);
    failed++;
  }
  assert_true(failed > 2);
}

static int set_up(void **state) {
  (void)state;
  rr_json_init();
  array_of_texts = dialect_told("/rerank", "{}");
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_answer_has_the_exact_form),
      cmocka_unit_test(scores_read_back_as_the_same_float),
      cmocka_unit_test(a_score_that_is_not_finite_is_never_written),
      cmocka_unit_test(texts_are_returned_on_request_and_read_back_the_same),
      cmocka_unit_test(a_large_answer_is_whole),
      cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
      cmocka_unit_test(every_kind_of_error_has_a_status_a_type_and_a_body),
      cmocka_unit_test(info_tells_a_cross_encoder_by_its_label),
      cmocka_unit_test(info_tells_a_bi_encoder_by_its_pooling),
      cmocka_unit_test(each_failed_allocation_gives_no_answer),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
