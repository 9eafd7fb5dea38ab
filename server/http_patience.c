#include "server/http_patience.h"

#include <sys/socket.h>

#include "core/base/alloc.h"
#include "server/clock.h"
#include "server/http_internal.h"

struct http_connection {
  int fd;
  bool at_work;
  uint64_t since; /* ns: when the client's turn began */
  http_connection *next;
  http_connection *previous;
};

static void begin(http_server *self, struct MHD_Connection *connection, void **socket_context) {
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  http_connection *new_one = rr_calloc(1, sizeof *new_one);
  if (info == NULL || new_one == NULL) { /* out of memory: only libmicrohttpd's own timeout is left */
    rr_free(new_one);
    return;
  }
  new_one->fd = info->connect_fd;
  new_one->since = clock_now();
  new_one->next = self->connections;
  if (new_one->next != NULL) {
    new_one->next->previous = new_one;
  }
  self->connections = new_one;
  *socket_context = new_one;
}

static void end(http_server *self, http_connection *old) {
  if (old->previous != NULL) {
    old->previous->next = old->next;
  } else {
    self->connections = old->next;
  }
  if (old->next != NULL) {
    old->next->previous = old->previous;
  }
  rr_free(old);
}

void http_on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                        enum MHD_ConnectionNotificationCode code) {
  if (code == MHD_CONNECTION_NOTIFY_STARTED) {
    begin(context, connection, socket_context);
  } else if (*socket_context != NULL) {
    end(context, *socket_context);
    *socket_context = NULL;
  }
}

void http_patience_set(struct MHD_Connection *connection, bool at_work) {
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  http_connection *one = info == NULL ? NULL : info->socket_context;
  if (one != NULL) {
    one->at_work = at_work;
    one->since = clock_now();
  }
}

void http_patience_sweep(http_connection *first, uint64_t longest_ns) {
  uint64_t now = clock_now();
  for (const http_connection *one = first; one != NULL; one = one->next) {
    if (!one->at_work && now - one->since > longest_ns) {
      (void)shutdown(one->fd, SHUT_RDWR); /* libmicrohttpd sees its end and closes it */
    }
  }
}
