#include "server/models/default_model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_there(const char *directory) {
  char path[DEFAULT_MODEL_PATH_MAX];
  int length = snprintf(path, sizeof path, "%s/config.json", directory);
  return length > 0 && (size_t)length < sizeof path && access(path, R_OK) == 0;
}

bool default_model_beside(const char *program, char ret_path[DEFAULT_MODEL_PATH_MAX]) {
  static const char *const places[] = {"../../models", "../share/rerankd/models"};
  const char *slash = strrchr(program, '/');
  int folder = slash == NULL ? 0 : (int)(slash - program);
  ret_path[0] = '\0';
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    int length = snprintf(ret_path, DEFAULT_MODEL_PATH_MAX, "%.*s/%s/" DEFAULT_MODEL_NAME, folder,
                          program, places[i]);
    if (length > 0 && length < DEFAULT_MODEL_PATH_MAX && is_there(ret_path)) {
      return true;
    }
  }
  return false; /* the last place is where it is installed */
}

bool default_model_find(char ret_path[DEFAULT_MODEL_PATH_MAX]) {
  char program[DEFAULT_MODEL_PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  program[length > 0 ? (size_t)length : 0] = '\0';
  bool found = default_model_beside(program, ret_path);
  char plain[PATH_MAX]; /* for logs, without its .. */
  if (found && realpath(ret_path, plain) != NULL) {
    (void)snprintf(ret_path, DEFAULT_MODEL_PATH_MAX, "%s", plain);
  }
  return found;
}
