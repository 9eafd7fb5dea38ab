#include "server/cache/document_place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"

/* Writes the folder that the path is in; false if it is too long. */
static bool folder_of(const char *path, char to[PATH_MAX]) {
  const char *slash = strrchr(path, '/');
  int size = slash == NULL   ? snprintf(to, PATH_MAX, ".")
             : slash == path ? snprintf(to, PATH_MAX, "/")
                             : snprintf(to, PATH_MAX, "%.*s", (int)(slash - path), path);
  return size > 0 && size < PATH_MAX;
}

static rr_status check_writable(const char *place, const char *path, const char *kind, int mode,
                                rr_error *err) {
  if (faccessat(AT_FDCWD, place, mode, AT_EACCESS) == 0) {
    return RR_OK;
  }
  if (errno == EROFS) {
    return rr_fail(
        err, RR_ERR_IO,
        "--documents: %.150s: its file system is read-only; name a file on one that can be written",
        path);
  }
  return rr_fail(err, RR_ERR_IO,
                 "--documents: %.150s: user %u may not write the %s %.150s (%s); give it to that "
                 "user, or name "
                 "another",
                 path, (unsigned)geteuid(), kind, place, strerror(errno));
}

static rr_status check_folder(const char *path, rr_error *err) {
  char folder[PATH_MAX];
  struct stat about;
  if (!folder_of(path, folder)) {
    return rr_fail(err, RR_ERR_IO, "--documents: %.150s...: path too long", path);
  }
  bool there = stat(folder, &about) == 0;
  int problem = there ? ENOTDIR : errno;
  if (there && S_ISDIR(about.st_mode)) {
    return check_writable(folder, path, "directory", W_OK | X_OK, err);
  }
  return problem == ENOENT
             ? rr_fail(err, RR_ERR_IO,
                       "--documents: %.150s: No such file, nor a directory %.150s to make it in: "
                       "make that "
                       "(mkdir -p), or name a file in another",
                       path, folder)
             : rr_fail(err, RR_ERR_IO,
                       "--documents: %.150s: %.150s: %s; name a file in another folder", path,
                       folder, strerror(problem));
}

rr_status document_place_check(const char *path, rr_error *err) {
  struct stat about;
  size_t size = strlen(path);
  bool there = stat(path, &about) == 0;
  if (there ? S_ISDIR(about.st_mode) : size > 0 && path[size - 1] == '/') {
    return rr_fail(err, RR_ERR_IO, "--documents: %.150s is a directory; name a file in it", path);
  }
  if (there) {
    rr_error kind;
    return rr_file_find(path, &there, &kind) == RR_OK
               ? check_writable(path, path, "file", R_OK | W_OK, err)
               : rr_fail(err, RR_ERR_IO, "--documents: %.300s; name another", kind.message);
  }
  return lstat(path, &about) == 0
             ? RR_OK
             : check_folder(path, err); /* of a link that leads nowhere, opening tells */
}
