/* Models, texts and micro-batches that must be refused, and allocations that fail. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/base/alloc.h"
#include "core/model/encoder.h"
#include "tests/core/score_support.h"

enum { PATH_SIZE = 4200 };

static char directory[PATH_SIZE];
static const rr_load_options load_options = {.dtype = RR_DTYPE_FLOAT32};

/* A copy of the small cross-encoder that a test may break. */
static int set_up(void **state) {
  (void)state;
  char source[PATH_SIZE];
  (void)snprintf(directory, sizeof directory, "%s", scratch_create());
  (void)snprintf(source, sizeof source, "%s", golden_path("cross-encoder"));
  scratch_copy(source, directory, "config.json");
  scratch_copy(source, directory, "tokenizer.json");
  scratch_copy(source, directory, "tokenizer_config.json");
  scratch_copy(source, directory, "model.safetensors");
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static void refuse(rr_status status, const char *message) {
  rr_scorer *scorer = NULL;
  rr_error err = {.message = ""};
  rr_status got = rr_scorer_load(directory, &load_options, &scorer, &err);
  if (got != status || strstr(err.message, message) == NULL) {
    fail_msg("%s: \"%s\" instead of \"%s\"", rr_status_name(got), err.message, message);
  }
  assert_null(scorer);
}

/* Sets an integer of config.json. */
static void change_config(const char *key, int value) {
  char path[PATH_SIZE + 16];
  (void)snprintf(path, sizeof path, "%s/config.json", directory);
  json_t *json = json_load_file(path, 0, NULL);
  assert_non_null(json);
  assert_int_equal(json_object_set_new(json, key, json_integer(value)), 0);
  assert_int_equal(json_dump_file(json, path, 0), 0);
  json_decref(json);
}

/* Overwrites the tensor's first float in model.safetensors. */
static void poison(const char *tensor, float value) {
  char path[PATH_SIZE + 32];
  size_t size;
  (void)snprintf(path, sizeof path, "%s/model.safetensors", directory);
  unsigned char *bytes = read_bytes(path, &size);
  size_t header = 0;
  for (size_t i = 0; i < 8; i++) {
    header |= (size_t)bytes[i] << (8 * i);
  }
  json_t *json = json_loadb((const char *)bytes + 8, header, 0, NULL);
  const json_t *offsets = json_object_get(json_object_get(json, tensor), "data_offsets");
  assert_non_null(offsets);
  size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
  memcpy(bytes + 8 + header + begin, &value, sizeof value);
  scratch_bytes(directory, "model.safetensors", bytes, size);
  json_decref(json);
  free(bytes);
}

static void the_unbroken_copy_loads(void **state) {
  (void)state;
  rr_scorer_destroy(must_load(directory));
}

static void missing_files_are_named(void **state) {
  (void)state;
  static const char *const files[] = {"model.safetensors", "config.json"};
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    char path[PATH_SIZE + 32];
    (void)snprintf(path, sizeof path, "%s/%s", directory, files[i]);
    assert_int_equal(remove(path), 0);
    refuse(RR_ERR_IO, files[i]);
  }
}

static void shapes_must_be_as_the_config_says(void **state) {
  (void)state;
  change_config("intermediate_size", 65);
  refuse(RR_ERR_FORMAT, "intermediate.dense.weight should have the shape [65, 32]");
  change_config("intermediate_size", 64);
  change_config("max_position_embeddings", 511);
  refuse(RR_ERR_FORMAT, "position_embeddings.weight should have the shape [511, 32]");
  change_config("max_position_embeddings", 512);
  change_config("num_hidden_layers", 4);
  refuse(RR_ERR_FORMAT, "encoder.layer.3.attention.self.query.weight is missing");
}

static void a_vocabulary_larger_than_the_model_is_refused(void **state) {
  (void)state;
  change_config("vocab_size", 20);
  refuse(RR_ERR_FORMAT, "the tokenizer has ids up to");
}

static void a_truncated_weight_file_is_refused(void **state) {
  (void)state;
  char path[PATH_SIZE + 32];
  size_t size;
  (void)snprintf(path, sizeof path, "%s/model.safetensors", directory);
  unsigned char *bytes = read_bytes(path, &size);
  scratch_bytes(directory, "model.safetensors", bytes, size - 1);
  free(bytes);
  refuse(RR_ERR_FORMAT, "model.safetensors");
}

static const rr_encode_options right = {.truncate = true, .side = RR_TRUNCATE_RIGHT};
static const rr_text query = {"bread", 5};
static const rr_text texts[] = {{"the baker keeps the oven warm", 29}, {"river", 5}};

