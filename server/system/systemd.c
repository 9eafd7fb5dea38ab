#include "server/system/systemd.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/base/loop_thread.h"
#include "server/observe/log.h"

void systemd_place(int socket, char ret_text[SYSTEMD_PLACE_MAX]) {
  char host[64];
  char port[16];
  struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
  socklen_t size = sizeof address;
  if (getsockname(socket, (struct sockaddr *)&address, &size) == 0 &&
      address.ss_family == AF_UNIX) {
    const struct sockaddr_un *file = (const struct sockaddr_un *)&address;
    size_t length = size - offsetof(struct sockaddr_un, sun_path);
    bool named = size > offsetof(struct sockaddr_un, sun_path) && file->sun_path[0] != '\0';
    (void)snprintf(ret_text, SYSTEMD_PLACE_MAX, "%.*s", named ? (int)length : 15,
                   named ? file->sun_path : "a hidden socket");
  } else if (getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port,
                         NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
    (void)snprintf(ret_text, SYSTEMD_PLACE_MAX, "%s port %s", host, port);
  } else {
    (void)snprintf(ret_text, SYSTEMD_PLACE_MAX, "descriptor %d", socket);
  }
}

#ifdef RR_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

enum {
  INTERVAL_MS = 5000,
  INTERVAL_MS_MIN = 50,
  RETRY_MS = 100,
  EXTENSION_US = 30 * 1000 *
                 1000, /* more time for loading and stopping, each of which has bounds of its own */
  MESSAGE_BYTES = 512
};

static bool listens(int socket) {
  return sd_is_socket(socket, AF_INET, SOCK_STREAM, 1) > 0 ||
         sd_is_socket(socket, AF_INET6, SOCK_STREAM, 1) > 0 ||
         sd_is_socket(socket, AF_UNIX, SOCK_STREAM, 1) > 0;
}

rr_status systemd_sockets(int *ret_sockets, size_t most, size_t *ret_n, rr_error *err) {
  int n = sd_listen_fds(1); /* for this process, and from here on for no other: closed on exec */
  if (n < 0) {
    return rr_fail(err, RR_ERR_INPUT, "LISTEN_FDS: %s", strerror(-n));
  }
  if ((size_t)n > most) {
    return rr_fail(err, RR_ERR_INPUT, "LISTEN_FDS: %d sockets were passed, %zu can be served", n,
                   most);
  }
  for (int i = 0; i < n; i++) {
    if (!listens(SD_LISTEN_FDS_START + i)) {
      return rr_fail(
          err, RR_ERR_INPUT,
          "LISTEN_FDS: descriptor %d is no listening stream socket (Accept=yes cannot be served)",
          SD_LISTEN_FDS_START + i);
    }
    ret_sockets[i] = SD_LISTEN_FDS_START + i;
  }
  *ret_n = (size_t)n;
  return RR_OK;
}

/* A path, or with @ a name without a file. Returns -1 with errno set. */
static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t size = strlen(path);
  if ((path[0] != '/' && path[0] != '@') || size >= sizeof address.sun_path) {
    errno = EAFNOSUPPORT;
    return -1;
  }
  memcpy(address.sun_path, path, size);
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (path[0] == '/'));
  if (path[0] == '@') {
    address.sun_path[0] = '\0';
  }
  int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor >= 0 && connect(descriptor, (const struct sockaddr *)&address, length) != 0) {
    int saved = errno;
    (void)close(descriptor);
    errno = saved;
    return -1;
  }
  return descriptor;
}

