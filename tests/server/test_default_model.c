/* Where the default model is looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "server/models/default_model.h"

static char root[] = "/tmp/default-model.XXXXXX";

static int make_root(void **state) {
  (void)state;
  return mkdtemp(root) == NULL;
}

static int remove_root(void **state) {
  (void)state;
  char command[sizeof root + 16];
  (void)snprintf(command, sizeof command, "rm -rf %s", root);
  return system(command);
}

static void make_folders(const char *path) {
  char command[256];
  assert_true(snprintf(command, sizeof command, "mkdir -p '%s/%s'", root, path) <
              (int)sizeof command);
  assert_int_equal(system(command), 0);
}

static void make_model(const char *place) {
  char path[256];
  (void)snprintf(path, sizeof path, "%s/" DEFAULT_MODEL_NAME, place);
  make_folders(path);
  (void)snprintf(path, sizeof path, "%s/%s/" DEFAULT_MODEL_NAME "/config.json", root, place);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(fclose(file), 0);
}

/* Beside root/`program`; found must be root/`wanted`/NAME/config.json, seen through the path's
 * dots. */
static void expect(const char *program, const char *wanted) {
  char path[256];
  char found[DEFAULT_MODEL_PATH_MAX];
  struct stat one;
  struct stat other;
  (void)snprintf(path, sizeof path, "%s/%s", root, program);
  assert_true(default_model_beside(path, found));
  (void)snprintf(path, sizeof path, "%s/%s/" DEFAULT_MODEL_NAME, root, wanted);
  assert_int_equal(stat(path, &one), 0);
  assert_int_equal(stat(found, &other), 0);
  assert_int_equal(one.st_ino, other.st_ino);
}

static void it_lies_where_it_is_installed(void **state) {
  (void)state;
  make_folders("usr/bin");
  make_model("usr/share/rerankd/models");
  expect("usr/bin/rerankd", "usr/share/rerankd/models");
}

static void a_build_directory_takes_that_of_the_sources(void **state) {
  (void)state;
  make_folders("source/build/server");
  make_model("source/models");
  expect("source/build/server/rerankd", "source/models");
}

static void without_one_the_place_is_told(void **state) {
  (void)state;
  char path[256];
  char found[DEFAULT_MODEL_PATH_MAX];
  make_folders("opt/bin");
  make_folders("opt/share/rerankd/models/" DEFAULT_MODEL_NAME); /* empty */
  (void)snprintf(path, sizeof path, "%s/opt/bin/rerankd", root);
  assert_false(default_model_beside(path, found));
  assert_non_null(strstr(found, "/opt/bin/../share/rerankd/models/" DEFAULT_MODEL_NAME));
}

static void strange_programs_have_none(void **state) {
  (void)state;
  char found[DEFAULT_MODEL_PATH_MAX];
  char *longest = malloc(2 * DEFAULT_MODEL_PATH_MAX);
  assert_non_null(longest);
  memset(longest, 'x', 2 * DEFAULT_MODEL_PATH_MAX - 1);
  longest[0] = '/';
  longest[DEFAULT_MODEL_PATH_MAX + 9] = '/';
  longest[2 * DEFAULT_MODEL_PATH_MAX - 1] = '\0';
  assert_false(default_model_beside(longest, found));
  assert_true(strlen(found) < DEFAULT_MODEL_PATH_MAX);
  assert_false(default_model_beside("", found));
  free(longest);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_lies_where_it_is_installed),
      cmocka_unit_test(a_build_directory_takes_that_of_the_sources),
      cmocka_unit_test(without_one_the_place_is_told),
      cmocka_unit_test(strange_programs_have_none),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
