#include "server/models/hub/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "core/base/file.h"
#include "server/observe/log.h"

enum { LOCK_POLL_MS = 50, REF_BYTES_MAX = 1 << 12 };

static rr_status print_path(char to[HUB_PATH_MAX], rr_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static rr_status print_path(char to[HUB_PATH_MAX], rr_error *err, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(to, HUB_PATH_MAX, format, arguments);
  va_end(arguments);
  return length < 0 || length >= HUB_PATH_MAX
             ? rr_fail(err, RR_ERR_INPUT, "%.100s...: path too long", to)
             : RR_OK;
}

rr_status hub_cache_init(const hub_settings *settings, hub_cache *ret_cache, rr_error *err) {
  const char *slash = strchr(settings->repo, '/');
  int length = (int)(slash == NULL ? 0 : slash - settings->repo);
  const char *name = slash == NULL ? settings->repo : slash + 1;
  const char *dashes = slash == NULL ? "" : "--";
  rr_status status = print_path(ret_cache->folder, err, "%s/models--%.*s%s%s", settings->cache,
                                length, settings->repo, dashes, name);
  return status != RR_OK ? status
                         : print_path(ret_cache->locks, err, "%s/.locks/models--%.*s%s%s",
                                      settings->cache, length, settings->repo, dashes, name);
}

rr_status hub_cache_snapshot(const hub_cache *cache, const char *commit, const char *file,
                             char ret_path[HUB_PATH_MAX], rr_error *err) {
  return print_path(ret_path, err, "%s/snapshots/%s%s%s", cache->folder, commit,
                    file[0] == '\0' ? "" : "/", file);
}

rr_status hub_cache_blob(const hub_cache *cache, const char *etag, const char *ending,
                         char ret_path[HUB_PATH_MAX], rr_error *err) {
  return print_path(ret_path, err, "%s/blobs/%s%s", cache->folder, etag, ending);
}

rr_status hub_cache_make_folders(const char *path, rr_error *err) {
  char folder[HUB_PATH_MAX];
  for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
      return rr_fail(err, RR_ERR_IO, "%.150s: cannot make this folder: %s", folder,
                     strerror(errno));
    }
  }
  return RR_OK;
}

/* What is there and no regular file is told, since what follows from it is a download, or a model
 * that is not in the cache. */
static bool is_there(const char *path) {
  rr_error problem;
  bool there = false;
  if (rr_file_find(path, &there, &problem) != RR_OK) {
    log_text(LOG_LEVEL_WARN, "%s", problem.message);
  }
  return there;
}

bool hub_cache_has(const char *path, uint64_t *ret_size) {
  struct stat about;
  if (!is_there(path) || stat(path, &about) != 0) {
    return false;
  }
  *ret_size = (uint64_t)about.st_size;
  return true;
}

rr_status hub_cache_link(const hub_cache *cache, const char *commit, const char *file,
                         const char *etag, rr_error *err) {
  char path[HUB_PATH_MAX];
  char target[HUB_PATH_MAX];
  size_t at = 0;
  rr_status status = hub_cache_snapshot(cache, commit, file, path, err);
  if (status == RR_OK) {
    status = hub_cache_make_folders(path, err);
  }
  if (status != RR_OK) {
    return status;
  }
  /* From snapshots/COMMIT two up, and one more for each folder of the file's own. */
  for (const char *slash = file; slash != NULL; slash = strchr(slash + 1, '/')) {
    at += (size_t)snprintf(target + at, sizeof target - at, "../");
  }
  (void)snprintf(target + at, sizeof target - at, "../blobs/%s", etag);
  if (symlink(target, path) == 0) {
    return RR_OK;
  }
  uint64_t size;
  if (errno == EEXIST && !hub_cache_has(path, &size)) { /* a link to a blob that is gone */
    (void)unlink(path);
    if (symlink(target, path) == 0) {
      return RR_OK;
    }
  }
  return errno == EEXIST
             ? RR_OK
             : rr_fail(err, RR_ERR_IO, "%.150s: cannot link: %s", path, strerror(errno));
}

