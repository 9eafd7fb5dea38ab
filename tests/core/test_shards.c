/* Weights in shards: the same scores as from one file, and indexes that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "tests/core/score_support.h"
#include "tests/slow.h"

enum { PATH_SIZE = 4200, TEXT_SIZE = 1 << 16, TEXTS_MAX = 256 };

static const char index_name[] = "model.safetensors.index.json";
static const rr_load_options plain = {.dtype = RR_DTYPE_FLOAT32};
static char directory[PATH_SIZE];

/* A copy of the sharded cross-encoder that a test may break. */
static int set_up(void **state) {
  (void)state;
  char source[PATH_SIZE];
  char path[2 * PATH_SIZE];
  rr_arena arena;
  const char *const *names;
  size_t count;
  (void)snprintf(directory, sizeof directory, "%s", scratch_create());
  (void)snprintf(source, sizeof source, "%s", golden_path("cross-encoder-sharded"));
  scratch_copy(source, directory, "config.json");
  scratch_copy(source, directory, "tokenizer.json");
  scratch_copy(source, directory, "tokenizer_config.json");
  scratch_copy(source, directory, index_name);
  (void)snprintf(path, sizeof path, "%s/%s", source, index_name);
  rr_arena_init(&arena, 1 << 20);
  assert_int_equal(rr_scorer_index_files(path, &arena, &names, &count, NULL), RR_OK);
  assert_true(count > 1);
  for (size_t i = 0; i < count; i++) {
    assert_true(i == 0 || strcmp(names[i - 1], names[i]) < 0);
    scratch_copy(source, directory, names[i]);
  }
  rr_arena_finish(&arena);
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
  rr_status got = rr_scorer_load(directory, &plain, &scorer, &err);
  if (got != status || strstr(err.message, message) == NULL) {
    fail_msg("%s: \"%s\" instead of \"%s\"", rr_status_name(got), err.message, message);
  }
  assert_null(scorer);
}

static void remove_file(const char *name) {
  char path[PATH_SIZE + 64];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  assert_int_equal(remove(path), 0);
}

static void scores_are_those_of_one_file_to_the_bit(void **state) {
  (void)state;
  golden_cases cases = golden_load("cross-encoder");
  rr_workspace *workspaces[2];
  rr_scorer *scorers[2] = {must_load(golden_path("cross-encoder")), must_load(directory)};
  for (size_t m = 0; m < 2; m++) {
    assert_int_equal(rr_workspace_create(scorers[m], 2048, &workspaces[m], NULL), RR_OK);
  }
  for (size_t c = 0; c < cases.count; c += slow_step(1, 12)) {
    const golden_case *item = &cases.items[c];
    float scores[2][TEXTS_MAX];
    assert_true(item->n_texts <= TEXTS_MAX);
    for (size_t m = 0; m < 2; m++) {
      assert_int_equal(rr_scorer_rerank(workspaces[m], item->query, item->texts, item->n_texts,
                                        &item->options, true, scores[m], NULL),
                       RR_OK);
    }
    assert_memory_equal(scores[0], scores[1], item->n_texts * sizeof(float));
  }
  assert_int_equal(rr_scorer_info(scorers[0])->parameters, rr_scorer_info(scorers[1])->parameters);
  for (size_t m = 0; m < 2; m++) {
    rr_workspace_destroy(workspaces[m]);
    rr_scorer_destroy(scorers[m]);
  }
  golden_free(&cases);
}

static void one_file_goes_before_an_index(void **state) {
  (void)state;
  scratch_copy(golden_path("cross-encoder"), directory, "model.safetensors");
  scratch_text(directory, index_name, "not JSON");
  rr_scorer_destroy(must_load(directory));
}

