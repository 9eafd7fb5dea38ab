/* Files that somebody names: a model's, keys, certificates, caches.
 *
 * What a name leads to is known only once it is looked at. A pipe (FIFO) that nobody writes to
 * would hold the thread that opens it for ever, a device may do anything at all. So every such
 * file is opened here: without waiting, and only if it is a regular file. The error says what it
 * is instead. */
#ifndef RR_CORE_BASE_FILE_H
#define RR_CORE_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "core/base/status.h"

enum { RR_PATH_MAX = 4096 };

/* directory/name in to; RR_ERR_INPUT if that is too long. An empty name is the directory. */
rr_status rr_path_join(const char *directory, const char *name, char to[RR_PATH_MAX],
                       rr_error *err);

/* Whether a regular file is at the path, links followed; also true where that cannot be seen, so
 * that opening it says why. RR_ERR_IO: something else is there. Any thread, as all of these. */
rr_status rr_file_find(const char *path, bool *ret_there, rr_error *err);

/* Opens a regular file with flags as for open(2), to which O_CLOEXEC, O_NONBLOCK and O_NOCTTY
 * are added. mode: of a file that O_CREAT makes. ret_about may be NULL. RR_ERR_IO: it cannot be
 * opened, and errno is open's; or it is something else, and errno is EINVAL. */
rr_status rr_file_open(const char *path, int flags, mode_t mode, int *ret_descriptor,
                       struct stat *ret_about, rr_error *err);

/* The bytes of a whole regular file, with a NUL behind them; rr_free them. RR_ERR_IO as above,
 * or where the file shrinks while it is read; RR_ERR_FORMAT: it has more than max_bytes, which
 * are also the most that are ever held of one that grows; RR_ERR_MEMORY. */
rr_status rr_file_read(const char *path, size_t max_bytes, char **ret_data, size_t *ret_size,
                       rr_error *err);

#endif
