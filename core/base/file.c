#include "core/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/alloc.h"

enum { PATH_TOLD_MAX = 180 };

rr_status rr_path_join(const char *directory, const char *name, char to[RR_PATH_MAX],
                       rr_error *err) {
  const char *slash = name[0] == '\0' ? "" : "/";
  int length = snprintf(to, RR_PATH_MAX, "%s%s%s", directory, slash, name);
  if (length < 0 || length >= RR_PATH_MAX) {
    return rr_fail(err, RR_ERR_INPUT, "%.100s...: path too long", directory);
  }
  return RR_OK;
}

/* As much of a path's end as leaves room for what is to be told of it. */
static const char *tail_of(const char *path) {
  size_t size = strlen(path);
  return size > PATH_TOLD_MAX ? path + size - PATH_TOLD_MAX : path;
}

/* NULL for a regular file. */
static const char *kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFREG: return NULL;
  case S_IFDIR: return "a directory";
  case S_IFIFO: return "a pipe (FIFO)";
  case S_IFSOCK: return "a socket";
  case S_IFCHR:
  case S_IFBLK: return "a device";
  case S_IFLNK: return "a symbolic link";
  default: return "something else";
  }
}

static rr_status check_kind(const char *path, const struct stat *about, rr_error *err) {
  const char *kind = kind_of(about->st_mode);
  if (kind == NULL) {
    return RR_OK;
  }
  errno = EINVAL;
  return rr_fail(err, RR_ERR_IO, "%s: not a regular file but %s", tail_of(path), kind);
}

static bool is_absence(int problem) { return problem == ENOENT || problem == ENOTDIR; }

rr_status rr_file_find(const char *path, bool *ret_there, rr_error *err) {
  struct stat about;
  bool there = true;
  if (stat(path, &about) != 0) {
    there = !is_absence(errno);
  } else {
    rr_status status = check_kind(path, &about, err);
    if (status != RR_OK) {
      return status;
    }
  }
  *ret_there = there;
  return RR_OK;
}

/* What is there is looked at twice: to open some devices is to use them, and what the name leads
 * to may change meanwhile. */
rr_status rr_file_open(const char *path, int flags, mode_t mode, int *ret_descriptor,
                       struct stat *ret_about, rr_error *err) {
  struct stat about;
  bool there = ((flags & O_NOFOLLOW) != 0 ? lstat(path, &about) : stat(path, &about)) == 0;
  rr_status status = there ? check_kind(path, &about, err) : RR_OK;
  if (status != RR_OK) {
    return status;
  }
  int descriptor = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
  if (descriptor < 0) {
    return rr_fail(err, RR_ERR_IO, "%s: %s", tail_of(path), strerror(errno));
  }
  status = fstat(descriptor, &about) != 0
               ? rr_fail(err, RR_ERR_IO, "%s: %s", tail_of(path), strerror(errno))
               : check_kind(path, &about, err);
  if (status != RR_OK) {
    int problem = errno;
    (void)close(descriptor);
    errno = problem;
    return status;
  }
  if (ret_about != NULL) {
    *ret_about = about;
  }
  *ret_descriptor = descriptor;
  return RR_OK;
}

/* A file that is being read. */
typedef struct reading {
  const char *path;
  int descriptor;
  size_t max_bytes;
  char *data;
  size_t size;
  size_t capacity;
} reading;

/* At least one byte of room, and one for the NUL. Beyond the limit one byte more is read, to see
 * that there is more. */
static rr_status make_room(reading *self, rr_error *err) {
  if (self->capacity - self->size >= 2) {
    return RR_OK;
  }
  size_t most = self->max_bytes < SIZE_MAX - 2 ? self->max_bytes + 2 : SIZE_MAX;
  size_t capacity = self->capacity < most / 2 ? self->capacity * 2 : most;
  char *data = rr_realloc(self->data, capacity);
  if (data == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", tail_of(self->path));
  }
  self->data = data;
  self->capacity = capacity;
  return RR_OK;
}

static rr_status read_to_the_end(reading *self, rr_error *err) {
  for (;;) {
    rr_status status = make_room(self, err);
    if (status != RR_OK) {
      return status;
    }
    ssize_t got = read(self->descriptor, self->data + self->size, self->capacity - self->size - 1);
    if (got < 0 && errno != EINTR) {
      return rr_fail(err, RR_ERR_IO, "%s: cannot be read: %s", tail_of(self->path),
                     strerror(errno));
    }
    if (got == 0) {
      return RR_OK;
    }
    self->size += got < 0 ? 0 : (size_t)got;
    if (self->size > self->max_bytes) {
      return rr_fail(err, RR_ERR_FORMAT, "%s: over %zu bytes", tail_of(self->path),
                     self->max_bytes);
    }
  }
}

static rr_status read_open(reading *self, size_t size, rr_error *err) {
  if (size > self->max_bytes) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: over %zu bytes", tail_of(self->path), self->max_bytes);
  }
  self->capacity = size + 2; /* one to see the end, one for the NUL */
  self->data = rr_malloc(self->capacity);
  if (self->data == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", tail_of(self->path));
  }
  rr_status status = read_to_the_end(self, err);
  if (status == RR_OK && self->size < size) {
    status = rr_fail(err, RR_ERR_IO, "%s: was cut while it was read", tail_of(self->path));
  }
  return status;
}

rr_status rr_file_read(const char *path, size_t max_bytes, char **ret_data, size_t *ret_size,
                       rr_error *err) {
  struct stat about;
  reading self = {.path = path, .max_bytes = max_bytes};
  rr_status status = rr_file_open(path, O_RDONLY, 0, &self.descriptor, &about, err);
  if (status != RR_OK) {
    return status;
  }
  status = read_open(&self, (size_t)about.st_size, err);
  (void)close(self.descriptor);
  if (status != RR_OK) {
    rr_free(self.data);
    return status;
  }
  self.data[self.size] = '\0';
  *ret_data = self.data;
  *ret_size = self.size;
  return RR_OK;
}