static void poisoned_weights_are_a_numeric_error(void **state) {
  (void)state;
  static const struct {
    const char *tensor;
    float value;
  } poisons[] = {{"bert.encoder.layer.0.attention.self.key.weight", NAN},
                 {"bert.encoder.layer.2.intermediate.dense.bias", NAN},
                 {"bert.embeddings.LayerNorm.weight", INFINITY},
                 {"classifier.bias", INFINITY}};
  for (size_t i = 0; i < sizeof poisons / sizeof poisons[0]; i++) {
    (void)tear_down(NULL);
    (void)set_up(NULL);
    poison(poisons[i].tensor, poisons[i].value);
    rr_scorer *scorer = must_load(directory);
    rr_workspace *workspace;
    float scores[2];
    assert_int_equal(rr_workspace_create(scorer, 64, &workspace, NULL), RR_OK);
    assert_int_equal(rr_scorer_rerank(workspace, query, texts, 2, &right, false, scores, NULL),
                     RR_ERR_NUMERIC);
    rr_workspace_destroy(workspace);
    rr_scorer_destroy(scorer);
  }
}

static void long_inputs_are_refused_unless_truncated(void **state) {
  (void)state;
  rr_scorer *scorer = must_load(directory);
  rr_arena arena;
  rr_encoded encoded;
  rr_error err = {.message = ""};
  char words[3 * 600];
  for (size_t i = 0; i < sizeof words; i++) {
    words[i] = "x y"[i % 3];
  }
  rr_text text = {words, sizeof words};
  rr_encode_options never = {.truncate = false};
  rr_arena_init(&arena, 16u << 20);
  assert_int_equal(rr_scorer_encode(scorer, query, &text, 1, &never, &arena, &encoded, &err),
                   RR_ERR_INPUT);
  assert_non_null(strstr(err.message, "`inputs` must have less than 512 tokens. Given: "));
  assert_int_equal(rr_scorer_encode(scorer, query, &text, 1, &right, &arena, &encoded, &err),
                   RR_OK);
  assert_int_equal(encoded.sequences[0].length, 512);
  rr_arena_finish(&arena);
  rr_scorer_destroy(scorer);
}

static rr_text words_of(char *words, size_t n) {
  for (size_t i = 0; i < 2 * n; i++) {
    words[i] = "x "[i % 2];
  }
  return (rr_text){words, 2 * n};
}

static void each_strategy_keeps_what_it_says(void **state) {
  (void)state;
  rr_scorer *scorer = must_load(directory);
  rr_arena arena;
  rr_encoded encoded;
  rr_error err = {.message = ""};
  char long_words[2 * 600];
  char half_words[2 * 300];
  rr_text long_text = words_of(long_words, 600);
  rr_text half = words_of(half_words, 300);
  const rr_encode_options only_text = {.truncate = true, .cut = RR_CUT_TEXT};
  const rr_encode_options if_possible = {.truncate = true, .cut = RR_CUT_TEXT_IF_POSSIBLE};
  rr_arena_init(&arena, 16u << 20);
  const struct {
    rr_encode_options options;
    rr_text query;
    size_t query_kept; /* 0: refused */
  } cases[] = {{right, half, 254},      {only_text, half, 300},    {if_possible, half, 300},
               {right, long_text, 254}, {only_text, long_text, 0}, {if_possible, long_text, 254}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    rr_status status = rr_scorer_encode(scorer, cases[i].query, &long_text, 1, &cases[i].options,
                                        &arena, &encoded, &err);
    if (cases[i].query_kept == 0) {
      assert_int_equal(status, RR_ERR_INPUT);
      assert_non_null(
          strstr(err.message, "a query of 600 tokens leaves no room for a text within 512"));
      continue;
    }
    assert_int_equal(status, RR_OK);
    const rr_sequence *sequence = &encoded.sequences[0];
    assert_int_equal(sequence->length, 512);
    assert_int_equal(sequence->text_tokens, 600);
    assert_int_equal(sequence->input->type_ids[cases[i].query_kept + 1], 0);
    assert_int_equal(sequence->input->type_ids[cases[i].query_kept + 2], 1);
    assert_int_equal(encoded.n_truncated, 1);
  }
  rr_arena_finish(&arena);
  rr_scorer_destroy(scorer);
}

