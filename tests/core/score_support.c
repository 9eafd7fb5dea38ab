#include "tests/core/score_support.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_SIZE = 4096 };

const char *golden_path(const char *name) {
  static char path[PATH_SIZE];
  const char *golden = getenv("RR_GOLDEN");
  if (golden == NULL) {
    fail_msg("RR_GOLDEN must name the folder of golden files");
  }
  (void)snprintf(path, sizeof path, "%s/score/%s", golden, name);
  return path;
}

static rr_text text_of(const json_t *json) {
  return (rr_text){.data = json_string_value(json), .size = json_string_length(json)};
}

static void read_case(const json_t *json, golden_case *to) {
  const json_t *texts = json_object_get(json, "texts");
  const json_t *scores = json_object_get(json, "scores");
  const json_t *vector = json_object_get(json, "query_vector");
  to->name = json_string_value(json_object_get(json, "name"));
  to->query = text_of(json_object_get(json, "query"));
  to->n_texts = json_array_size(texts);
  assert_int_equal(to->n_texts, json_array_size(scores));
  const char *side = json_string_value(json_object_get(json, "side"));
  to->options = (rr_encode_options){
      .truncate = true, .side = strcmp(side, "left") == 0 ? RR_TRUNCATE_LEFT : RR_TRUNCATE_RIGHT};
  to->texts = calloc(to->n_texts, sizeof *to->texts);
  to->scores = calloc(to->n_texts, sizeof *to->scores);
  assert_non_null(to->texts);
  assert_non_null(to->scores);
  for (size_t i = 0; i < to->n_texts; i++) {
    to->texts[i] = text_of(json_array_get(texts, i));
    to->scores[i] = (float)json_real_value(json_array_get(scores, i));
  }
  for (size_t i = 0; i < json_array_size(vector) && i < 8; i++) {
    to->query_vector[i] = (float)json_real_value(json_array_get(vector, i));
  }
}

golden_cases golden_load(const char *name) {
  char file[256];
  (void)snprintf(file, sizeof file, "%s.json", name);
  json_error_t problem;
  golden_cases cases = {.json = json_load_file(golden_path(file), 0, &problem)};
  if (cases.json == NULL) {
    fail_msg("%s: %s", golden_path(file), problem.text);
  }
  const json_t *items =
      json_is_object(cases.json) ? json_object_get(cases.json, "cases") : cases.json;
  cases.count = json_array_size(items);
  assert_true(cases.count > 0);
  cases.items = calloc(cases.count, sizeof *cases.items);
  assert_non_null(cases.items);
  for (size_t i = 0; i < cases.count; i++) {
    read_case(json_array_get(items, i), &cases.items[i]);
  }
  return cases;
}

void golden_free(golden_cases *cases) {
  for (size_t i = 0; i < cases->count; i++) {
    free(cases->items[i].texts);
    free(cases->items[i].scores);
  }
  free(cases->items);
  json_decref(cases->json);
}

rr_scorer *must_load(const char *directory) {
  rr_scorer *scorer = NULL;
  rr_error err = {.message = ""};
  const rr_load_options load = {.dtype = RR_DTYPE_FLOAT32};
  if (rr_scorer_load(directory, &load, &scorer, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return scorer;
}

const char *scratch_create(void) {
  static char path[PATH_SIZE];
  const char *root = getenv("TMPDIR");
  (void)snprintf(path, sizeof path, "%s/rerankd-test-XXXXXX", root == NULL ? "/tmp" : root);
  assert_non_null(mkdtemp(path));
  return path;
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *where) {
  (void)about;
  (void)kind;
  (void)where;
  return remove(path);
}

void scratch_remove(const char *directory) {
  assert_int_equal(nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

void scratch_bytes(const char *directory, const char *name, const void *data, size_t size) {
  char path[PATH_SIZE];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

void scratch_text(const char *directory, const char *name, const char *text) {
  scratch_bytes(directory, name, text, strlen(text));
}

unsigned char *read_bytes(const char *path, size_t *ret_size) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fail_msg("%s cannot be opened", path);
  }
  assert_int_equal(fseek(file, 0, SEEK_END), 0);
  long size = ftell(file);
  assert_true(size >= 0);
  rewind(file);
  unsigned char *data = malloc((size_t)size + 1);
  assert_non_null(data);
  assert_int_equal(fread(data, 1, (size_t)size, file), (size_t)size);
  (void)fclose(file);
  *ret_size = (size_t)size;
  return data;
}

void scratch_copy(const char *source, const char *directory, const char *name) {
  char path[PATH_SIZE];
  size_t size;
  (void)snprintf(path, sizeof path, "%s/%s", source, name);
  unsigned char *data = read_bytes(path, &size);
  scratch_bytes(directory, name, data, size);
  free(data);
}
