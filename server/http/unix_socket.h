/* Listening on a socket in the file system. */
#ifndef RR_SERVER_HTTP_UNIX_SOCKET_H
#define RR_SERVER_HTTP_UNIX_SOCKET_H

#include <sys/stat.h>

#include "core/base/status.h"

typedef struct unix_socket {
  const char *path; /* borrowed */
  dev_t device;     /* what was created there, so that only that is removed */
  ino_t inode;
} unix_socket;

/* Binds and listens, non-blocking; the file is open to its owner alone from its first moment on. A
 * socket that is there already is replaced only if nobody listens on it; any other file is left
 * alone. *ret_socket is the caller's. Errors: RR_ERR_INPUT (path), RR_ERR_IO. Changes the process's
 * umask for a moment. */
rr_status unix_socket_listen(const char *path, int *ret_socket, unix_socket *ret_place,
                             rr_error *err);

/* Removes the file if it still is the one that was created. */
void unix_socket_remove(const unix_socket *place);

#endif
