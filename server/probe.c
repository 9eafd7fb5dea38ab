#include "server/probe.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/base/version.h"

enum { SAID_MAX = 200, PATH_BYTES = 512, BODY_MAX = 1 << 20 };

/* The beginning of an answer's body, as one line of printable ASCII. */
typedef struct answer {
  char text[SAID_MAX + 1];
  size_t size;
  size_t received;
} answer;

/* A body without an end is none of a health check's. */
static size_t on_body(char *data, size_t unit, size_t n, void *context) {
  answer *self = context;
  size_t size = unit * n;
  for (size_t i = 0; i < size && self->size < SAID_MAX; i++) {
    self->text[self->size++] = data[i] >= ' ' && data[i] <= '~' ? data[i] : ' ';
  }
  self->received += size;
  return self->received <= BODY_MAX ? size : 0;
}

static int fail(FILE *out, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(FILE *out, const char *where, const char *format, ...) {
  char problem[SAID_MAX + CURL_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(problem, sizeof problem, format, arguments);
  va_end(arguments);
  (void)fprintf(out, "rerankd: --health %.200s: %s\n", where, problem);
  return EXIT_FAILURE;
}

/* unix:SOCKET[:/PATH] into both; false where one is too long or there is none. */
static bool split_unix(const char *where, char socket[PATH_BYTES], char url[PATH_BYTES]) {
  const char *path = where + strlen("unix:");
  const char *colon = strstr(path, ":/");
  size_t size = colon == NULL ? strlen(path) : (size_t)(colon - path);
  if (size == 0 || size >= PATH_BYTES) {
    return false;
  }
  memcpy(socket, path, size);
  socket[size] = '\0';
  int length =
      snprintf(url, PATH_BYTES, "http://localhost%s", colon == NULL ? "/ready" : colon + 1);
  return length > 0 && length < PATH_BYTES;
}

static int ask(CURL *easy, const char *where, FILE *out) {
  char problem[CURL_ERROR_SIZE] = "";
  answer said = {.size = 0};
  long status = 0;
  (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, problem);
  (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &said);
  CURLcode code = curl_easy_perform(easy);
  if (code != CURLE_OK) {
    return fail(out, where, "%s", problem[0] == '\0' ? curl_easy_strerror(code) : problem);
  }
  (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return status == 200 ? EXIT_SUCCESS : fail(out, where, "%ld %s", status, said.text);
}

int probe_ask(const char *where, size_t timeout_ms, FILE *out) {
  char socket[PATH_BYTES] = "";
  char url[PATH_BYTES];
  bool local = strncmp(where, "unix:", strlen("unix:")) == 0;
  if (local ? !split_unix(where, socket, url)
            : strncasecmp(where, "http://", strlen("http://")) != 0) {
    return fail(out, where, "expected http://HOST:PORT/PATH or unix:SOCKET:/PATH");
  }
  CURL *easy = curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK ? curl_easy_init() : NULL;
  if (easy == NULL) {
    return fail(out, where, "libcurl cannot start");
  }
  (void)curl_easy_setopt(easy, CURLOPT_URL, local ? url : where);
  if (local) {
    (void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket);
  }
  (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
  (void)curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
  (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT,
                         1L); /* do not wait for a name server at the end */
  (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
  (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "rerankd/" RERANKD_VERSION);
  int status = ask(easy, where, out);
  curl_easy_cleanup(easy);
  curl_global_cleanup();
  return status;
}
