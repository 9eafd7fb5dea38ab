#include "bench/load/target.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

typedef struct url {
  char host[256], port[8];
  const char *authority;
  size_t authority_size;
  const char *path; /* without a slash at its end */
  size_t path_size;
} url;

static rr_status split(const char *text, url *ret_url, rr_error *err) {
  url self = {.port = "80"};
  if (strncasecmp(text, "http://", 7) != 0) {
    return rr_fail(err, RR_ERR_INPUT, "--url wants http://HOST[:PORT][/PATH]; https is not spoken");
  }
  self.authority = text + 7;
  self.authority_size = strcspn(self.authority, "/?#");
  self.path = self.authority + self.authority_size;
  self.path_size = strlen(self.path);
  bool bracket = self.authority[0] == '[';
  size_t host_at = bracket ? 1 : 0;
  size_t host_size = strcspn(self.authority + host_at, bracket ? "]/" : ":/?#");
  const char *after = self.authority + host_at + host_size + (bracket ? 1 : 0);
  const char *end = self.authority + self.authority_size;
  bool good = host_size > 0 && host_size < sizeof self.host && after <= end &&
              strpbrk(self.path, "?# \r\n") == NULL && strpbrk(self.authority, "@ \r\n") == NULL;
  if (good && after < end) {
    size_t port_size = (size_t)(end - after) - 1;
    good = *after == ':' && port_size > 0 && port_size < 6 &&
           strspn(after + 1, "0123456789") >= port_size;
    if (good) {
      memcpy(self.port, after + 1, port_size);
      self.port[port_size] = '\0';
    }
  }
  if (!good) {
    return rr_fail(err, RR_ERR_INPUT, "--url wants http://HOST[:PORT][/PATH]");
  }
  memcpy(self.host, self.authority + host_at, host_size);
  while (self.path_size > 0 && self.path[self.path_size - 1] == '/') {
    self.path_size--;
  }
  *ret_url = self;
  return RR_OK;
}

static bool is_loopback(const struct sockaddr *address) {
  if (address->sa_family == AF_INET) {
    return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
  }
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

/* A name with several addresses (localhost) may be served on one of them only. */
static bool answers(const struct addrinfo *at) {
  int probe = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool good = probe >= 0 && connect(probe, at->ai_addr, at->ai_addrlen) == 0;
  if (probe >= 0) {
    (void)close(probe);
  }
  return good;
}

static rr_status look_up(const url *from, bool allow_remote, struct sockaddr_storage *ret_address,
                         rr_error *err) {
  struct addrinfo *found = NULL;
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  int problem = getaddrinfo(from->host, from->port, &hints, &found);
  if (problem != 0) {
    return rr_fail(err, RR_ERR_INPUT, "%.150s: %s", from->host, gai_strerror(problem));
  }
  const struct addrinfo *chosen = NULL;
  for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
    if (!allow_remote && !is_loopback(at->ai_addr)) {
      freeaddrinfo(found);
      return rr_fail(err, RR_ERR_INPUT,
                     "%.150s is not on this machine's loopback; --allow-remote allows it",
                     from->host);
    }
    if (chosen == NULL && (found->ai_next == NULL || answers(at))) {
      chosen = at;
    }
  }
  chosen = chosen == NULL ? found : chosen;
  memcpy(ret_address, chosen->ai_addr, chosen->ai_addrlen);
  freeaddrinfo(found);
  return RR_OK;
}

rr_status target_init(target *self, const options *settings, rr_error *err) {
  url from;
  rr_status status = split(settings->url, &from, err);
  if (status == RR_OK) {
    status = look_up(&from, settings->allow_remote, &self->address, err);
  }
  if (status != RR_OK) {
    return status;
  }
  FILE *out = fmemopen(self->head, sizeof self->head, "w");
  if (out == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  fprintf(out, "POST %.*s%s HTTP/1.1\r\nHost: %.*s\r\n", (int)from.path_size, from.path,
          settings->path != NULL ? settings->path : settings->spoken->path,
          (int)from.authority_size, from.authority);
  fprintf(
      out,
      "Content-Type: application/json\r\nAccept: application/json\r\nUser-Agent: rerankd-load\r\n");
  if (settings->api_key != NULL) {
    fprintf(out, "Authorization: Bearer %s\r\n", settings->api_key);
  }
  for (size_t i = 0; i < settings->n_headers; i++) {
    fprintf(out, "%s\r\n", settings->headers[i]);
  }
  fprintf(out, "Content-Length: ");
  bool full = fflush(out) != 0 || ftell(out) >= (long)sizeof self->head - 1;
  self->head_size = (size_t)ftell(out);
  (void)fclose(out);
  return full ? rr_fail(err, RR_ERR_INPUT, "the headers have more than %d bytes", TARGET_HEAD_MAX)
              : RR_OK;
}

rr_status target_request(const target *self, size_t body_size, char **ret_bytes, size_t *ret_head,
                         size_t *ret_size) {
  char length[32];
  size_t length_size = (size_t)snprintf(length, sizeof length, "%zu\r\n\r\n", body_size);
  size_t head = self->head_size + length_size;
  char *bytes = malloc(head + body_size);
  if (bytes == NULL) {
    return RR_ERR_MEMORY;
  }
  memcpy(bytes, self->head, self->head_size);
  memcpy(bytes + self->head_size, length, length_size);
  *ret_bytes = bytes;
  *ret_head = head;
  *ret_size = head + body_size;
  return RR_OK;
}
