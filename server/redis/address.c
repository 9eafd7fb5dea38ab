#include "server/redis/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <curl/curl.h>

enum { DATABASE_MAX = 65535 };

static const char default_port[] = "6379";

static bool copy(const char *text, char *ret_copy, size_t size) {
  int length = snprintf(ret_copy, size, "%s", text);
  return length >= 0 && (size_t)length < size;
}

/* A part of the URL, decoded; "" where it is absent. False: it does not fit. */
static bool take(CURLU *url, CURLUPart part, char *ret_text, size_t size) {
  char *text = NULL;
  CURLUcode code = curl_url_get(url, part, &text, part == CURLUPART_PORT ? 0 : CURLU_URLDECODE);
  bool absent = code == CURLUE_NO_USER || code == CURLUE_NO_PASSWORD || code == CURLUE_NO_PORT;
  bool fits = absent || (code == CURLUE_OK && text != NULL && copy(text, ret_text, size));
  curl_free(text);
  return fits;
}

/* "/3", "/" or "". */
static bool take_database(CURLU *url, unsigned *ret_database) {
  char path[16] = "";
  if (!take(url, CURLUPART_PATH, path, sizeof path)) {
    return false;
  }
  const char *digits = path[0] == '/' ? path + 1 : path;
  size_t n = strspn(digits, "0123456789");
  if (digits[n] != '\0' || n > 5) {
    return false;
  }
  unsigned long number = n == 0 ? 0 : strtoul(digits, NULL, 10);
  *ret_database = (unsigned)number;
  return number <= DATABASE_MAX;
}

static void strip_brackets(char *host) {
  size_t size = strlen(host);
  if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
    memmove(host, host + 1, size - 2);
    host[size - 2] = '\0';
  }
}

static rr_status parse_url(const char *text, redis_address *address, rr_error *err) {
  CURLU *url = curl_url();
  if (url == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a URL");
  }
  char scheme[16] = "";
  const char *problem = NULL;
  (void)copy(default_port, address->port, sizeof address->port);
  if (curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
      !take(url, CURLUPART_SCHEME, scheme, sizeof scheme)) {
    problem = "expected redis://[user[:password]@]host[:port][/database], or a socket's path";
  } else if (strcmp(scheme, "rediss") == 0 || strcmp(scheme, "valkeys") == 0) {
    problem = "TLS is not built in; put a TLS tunnel beside the server, or use a private network";
  } else if (strcmp(scheme, "redis") != 0 && strcmp(scheme, "valkey") != 0) {
    problem = "the scheme must be redis or valkey";
  } else if (!take(url, CURLUPART_HOST, address->host, sizeof address->host) ||
             address->host[0] == '\0' ||
             !take(url, CURLUPART_PORT, address->port, sizeof address->port) ||
             !take(url, CURLUPART_USER, address->user, sizeof address->user) ||
             !take(url, CURLUPART_PASSWORD, address->password, sizeof address->password)) {
    problem = "host, port, user or password is missing, too long or not valid";
  } else if (!take_database(url, &address->database)) {
    problem = "the database must be a number up to 65535";
  }
  curl_url_cleanup(url);
  strip_brackets(address->host);
  return problem == NULL ? RR_OK : rr_fail(err, RR_ERR_INPUT, "%s", problem);
}

static rr_status parse_path(const char *path, redis_address *address, rr_error *err) {
  address->local = true;
  if (path[0] != '/' || strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path ||
      !copy(path, address->host, sizeof address->host)) {
    return rr_fail(err, RR_ERR_INPUT,
                   "a socket's path must begin with a slash and have at most %zu bytes",
                   sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
  }
  return RR_OK;
}

rr_status redis_address_parse(const char *url, const char *password, redis_address *ret_address,
                              rr_error *err) {
  static const char unix_scheme[] = "unix:";
  redis_address address = {0};
  rr_status status;
  if (url[0] == '/') {
    status = parse_path(url, &address, err);
  } else if (strncmp(url, unix_scheme, sizeof unix_scheme - 1) == 0) {
    const char *path = url + sizeof unix_scheme - 1;
    status = parse_path(strncmp(path, "//", 2) == 0 ? path + 2 : path, &address, err);
  } else {
    status = parse_url(url, &address, err);
  }
  if (status == RR_OK && password != NULL &&
      !copy(password, address.password, sizeof address.password)) {
    status = rr_fail(err, RR_ERR_INPUT, "the password has more than %zu bytes",
                     sizeof address.password - 1);
  }
  if (status == RR_OK) {
    *ret_address = address;
  }
  explicit_bzero(&address, sizeof address);
  return status;
}

bool redis_address_is_name(const redis_address *self) {
  unsigned char binary[sizeof(struct in6_addr)];
  return !self->local && inet_pton(AF_INET, self->host, binary) != 1 &&
         inet_pton(AF_INET6, self->host, binary) != 1;
}
