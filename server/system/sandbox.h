/* The filter of system calls (seccomp): what the server never needs is refused, whoever asks.
 *
 * 1. A call that is refused fails with an error; it does not end the process. A filter that kills
 *    would turn any call that a new libc makes into an outage; one that refuses leaves an attacker
 *    with as little.
 * 2. What is known and refused gives EPERM; what is not known gives ENOSYS, on which libcs fall
 *    back.
 * 3. Filters only add up: a later one can narrow what an earlier one allowed, never widen it.
 */
#ifndef RR_SERVER_SYSTEM_SANDBOX_H
#define RR_SERVER_SYSTEM_SANDBOX_H

#include <stdbool.h>

#include "core/base/status.h"

/* Beyond serving: reading files, accepting connections, computing in threads. */
typedef struct sandbox_needs {
  bool fetches;  /* sockets of its own, and modules of the C library that look names up */
  bool writes;   /* makes and changes files */
  bool unlinks;  /* removes files */
  bool connects; /* to another service, also while it serves */
  bool resolves; /* whose name it looks up */
  bool keeps;    /* writes into files that are open already, at places of its choice */
  bool narrows;  /* will call sandbox_enter again */
} sandbox_needs;

/* NULL, or why this program had better run without the filter, unless it is asked for: a sanitizer
 * or valgrind, which make calls of their own, or a build without the library. Static storage. */
const char *sandbox_unsuited(void);

/* From here on the kernel makes no ring (io_uring) for this process; everything else stays allowed.
 * Before the first
 * event loop: libuv makes a ring with it wherever the kernel lets it, whatever UV_USE_IO_URING
 * says, and aborts when
 * sandbox_enter's filter refuses the use of it. Errors: as those of sandbox_enter. */
rr_status sandbox_refuse_rings(rr_error *err);

/* Confines every thread of the process, for good. Milliseconds. Any thread. Errors: RR_ERR_IO (the
 * kernel, or what surrounds it, does not allow it), RR_ERR_MEMORY; then nothing has changed. */
rr_status sandbox_enter(const sandbox_needs *needs, rr_error *err);

#endif