static void indexes_that_lie_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *index;
    const char *message;
  } lies[] = {
      {"", "invalid JSON"},
      {"[]", "weight_map must be an object"},
      {"{}", "weight_map must be an object"},
      {"{\"weight_map\": []}", "weight_map must be an object"},
      {"{\"weight_map\": {}}", "weight_map must be an object"},
      {"{\"weight_map\": {\"a\": 1}}", "is no name of a shard"},
      {"{\"weight_map\": {\"a\": \"\"}}", "is no name of a shard"},
      {"{\"weight_map\": {\"a\": \".safetensors\"}}", "is no name of a shard"},
      {"{\"weight_map\": {\"a\": \"x.bin\"}}", "is no name of a shard"},
      {"{\"weight_map\": {\"a\": \"../x.safetensors\"}}", "is no name of a shard"},
      {"{\"weight_map\": {\"a\": \"/etc/x.safetensors\"}}", "is no name of a shard"},
      {"{\"weight_map\": {\"a\": \"b/x.safetensors\"}}", "is no name of a shard"},
      {"{\"weight_map\": {\"a\": \"x\\u0000.safetensors\"}}", "is no name of a shard"},
      {"{\"weight_map\": {\"a\": \"absent.safetensors\"}}", "absent.safetensors: No such file"},
  };
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
    scratch_text(directory, index_name, lies[i].index);
    rr_scorer *scorer = NULL;
    rr_error err = {.message = ""};
    assert_int_not_equal(rr_scorer_load(directory, &plain, &scorer, &err), RR_OK);
    if (strstr(err.message, lies[i].message) == NULL) {
      fail_msg("%s: \"%s\"", lies[i].index, err.message);
    }
  }
}

static void too_many_shards_are_refused(void **state) {
  (void)state;
  static char text[TEXT_SIZE];
  int at = snprintf(text, sizeof text, "{\"weight_map\": {");
  for (int i = 0; i <= 1024; i++) {
    at += snprintf(text + at, sizeof text - (size_t)at, "%s\"t%d\": \"s%d.safetensors\"",
                   i == 0 ? "" : ", ", i, i);
  }
  (void)snprintf(text + at, sizeof text - (size_t)at, "}}");
  scratch_text(directory, index_name, text);
  refuse(RR_ERR_FORMAT, "names 1025 shards");
}

static void a_tensor_in_another_shard_than_told_is_refused(void **state) {
  (void)state;
  char path[PATH_SIZE + 64];
  (void)snprintf(path, sizeof path, "%s/%s", directory, index_name);
  json_t *index = json_load_file(path, 0, NULL);
  json_t *map = json_object_get(index, "weight_map");
  json_t *bias = json_object_get(map, "classifier.bias");
  json_t *words = json_object_get(map, "bert.embeddings.word_embeddings.weight");
  assert_string_not_equal(json_string_value(bias), json_string_value(words));
  assert_int_equal(json_object_set(map, "classifier.bias", words), 0);
  assert_int_equal(json_dump_file(index, path, 0), 0);
  json_decref(index);
  refuse(RR_ERR_FORMAT, "tensor classifier.bias is not in");
}

static void a_tensor_that_the_index_leaves_out_is_missing(void **state) {
  (void)state;
  char path[PATH_SIZE + 64];
  (void)snprintf(path, sizeof path, "%s/%s", directory, index_name);
  json_t *index = json_load_file(path, 0, NULL);
  assert_int_equal(json_object_del(json_object_get(index, "weight_map"), "classifier.bias"), 0);
  assert_int_equal(json_dump_file(index, path, 0), 0);
  json_decref(index);
  refuse(RR_ERR_FORMAT, "classifier.bias is missing");
}

static void a_broken_shard_is_named(void **state) {
  (void)state;
  scratch_text(directory, "model-00002-of-00003.safetensors", "x");
  refuse(RR_ERR_FORMAT, "model-00002-of-00003.safetensors");
}

static void pytorch_weights_alone_get_advice(void **state) {
  (void)state;
  remove_file(index_name);
  scratch_text(directory, "pytorch_model.bin", "x");
  refuse(RR_ERR_UNSUPPORTED, "safetensors");
  refuse(RR_ERR_UNSUPPORTED, "safe_serialization=True");
  remove_file("pytorch_model.bin");
  refuse(RR_ERR_IO, "model.safetensors: No such file");
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  rr_status status = RR_ERR_MEMORY;
  unsigned long n = 0;
  while (status != RR_OK && n < 100000) {
    rr_scorer *scorer = NULL;
    rr_error err;
    n += slow_step(1, 7);
    rr_alloc_fail_at(n, 0);
    status = rr_scorer_load(directory, &plain, &scorer, &err);
    rr_alloc_fail_at(0, 0);
    if (status != RR_OK && status != RR_ERR_MEMORY) {
      fail_msg("allocation %lu: %s", n, err.message);
    }
    rr_scorer_destroy(scorer);
    n += n > 300 ? n / 8
                 : 0; /* the tokenizer and the layers allocate the same way again and again */
  }
  assert_int_equal(status, RR_OK);
}

