#include "server/confine_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/models/hub/cache.h"
#include "server/models/load.h"

enum { DEPTH_MAX = 6, ENTRIES_MAX = 10000 }; /* a larger cache is taken for unusable */

static rr_status check_access(const char *path, int mode, rr_error *err) {
  return faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0
             ? RR_OK
             : rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
}

static bool ends_in(const char *text, const char *ending) {
  size_t size = strlen(text);
  size_t tail = strlen(ending);
  return size >= tail && strcmp(text + size - tail, ending) == 0;
}

/* What a walk through a folder looks for. */
typedef struct walk {
  bool writes; /* all folders below; lock files and unfinished ones are written as well */
  size_t entries;
} walk;

static rr_status check_folder(walk *self, const char *path, unsigned depth, rr_error *err);

static rr_status check_entry(walk *self, const char *path, unsigned depth, rr_error *err) {
  struct stat about;
  if (++self->entries > ENTRIES_MAX) {
    return rr_fail(err, RR_ERR_IO, "%.150s: too many files to look at", path);
  }
  if (stat(path, &about) != 0) { /* a link to nothing hurts nobody */
    return errno == ENOENT ? RR_OK : rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
  }
  if (S_ISDIR(about.st_mode)) {
    return self->writes ? check_folder(self, path, depth + 1, err) : RR_OK;
  }
  bool changes = self->writes && (ends_in(path, ".lock") || ends_in(path, ".incomplete"));
  return check_access(path, changes ? R_OK | W_OK : R_OK, err);
}

static rr_status check_folder(walk *self, const char *path, unsigned depth, rr_error *err) {
  rr_status status = check_access(path, self->writes ? R_OK | W_OK | X_OK : R_OK | X_OK, err);
  DIR *folder = status == RR_OK && depth < DEPTH_MAX ? opendir(path) : NULL;
  if (folder == NULL) {
    return status;
  }
  const struct dirent *entry;
  while (status == RR_OK && (entry = readdir(folder)) != NULL) {
    char below[HUB_PATH_MAX];
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
      continue;
    }
    int length = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
    status = length < 0 || (size_t)length >= sizeof below
                 ? rr_fail(err, RR_ERR_IO, "%.150s: path too long", path)
                 : check_entry(self, below, depth, err);
  }
  (void)closedir(folder);
  return status;
}

/* The folder, or where it could be made: the nearest one above that is there. */
static rr_status check_place(const char *path, rr_error *err) {
  char place[HUB_PATH_MAX];
  walk all = {.writes = true};
  if (access(path, F_OK) == 0) {
    return check_folder(&all, path, 0, err);
  }
  (void)snprintf(place, sizeof place, "%s", path);
  while (errno == ENOENT) {
    char *slash = strrchr(place, '/');
    if (slash == NULL || slash == place) {
      return check_access(slash == NULL ? "." : "/", W_OK | X_OK, err);
    }
    *slash = '\0';
    if (access(place, F_OK) == 0) {
      return check_access(place, W_OK | X_OK, err);
    }
  }
  return rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
}

static rr_status check_cache(const options *chosen, rr_error *err) {
  hub_settings settings;
  hub_cache cache;
  rr_error reason;
  if (load_hub_settings(chosen, &settings, &reason) != RR_OK ||
      hub_cache_init(&settings, &cache, &reason) != RR_OK) {
    return RR_OK; /* loading will fail, whoever does it, and say why */
  }
  rr_status status = check_place(cache.folder, err);
  return status == RR_OK ? check_place(cache.locks, err) : status;
}

static rr_status check_model(const options *chosen, rr_error *err) {
  if (!load_is_local(chosen)) {
    return check_cache(chosen, err);
  }
  walk files = {.writes = false};
  rr_status status = check_folder(&files, chosen->model_id, 0, err);
  return status == RR_OK && chosen->pack_cache ? check_access(chosen->model_id, W_OK, err) : status;
}

static rr_status check_folder_of(const char *path, rr_error *err) {
  char folder[HUB_PATH_MAX];
  const char *slash = strrchr(path, '/');
  (void)snprintf(folder, sizeof folder, "%.*s",
                 slash == NULL   ? 1
                 : slash == path ? 1
                                 : (int)(slash - path),
                 slash == NULL ? "." : path);
  return check_access(folder, W_OK | X_OK, err);
}

/* The file, or where it is to be made. */
static rr_status check_documents(const char *path, rr_error *err) {
  return access(path, F_OK) == 0 ? check_access(path, R_OK | W_OK, err)
                                 : check_folder_of(path, err);
}

rr_status confine_files_check(const options *chosen, rr_error *err) {
  rr_status status = check_model(chosen, err);
  if (status == RR_OK && chosen->api_key_file != NULL) {
    status = check_access(chosen->api_key_file, R_OK, err);
  }
  if (status == RR_OK && chosen->unix_socket != NULL) {
    status = check_folder_of(chosen->unix_socket, err); /* it is removed at the end */
  }
  if (status == RR_OK && chosen->documents != NULL) {
    status = check_documents(chosen->documents, err);
  }
  return status;
}
