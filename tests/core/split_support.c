#include "tests/core/split_support.h"
#include "tests/slow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PATH_SIZE = 4200 };

static json_t *read_json(const char *path) {
  json_error_t problem;
  json_t *json = json_load_file(path, 0, &problem);
  if (json == NULL) {
    fail_msg("%s: %s", path, problem.text);
  }
  return json;
}

void split_change(const char *directory, const char *name, const char *key, const char *value) {
  char path[PATH_SIZE];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  json_t *json = read_json(path);
  if (value == NULL) {
    assert_int_equal(json_object_del(json, key), 0);
  } else {
    assert_int_equal(json_object_set_new(json, key, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
  }
  assert_int_equal(json_dump_file(json, path, 0), 0);
  json_decref(json);
}

void split_write(const char *variant, const char *directory) {
  static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                      "model.safetensors"};
  char folder[PATH_SIZE];
  char golden[64];
  char path[PATH_SIZE];
  (void)snprintf(folder, sizeof folder, "%s", golden_path("split"));
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    scratch_copy(folder, directory, files[i]);
  }
  (void)snprintf(golden, sizeof golden, "%s.json", variant);
  json_t *json = read_json(golden_path(golden));
  (void)snprintf(path, sizeof path, "%s/config.json", directory);
  json_t *config = read_json(path);
  if (json_is_object(json)) {
    assert_int_equal(json_object_update(config, json_object_get(json, "config")), 0);
  }
  assert_int_equal(json_dump_file(config, path, 0), 0);
  json_decref(config);
  json_decref(json);
}

rr_scorer *split_load(const char *variant, rr_dtype dtype) {
  char directory[PATH_SIZE];
  rr_scorer *scorer = NULL;
  rr_error err = {.message = ""};
  const rr_load_options options = {.dtype = dtype};
  (void)snprintf(directory, sizeof directory, "%s", scratch_create());
  split_write(variant, directory);
  rr_status status = rr_scorer_load(directory, &options, &scorer, &err);
  scratch_remove(directory);
  if (status != RR_OK) {
    fail_msg("%s: %s", variant, err.message);
  }
  return scorer;
}

size_t split_step(void) { return slow_step(4, 4); }