bool hub_cache_read_ref(const hub_cache *cache, const char *revision,
                        char ret_commit[HUB_COMMIT_MAX]) {
  char path[HUB_PATH_MAX];
  char *text;
  size_t size;
  if (hub_is_commit(revision)) {
    memcpy(ret_commit, revision, HUB_COMMIT_MAX);
    return true;
  }
  if (print_path(path, NULL, "%s/refs/%s", cache->folder, revision) != RR_OK || !is_there(path) ||
      rr_file_read(path, REF_BYTES_MAX, &text, &size, NULL) != RR_OK) {
    return false;
  }
  text[strcspn(text, "\r\n ")] = '\0';
  bool is_commit = hub_is_commit(text);
  if (is_commit) {
    memcpy(ret_commit, text, HUB_COMMIT_MAX);
  }
  rr_free(text);
  return is_commit;
}

rr_status hub_cache_write_ref(const hub_cache *cache, const char *revision, const char *commit,
                              rr_error *err) {
  char known[HUB_COMMIT_MAX];
  char path[HUB_PATH_MAX];
  char fresh[HUB_PATH_MAX];
  if (hub_cache_read_ref(cache, revision, known) && strcmp(known, commit) == 0) {
    return RR_OK;
  }
  rr_status status = print_path(path, err, "%s/refs/%s", cache->folder, revision);
  if (status == RR_OK) {
    status = print_path(fresh, err, "%s.%ld.incomplete", path, (long)getpid());
  }
  if (status == RR_OK) {
    status = hub_cache_make_folders(path, err);
  }
  if (status != RR_OK) {
    return status;
  }
  int file;
  status = rr_file_open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0666, &file, NULL, err);
  if (status != RR_OK) {
    return status;
  }
  size_t size = strlen(commit);
  bool written = write(file, commit, size) == (ssize_t)size;
  written = close(file) == 0 && written;
  if (!written || rename(fresh, path) != 0) {
    status = rr_fail(err, RR_ERR_IO, "%.150s: cannot write: %s", path, strerror(errno));
    (void)unlink(fresh);
  }
  return status;
}

/* Whether the file that is locked is still the one of this name: a process that let go may have
 * deleted it. */
static bool is_current(int fd, const char *path) {
  struct stat held;
  struct stat named;
  return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

rr_status hub_cache_lock(const hub_cache *cache, const char *etag, const atomic_bool *cancelled,
                         int *ret_fd, rr_error *err) {
  char path[HUB_PATH_MAX];
  rr_status status = print_path(path, err, "%s/%s.lock", cache->locks, etag);
  if (status == RR_OK) {
    status = hub_cache_make_folders(path, err);
  }
  if (status != RR_OK) {
    return status;
  }
  for (bool told = false; !atomic_load(cancelled);) {
    int fd;
    status = rr_file_open(path, O_RDWR | O_CREAT, 0664, &fd, NULL, err);
    if (status != RR_OK) {
      return status;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
      if (is_current(fd, path)) {
        *ret_fd = fd;
        return RR_OK;
      }
    } else if (errno != EWOULDBLOCK && errno != EINTR) {
      status = rr_fail(err, RR_ERR_IO, "%.150s: cannot lock: %s", path, strerror(errno));
      (void)close(fd);
      return status;
    } else if (!told) {
      log_text(LOG_LEVEL_INFO, "waiting for another process that downloads the same file (%s)",
               path);
      told = true;
    }
    (void)close(fd);
    const struct timespec pause = {.tv_nsec = LOCK_POLL_MS * 1000000L};
    (void)nanosleep(&pause, NULL);
  }
  return rr_fail(err, RR_ERR_IO, "%.150s: interrupted", path);
}

void hub_cache_unlock(int fd) { (void)close(fd); }