/* Returns whether the manager has it, or never will. */
static bool tell(systemd *self) {
  char text[SYSTEMD_TEXT_MAX] = "";
  char message[MESSAGE_BYTES];
  bool alive = self->describe(self->context, text);
  const char *life = self->watched && alive ? "WATCHDOG=1\n" : "";
  text[strcspn(text, "\r\n")] = '\0';
  if (self->state == SYSTEMD_SERVING) {
    (void)snprintf(message, sizeof message, "%s%sSTATUS=%s\n", self->told ? "" : "READY=1\n", life,
                   text);
  } else {
    (void)snprintf(message, sizeof message, "%s%sEXTEND_TIMEOUT_USEC=%d\nSTATUS=%s\n",
                   self->state == SYSTEMD_STOPPING ? "STOPPING=1\n" : "", life, (int)EXTENSION_US,
                   text);
  }
  if (send(self->descriptor, message, strlen(message), MSG_NOSIGNAL) >= 0) {
    return true;
  }
  return errno != EAGAIN && errno != ENOBUFS && errno != EINTR;
}

static void on_timer(uv_timer_t *timer) {
  systemd *self = timer->data;
  bool serving = self->state == SYSTEMD_SERVING;
  bool told = tell(self);
  self->told = self->told || (told && serving);
  if (!told || !serving || self->watched) { /* else nothing changes until the state does */
    (void)uv_timer_start(&self->timer, on_timer, told ? self->interval_ms : RETRY_MS, 0);
  }
}

/* A third of the time in which a sign of life is due. */
static void read_watchdog(systemd *self) {
  uint64_t limit_us = 0;
  self->interval_ms = INTERVAL_MS;
  self->watched = sd_watchdog_enabled(1, &limit_us) > 0;
  uint64_t third = limit_us / 3000;
  if (self->watched && third < INTERVAL_MS) {
    self->interval_ms = third < INTERVAL_MS_MIN ? INTERVAL_MS_MIN : third;
  }
}

void systemd_start(systemd *self, uv_loop_t *loop, systemd_describe describe, void *context) {
  loop_thread_claim();
  const char *path = getenv("NOTIFY_SOCKET");
  *self = (systemd){.descriptor = -1, .describe = describe, .context = context};
  read_watchdog(self);
  if (path == NULL || path[0] == '\0') {
    return;
  }
  self->descriptor = connect_to(path);
  if (self->descriptor < 0) {
    log_text(LOG_LEVEL_ERROR, "NOTIFY_SOCKET: cannot tell %.100s how the server is: %s", path,
             strerror(errno));
  }
  (void)unsetenv("NOTIFY_SOCKET");
  if (self->descriptor >= 0) {
    (void)uv_timer_init(loop, &self->timer);
    self->timer.data = self;
    self->timed = true;
    (void)uv_timer_start(&self->timer, on_timer, 0, 0);
  }
}

void systemd_enter(systemd *self, systemd_state state) {
  assert_loop_thread();
  self->state = state;
  if (self->timed) {
    on_timer(&self->timer);
  }
}

void systemd_close(systemd *self) {
  assert_loop_thread();
  if (self->timed) {
    uv_close((uv_handle_t *)&self->timer, NULL);
    (void)close(self->descriptor);
    self->timed = false;
  }
}

#else

rr_status systemd_sockets(int *ret_sockets, size_t most, size_t *ret_n, rr_error *err) {
  (void)ret_sockets;
  (void)most;
  *ret_n = 0;
  const char *process = getenv("LISTEN_PID");
  return process == NULL || strtol(process, NULL, 10) != getpid()
             ? RR_OK
             : rr_fail(err, RR_ERR_INPUT,
                       "LISTEN_FDS: this build takes no sockets; it has no libsystemd");
}

void systemd_start(systemd *self, uv_loop_t *loop, systemd_describe describe, void *context) {
  (void)loop;
  *self = (systemd){.descriptor = -1, .describe = describe, .context = context};
  if (getenv("NOTIFY_SOCKET") != NULL) {
    log_text(LOG_LEVEL_WARN,
             "NOTIFY_SOCKET: this build tells nobody how the server is; it has no libsystemd");
  }
}

void systemd_enter(systemd *self, systemd_state state) { self->state = state; }

void systemd_close(systemd *self) { (void)self; }

#endif
