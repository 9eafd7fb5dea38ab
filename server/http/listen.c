#include "server/http/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

/* Returns the socket, or -1 with errno set. */
static int open_one(const struct addrinfo *address) {
  int yes = 1;
  int fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                  address->ai_protocol);
  if (fd < 0) {
    return -1;
  }
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
  }
  return fd;
}

static unsigned port_of(int fd) {
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
    return 0;
  }
  if (address.ss_family == AF_INET6) {
    return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
  }
  return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

rr_status http_listen(const char *hostname, unsigned port, int *ret_socket, unsigned *ret_port,
                      rr_error *err) {
  char service[16];
  (void)snprintf(service, sizeof service, "%u", port);
  struct addrinfo hints = {
      .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
  struct addrinfo *addresses = NULL;
  int failure = getaddrinfo(hostname, service, &hints, &addresses);
  if (failure != 0) {
    return rr_fail(err, RR_ERR_INPUT, "--hostname (HOSTNAME) '%.100s': %s", hostname,
                   gai_strerror(failure));
  }
  int fd = -1;
  for (const struct addrinfo *a = addresses; a != NULL && fd < 0; a = a->ai_next) {
    fd = open_one(a);
  }
  int saved = errno;
  freeaddrinfo(addresses);
  if (fd < 0) {
    return rr_fail(err, RR_ERR_IO, "cannot listen on %.100s port %u: %s", hostname, port,
                   strerror(saved));
  }
  *ret_socket = fd;
  *ret_port = port_of(fd);
  return RR_OK;
}
