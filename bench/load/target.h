/* Where requests go: an address, and everything of a request but its body. */
#ifndef RR_BENCH_LOAD_TARGET_H
#define RR_BENCH_LOAD_TARGET_H

#include <stddef.h>
#include <sys/socket.h>

#include "bench/load/options.h"
#include "core/base/status.h"

enum { TARGET_HEAD_MAX = 16384 };

typedef struct target {
  struct sockaddr_storage address;
  char head[TARGET_HEAD_MAX]; /* up to and with "Content-Length: " */
  size_t head_size;
} target;

/* Takes the URL apart and looks its host up (may block). RR_ERR_INPUT: no URL we can use, no such
 * host, or an address outside of loopback that was not allowed. */
rr_status target_init(target *self, const options *settings, rr_error *err);

/* A whole request with room for body_size bytes of body, from malloc: the body goes to *ret_bytes +
 * *ret_head, the request has *ret_size bytes. RR_ERR_MEMORY. */
rr_status target_request(const target *self, size_t body_size, char **ret_bytes, size_t *ret_head,
                         size_t *ret_size);

#endif
