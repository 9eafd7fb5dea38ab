#include "server/http/unix_socket.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static const mode_t owner_alone = 0177;

static int open_socket(void) {
  return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Whether the file is a socket that nobody listens on. */
static bool is_stale(const struct sockaddr_un *address) {
  struct stat about;
  if (lstat(address->sun_path, &about) != 0 || !S_ISSOCK(about.st_mode)) {
    return false;
  }
  int probe = open_socket();
  bool refused = probe >= 0 &&
                 connect(probe, (const struct sockaddr *)address, sizeof *address) != 0 &&
                 errno == ECONNREFUSED;
  if (probe >= 0) {
    (void)close(probe);
  }
  return refused;
}

static int bind_as_owner(int fd, const struct sockaddr_un *address) {
  mode_t before = umask(owner_alone);
  int status = bind(fd, (const struct sockaddr *)address, sizeof *address);
  int saved = errno;
  (void)umask(before);
  errno = saved;
  return status;
}

rr_status unix_socket_listen(const char *path, int *ret_socket, unix_socket *ret_place,
                             rr_error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    return rr_fail(err, RR_ERR_INPUT,
                   "--unix-socket (UNIX_SOCKET): a path may have at most %zu bytes",
                   sizeof address.sun_path - 1);
  }
  memcpy(address.sun_path, path, strlen(path));
  int fd = open_socket();
  bool bound = fd >= 0 && bind_as_owner(fd, &address) == 0;
  int saved = errno;
  if (!bound && fd >= 0 && saved == EADDRINUSE && is_stale(&address)) {
    bound = unlink(path) == 0 && bind_as_owner(fd, &address) == 0;
    saved = errno;
  }
  struct stat about;
  if (bound && (listen(fd, BACKLOG) != 0 || lstat(path, &about) != 0)) {
    bound = false;
    saved = errno;
  }
  if (!bound) {
    if (fd >= 0) {
      (void)close(fd);
    }
    return rr_fail(err, RR_ERR_IO, "cannot listen on %.150s: %s", path, strerror(saved));
  }
  *ret_place = (unix_socket){.path = path, .device = about.st_dev, .inode = about.st_ino};
  *ret_socket = fd;
  return RR_OK;
}

void unix_socket_remove(const unix_socket *place) {
  struct stat about;
  if (place->path != NULL && lstat(place->path, &about) == 0 && about.st_dev == place->device &&
      about.st_ino == place->inode) {
    (void)unlink(place->path);
  }
}