/* Loads with the pack cache and scores a text; fails unless the cache ends as wanted. */
static float score_cached(rr_pack_cache wanted) {
  static const rr_text query = {"bread", 5};
  static const rr_text text = {"the baker keeps the oven warm", 29};
  const rr_load_options options = {.dtype = RR_DTYPE_INT8, .pack_cache = true};
  const rr_encode_options encode = {.truncate = true, .side = RR_TRUNCATE_RIGHT};
  rr_scorer *scorer = NULL;
  rr_workspace *workspace = NULL;
  float score = 0;
  assert_int_equal(rr_scorer_load(directory, &options, &scorer, NULL), RR_OK);
  if (rr_scorer_info(scorer)->pack_cache != wanted) {
    fail_msg("%s", rr_scorer_info(scorer)->pack_note);
  }
  assert_int_equal(rr_workspace_create(scorer, 64, &workspace, NULL), RR_OK);
  assert_int_equal(rr_scorer_rerank(workspace, query, &text, 1, &encode, true, &score, NULL),
                   RR_OK);
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
  return score;
}

/* Flips signs in the second half of a shard's bytes, or in those of a copy. */
static void change_shard(const char *from, const char *to) {
  char path[PATH_SIZE + 64];
  size_t size;
  (void)snprintf(path, sizeof path, "%s/%s", directory, from);
  unsigned char *bytes = read_bytes(path, &size);
  for (size_t i = size / 2; i + 4 <= size; i += 4) {
    bytes[i + 3] ^= 0x80;
  }
  scratch_bytes(directory, to, bytes, size);
  free(bytes);
}

static void packed_weights_of_changed_shards_are_not_read(void **state) {
  (void)state;
  static const char *const shards[] = {"model-00001-of-00003.safetensors",
                                       "model-00002-of-00003.safetensors",
                                       "model-00003-of-00003.safetensors"};
  float before = score_cached(RR_PACK_CACHE_WRITTEN);
  assert_true(score_cached(RR_PACK_CACHE_READ) == before);
  for (size_t i = 0; i < 3; i++) { /* sizes stay the same */
    change_shard(shards[i], shards[i]);
    float after = score_cached(RR_PACK_CACHE_WRITTEN);
    assert_true(after != before);
    assert_true(score_cached(RR_PACK_CACHE_READ) == after);
    before = after;
  }
}

/* Shards that stay as they are, while the index takes a tensor from another one than before. */
static void packed_weights_of_a_changed_index_are_not_read(void **state) {
  (void)state;
  static const char own[] = "model-00002-of-00003.safetensors";
  static const char other[] = "other.safetensors";
  char path[PATH_SIZE + 64];
  (void)snprintf(path, sizeof path, "%s/%s", directory, index_name);
  change_shard(own, other);
  json_t *index = json_load_file(path, 0, NULL);
  json_t *map = json_object_get(index, "weight_map");
  const char *name;
  json_t *file;
  float scores[2];
  for (size_t round = 0; round < 2; round++) {
    json_object_foreach(map, name, file) {
      const char *from = json_string_value(file);
      if (strcmp(from, own) == 0 ||
          strcmp(from, other) == 0) { /* both files are read in both rounds */
        bool first = (round == 0) == (strstr(name, ".weight") != NULL);
        assert_int_equal(json_object_set_new_nocheck(map, name, json_string(first ? own : other)),
                         0);
      }
    }
    assert_int_equal(json_dump_file(index, path, 0), 0);
    scores[round] = score_cached(RR_PACK_CACHE_WRITTEN);
  }
  json_decref(index);
  assert_true(scores[0] != scores[1]);
}

#define WITH_COPY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
  rr_json_init();
  const struct CMUnitTest tests[] = {
      WITH_COPY(scores_are_those_of_one_file_to_the_bit),
      WITH_COPY(one_file_goes_before_an_index),
      WITH_COPY(indexes_that_lie_are_refused),
      WITH_COPY(too_many_shards_are_refused),
      WITH_COPY(a_tensor_in_another_shard_than_told_is_refused),
      WITH_COPY(a_tensor_that_the_index_leaves_out_is_missing),
      WITH_COPY(a_broken_shard_is_named),
      WITH_COPY(pytorch_weights_alone_get_advice),
      WITH_COPY(packed_weights_of_changed_shards_are_not_read),
      WITH_COPY(packed_weights_of_a_changed_index_are_not_read),
      WITH_COPY(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