static void bounds_on_tokens_are_kept_and_texts_can_stand_alone(void **state) {
  (void)state;
  rr_scorer *scorer = must_load(directory);
  rr_arena arena;
  rr_encoded encoded;
  char words[2 * 100];
  rr_text both[] = {words_of(words, 100), {words, 10}};
  rr_encode_options options = {.truncate = true, .cut = RR_CUT_TEXT, .max_text_tokens = 7};
  rr_arena_init(&arena, 16u << 20);
  assert_int_equal(rr_scorer_encode(scorer, both[1], both, 2, &options, &arena, &encoded, NULL),
                   RR_OK);
  assert_int_equal(encoded.sequences[0].length, 5 + 7 + 3);
  assert_int_equal(encoded.sequences[0].dropped_tokens, 93);
  assert_int_equal(encoded.sequences[1].length, 5 + 5 + 3);
  assert_int_equal(encoded.n_truncated, 1);
  options = (rr_encode_options){.truncate = true, .cut = RR_CUT_TEXT, .max_length = 20};
  assert_int_equal(rr_scorer_encode(scorer, both[1], both, 2, &options, &arena, &encoded, NULL),
                   RR_OK);
  assert_int_equal(encoded.sequences[0].length, 20);
  options = (rr_encode_options){.truncate = true, .alone = true};
  assert_int_equal(rr_scorer_encode(scorer, both[1], both, 2, &options, &arena, &encoded, NULL),
                   RR_OK);
  assert_int_equal(encoded.sequences[0].length, 102);
  assert_int_equal(encoded.sequences[0].input->type_ids[101], 0);
  rr_arena_finish(&arena);
  rr_scorer_destroy(scorer);
}

static void texts_must_be_there_and_be_utf8(void **state) {
  (void)state;
  rr_scorer *scorer = must_load(directory);
  rr_arena arena;
  rr_encoded encoded;
  rr_text bad = {"\xff\xfe", 2};
  rr_arena_init(&arena, 1u << 20);
  assert_int_equal(rr_scorer_encode(scorer, query, texts, 0, &right, &arena, &encoded, NULL),
                   RR_ERR_INPUT);
  assert_int_equal(rr_scorer_encode(scorer, bad, texts, 2, &right, &arena, &encoded, NULL),
                   RR_ERR_INPUT);
  assert_int_equal(rr_scorer_encode(scorer, query, &bad, 1, &right, &arena, &encoded, NULL),
                   RR_ERR_INPUT);
  rr_arena_finish(&arena);
  rr_scorer_destroy(scorer);
}

static void a_small_arena_is_a_memory_error(void **state) {
  (void)state;
  rr_scorer *scorer = must_load(directory);
  bool fitted = false;
  for (size_t limit = 0; limit < 8192; limit += 64) {
    rr_arena arena;
    rr_encoded encoded;
    rr_arena_init(&arena, limit);
    rr_status status = rr_scorer_encode(scorer, query, texts, 2, &right, &arena, &encoded, NULL);
    assert_true(status == RR_OK || (status == RR_ERR_MEMORY && !fitted));
    assert_true(status == RR_ERR_MEMORY || limit > 0);
    fitted = status == RR_OK;
    rr_arena_finish(&arena);
  }
  assert_true(fitted);
  rr_scorer_destroy(scorer);
}

static void micro_batches_are_checked(void **state) {
  (void)state;
  rr_scorer *scorer = must_load(directory);
  rr_workspace *workspace;
  assert_int_equal(rr_workspace_create(scorer, 1, &workspace, NULL), RR_OK); /* raised to 512 */
  int32_t ids[513] = {2};
  uint8_t types[513] = {0};
  float output[2] = {7.0f, 7.0f};
  rr_input a = {.ids = ids, .type_ids = types, .length = 512, .output = &output[0]};
  rr_input b = {.ids = ids, .type_ids = types, .length = 1, .output = &output[1]};
  rr_sequence *both[] = {&(rr_sequence){.input = &a}, &(rr_sequence){.input = &b}};
  assert_int_equal(rr_scorer_forward(workspace, both, 2, NULL), RR_ERR_INPUT);
  a.length = 513;
  assert_int_equal(rr_scorer_forward(workspace, both, 1, NULL), RR_ERR_INPUT);
  a.length = 0;
  assert_int_equal(rr_scorer_forward(workspace, both, 1, NULL), RR_ERR_INPUT);
  a.length = 4;
  ids[3] = 100000;
  assert_int_equal(rr_scorer_forward(workspace, both, 1, NULL), RR_ERR_INPUT);
  ids[3] = -1;
  assert_int_equal(rr_scorer_forward(workspace, both, 1, NULL), RR_ERR_INPUT);
  ids[3] = 3;
  types[2] = 2;
  assert_int_equal(rr_scorer_forward(workspace, both, 1, NULL), RR_ERR_INPUT);
  assert_true(output[0] == 7.0f && output[1] == 7.0f);
  types[2] = 1;
  assert_int_equal(rr_scorer_forward(workspace, both, 2, NULL), RR_OK);
  assert_true(output[0] != 7.0f && output[1] != 7.0f);
  assert_int_equal(rr_scorer_forward(workspace, both, 0, NULL), RR_OK);
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
}

