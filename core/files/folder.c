#include "core/files/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/kind.h"

enum { ENTRIES_MAX = 10000, FOLDER_NAME_MAX = 100 };

static const char layout[] =
    "of a model has config.json, model.safetensors and tokenizer.json or vocab.txt";

/* What a look through a folder finds. */
typedef struct contents {
  bool listed;
  size_t entries;
  rr_weights_seen weights;
  char below[FOLDER_NAME_MAX]; /* a folder in it that has a config.json, or "" */
} contents;

static bool is_file_in(const char *directory, const char *folder, const char *name) {
  char path[RR_PATH_MAX];
  char below[RR_PATH_MAX];
  return rr_path_join(directory, folder, below, NULL) == RR_OK &&
         rr_path_join(below, name, path, NULL) == RR_OK && access(path, F_OK) == 0;
}

static void look_at(const char *directory, const char *name, contents *seen) {
  char path[RR_PATH_MAX];
  struct stat about;
  seen->entries++;
  rr_weights_look(&seen->weights, name);
  if (strlen(name) >= FOLDER_NAME_MAX || rr_path_join(directory, name, path, NULL) != RR_OK ||
      stat(path, &about) != 0 || !S_ISDIR(about.st_mode)) {
    return;
  }
  if (is_file_in(directory, name, "model.onnx")) {
    (void)snprintf(path, sizeof path, "%.*s/model.onnx", FOLDER_NAME_MAX, name);
    rr_weights_look(&seen->weights, path);
  }
  if (seen->below[0] == '\0' && is_file_in(directory, name, "config.json")) {
    (void)snprintf(seen->below, sizeof seen->below, "%s", name);
  }
}

static contents look_through(const char *directory) {
  contents seen = {.entries = 0};
  DIR *folder = opendir(directory);
  const struct dirent *entry;
  seen.listed = folder != NULL;
  while (folder != NULL && seen.entries < ENTRIES_MAX && (entry = readdir(folder)) != NULL) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
      look_at(directory, entry->d_name, &seen);
    }
  }
  if (folder != NULL) {
    (void)closedir(folder);
  }
  return seen;
}

/* A file where a folder should be named. */
static rr_status is_a_file(const char *path, mode_t mode, rr_error *err) {
  if (!S_ISREG(mode)) {
    return rr_fail(err, RR_ERR_IO, "%.200s is no folder; a folder %s", path, layout);
  }
  const char *kind = rr_kind_of_file(path);
  return kind == NULL ? rr_fail(err, RR_ERR_UNSUPPORTED,
                                "%.200s is a file; name the folder that it is in; the folder %s",
                                path, layout)
                      : rr_fail(err, RR_ERR_UNSUPPORTED,
                                "%.200s is a file, and it %s; the folder %s", path, kind, layout);
}

rr_status rr_folder_check(const char *directory, rr_error *err) {
  struct stat about;
  if (stat(directory, &about) != 0) {
    return rr_fail(err, RR_ERR_IO, "%.200s: %s", directory, strerror(errno));
  }
  if (!S_ISDIR(about.st_mode)) {
    return is_a_file(directory, about.st_mode, err);
  }
  return access(directory, X_OK) == 0
             ? RR_OK
             : rr_fail(err, RR_ERR_IO, "%.200s: %s: user %u must be able to read the folder",
                       directory, strerror(errno), (unsigned)geteuid());
}

static rr_status lacks(const char *directory, const char *wanted, rr_status status,
                       const char *words, rr_error *err) {
  bool told = words[0] != '\0';
  return rr_fail(err, status, "%.300s/%s: No such file or directory; the folder %s%s", directory,
                 wanted, told ? words : layout, told ? "" : ": download what is missing");
}

rr_status rr_folder_lacks(const char *directory, const char *wanted, rr_error *err) {
  char words[RR_WEIGHTS_TEXT_MAX];
  rr_status status = rr_folder_check(directory, err);
  if (status != RR_OK) {
    return status;
  }
  contents seen = look_through(directory);
  bool whole = is_file_in(directory, "", "model.safetensors") ||
               is_file_in(directory, "", "model.safetensors.index.json");
  if (seen.listed && seen.entries == 0) {
    return lacks(directory, wanted, RR_ERR_IO, "is empty; download the model into it", err);
  }
  if (!whole && rr_weights_say(&seen.weights, words)) {
    bool safetensors = strstr(seen.weights.name, ".safetensors") != NULL;
    return lacks(directory, wanted, safetensors ? RR_ERR_IO : RR_ERR_UNSUPPORTED, words, err);
  }
  if (is_file_in(directory, "snapshots", ".")) {
    return lacks(directory, wanted, RR_ERR_IO,
                 "is of the hub's cache: name a folder in its snapshots/, or the model by its "
                 "name on the hub",
                 err);
  }
  if (seen.below[0] != '\0' && !is_file_in(directory, "", "config.json")) {
    (void)snprintf(words, sizeof words, "has one in %s/: name that folder", seen.below);
    return lacks(directory, wanted, RR_ERR_IO, words, err);
  }
  return lacks(directory, wanted, RR_ERR_IO, "", err);
}