static void a_workspace_beyond_reason_is_refused(void **state) {
  (void)state;
  rr_scorer *scorer = must_load(directory);
  rr_workspace *workspace = NULL;
  assert_int_not_equal(rr_workspace_create(scorer, SIZE_MAX, &workspace, NULL), RR_OK);
  assert_int_not_equal(rr_workspace_create(scorer, SIZE_MAX / 64, &workspace, NULL), RR_OK);
  assert_null(workspace);
  rr_scorer_destroy(scorer);
}

/* Everything from loading to scores; the status of the first step that fails. */
static rr_status whole_life(void) {
  rr_scorer *scorer = NULL;
  rr_workspace *workspace = NULL;
  float scores[2];
  rr_status status = rr_scorer_load(directory, &load_options, &scorer, NULL);
  if (status == RR_OK) {
    status = rr_workspace_create(scorer, 64, &workspace, NULL);
  }
  if (status == RR_OK) {
    status = rr_scorer_rerank(workspace, query, texts, 2, &right, false, scores, NULL);
  }
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
  return status;
}

static void any_failed_allocation_is_a_memory_error(void **state) {
  (void)state;
  rr_init();
  json_malloc_t allocate;
  json_free_t release;
  json_get_alloc_funcs(&allocate, &release);
  assert_true(allocate != malloc &&
              release != free); /* JSON's allocations are among those that fail */
  rr_alloc_fail_at(ULONG_MAX, 0);
  assert_int_equal(whole_life(), RR_OK);
  unsigned long total = rr_alloc_count();
  assert_true(total > 100);
  /* Every one of the first and last; the many alike in between by a stride. */
  for (unsigned long n = 1; n <= total; n += n < 200 || n + 400 > total ? 1 : 13) {
    rr_alloc_fail_at(n, 0);
    rr_status status = whole_life();
    rr_alloc_fail_at(0, 0);
    if (status != RR_ERR_MEMORY) {
      fail_msg("allocation %lu of %lu failed, but the status is %s", n, total,
               rr_status_name(status));
    }
  }
}

static void forward_allocates_nothing(void **state) {
  (void)state;
  rr_scorer *scorer = must_load(directory);
  rr_workspace *workspace;
  int32_t ids[] = {2, 30, 40, 3};
  uint8_t types[4] = {0};
  float output;
  rr_input input = {.ids = ids, .type_ids = types, .length = 4, .output = &output};
  rr_sequence *batch[] = {&(rr_sequence){.input = &input}};
  assert_int_equal(rr_workspace_create(scorer, 64, &workspace, NULL), RR_OK);
  rr_alloc_fail_at(ULONG_MAX, 0);
  assert_int_equal(rr_scorer_forward(workspace, batch, 1, NULL), RR_OK);
  assert_int_equal(rr_alloc_count(), 0);
  rr_alloc_fail_at(0, 0);
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
}

static void nothing_can_be_destroyed(void **state) {
  (void)state;
  rr_workspace_destroy(NULL);
  rr_scorer_destroy(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_unbroken_copy_loads),
      TEST(missing_files_are_named),
      TEST(shapes_must_be_as_the_config_says),
      TEST(a_vocabulary_larger_than_the_model_is_refused),
      TEST(a_truncated_weight_file_is_refused),
      TEST(poisoned_weights_are_a_numeric_error),
      TEST(long_inputs_are_refused_unless_truncated),
      TEST(each_strategy_keeps_what_it_says),
      TEST(bounds_on_tokens_are_kept_and_texts_can_stand_alone),
      TEST(texts_must_be_there_and_be_utf8),
      TEST(a_small_arena_is_a_memory_error),
      TEST(micro_batches_are_checked),
      TEST(a_workspace_beyond_reason_is_refused),
      TEST(any_failed_allocation_is_a_memory_error),
      TEST(forward_allocates_nothing),
      TEST(nothing_can_be_destroyed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
