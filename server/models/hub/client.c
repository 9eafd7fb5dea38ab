#include "server/models/hub/client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/alloc.h"
#include "server/base/version.h"
#include "server/models/hub/reply.h"
#include "server/observe/log.h"

enum {
  HOPS_MAX = 6,
  ERROR_BODY_MAX = 1 << 20, /* of an answer that is not wanted */
  LEAST_BYTES_A_SECOND = 64,
  FIRST_WAIT_MS = 250,
  POLL_MS = 50,
  TOKEN_MAX = 1000,
};

struct hub_client {
  hub_client_config config;
  CURL *easy;
  CURLU *hub; /* the endpoint, parsed */
  char problem[CURL_ERROR_SIZE];
  bool told; /* that the hub is out of reach */
};

/* One request of a chain of redirects. */
typedef struct hop {
  hub_client *client;
  const hub_call *call;
  hub_reply *reply;
  rr_error *err;
  rr_status sink; /* of begin and take */
  bool begun;
  size_t ignored; /* bytes of a body that is not wanted */
} hop;

static bool is_header_text(const char *text) {
  for (; *text != '\0'; text++) {
    if (*text <= ' ' || *text > '~') {
      return false;
    }
  }
  return true;
}

rr_status hub_client_create(const hub_client_config *config, hub_client **ret_client,
                            rr_error *err) {
  if (config->token != NULL &&
      (!is_header_text(config->token) || strlen(config->token) > TOKEN_MAX)) {
    return rr_fail(err, RR_ERR_INPUT, "the hub's token holds what no token does, or is too long");
  }
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return rr_fail(err, RR_ERR_MEMORY, "libcurl cannot start");
  }
  hub_client *client = rr_calloc(1, sizeof *client);
  if (client != NULL) {
    client->config = *config;
    client->easy = curl_easy_init();
    client->hub = curl_url();
  }
  rr_status status = RR_OK;
  if (client == NULL || client->easy == NULL || client->hub == NULL) {
    status = rr_fail(err, RR_ERR_MEMORY, "out of memory");
  } else if (curl_url_set(client->hub, CURLUPART_URL, config->endpoint, 0) != CURLUE_OK ||
             (strncmp(config->endpoint, "http://", 7) != 0 &&
              strncmp(config->endpoint, "https://", 8) != 0)) {
    status = rr_fail(err, RR_ERR_INPUT, "HF_ENDPOINT: \"%.100s\" is no http:// or https:// address",
                     config->endpoint);
  }
  if (status != RR_OK) {
    hub_client_destroy(client);
    return status;
  }
  *ret_client = client;
  return RR_OK;
}

void hub_client_destroy(hub_client *client) {
  if (client == NULL) {
    return;
  }
  curl_easy_cleanup(client->easy);
  curl_url_cleanup(client->hub);
  rr_free(client);
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart part, unsigned flags) {
  char *one = NULL;
  char *other = NULL;
  bool same = curl_url_get(a, part, &one, flags) == CURLUE_OK &&
              curl_url_get(b, part, &other, flags) == CURLUE_OK && curl_strequal(one, other) != 0;
  curl_free(one);
  curl_free(other);
  return same;
}

/* Whether the URL's scheme, host and port are the endpoint's. */
static bool is_hub(const hub_client *client, const char *url) {
  CURLU *parsed = curl_url();
  bool same = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
              same_part(parsed, client->hub, CURLUPART_SCHEME, 0) &&
              same_part(parsed, client->hub, CURLUPART_HOST, 0) &&
              same_part(parsed, client->hub, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  curl_url_cleanup(parsed);
  return same;
}

/* "HTTP/1.1 200 OK" */
static long status_of_line(const char *line, size_t size) {
  long status = 0;
  const char *at = memchr(line, ' ', size);
  for (size_t i = 0; at != NULL && at + 1 + i < line + size && i < 3; i++) {
    status = status * 10 + (at[1 + i] - '0');
  }
  return status;
}

static size_t on_header(char *data, size_t size, size_t count, void *context) {
  hop *self = context;
  size_t bytes = size * count;
  if (bytes > 5 && strncmp(data, "HTTP/", 5) == 0) {
    hub_reply_next(self->reply, status_of_line(data, bytes));
    if (!self->call->head) {
      self->reply->has_size = false; /* a GET tells its body's, not the file's */
    }
  } else {
    hub_reply_header(self->reply, data, bytes);
  }
  return bytes;
}

static bool is_wanted(const hop *self) {
  return self->reply->status == 200 || self->reply->status == 206;
}

static rr_status begin(hop *self) {
  self->begun = true;
  return self->call->begin == NULL ? RR_OK
                                   : self->call->begin(self->call->context, self->reply, self->err);
}

static size_t on_body(char *data, size_t size, size_t count, void *context) {
  hop *self = context;
  size_t bytes = size * count;
  if (!is_wanted(self) || self->call->take == NULL) {
    self->ignored += bytes;
    return self->ignored <= ERROR_BODY_MAX ? bytes : 0;
  }
  if (!self->begun) {
    self->sink = begin(self);
  }
  if (self->sink == RR_OK) {
    self->sink = self->call->take(self->call->context, data, bytes, self->err);
  }
  return self->sink == RR_OK ? bytes : 0;
}

static int on_progress(void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up) {
  const hub_client *client = context;
  (void)down_total;
  (void)down;
  (void)up_total;
  (void)up;
  return atomic_load(client->config.cancelled) ? 1 : 0;
}

static void set_up(hub_client *client, hop *self, const char *url, struct curl_slist *headers) {
  CURL *easy = client->easy;
  curl_easy_reset(easy); /* connections stay */
  client->problem[0] = '\0';
  (void)curl_easy_setopt(easy, CURLOPT_URL, url);
  (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT,
                         1L); /* do not wait for a name server at the end */
  (void)curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, client->problem);
  (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "rerankd/" RERANKD_VERSION);
  (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  (void)curl_easy_setopt(easy, CURLOPT_NOBODY, self->call->head ? 1L : 0L);
  (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, client->config.metadata_seconds);
  if (self->call->head) {
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT, client->config.metadata_seconds);
  }
  (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)LEAST_BYTES_A_SECOND);
  (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, client->config.transfer_seconds);
  if (client->config.ca_file != NULL) {
    (void)curl_easy_setopt(easy, CURLOPT_CAINFO, client->config.ca_file);
  }
  (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, self);
  (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, self);
  (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  (void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
  (void)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, client);
}

/* NULL when memory is short. */
static struct curl_slist *request_headers(const hub_client *client, const hub_call *call,
                                          bool to_hub) {
  char line[TOKEN_MAX + 64];
  struct curl_slist *headers = curl_slist_append(NULL, "Accept-Encoding: identity");
  struct curl_slist *longer = headers;
  if (longer != NULL && to_hub && client->config.token != NULL) {
    (void)snprintf(line, sizeof line, "Authorization: Bearer %s", client->config.token);
    longer = curl_slist_append(headers, line);
  }
  if (longer != NULL && call->from > 0) {
    (void)snprintf(line, sizeof line, "Range: bytes=%llu-", (unsigned long long)call->from);
    longer = curl_slist_append(headers, line);
  }
  if (longer == NULL) {
    curl_slist_free_all(headers);
  }
  return longer;
}

/* Errors of the way there or back, which may pass. */
static bool may_pass(CURLcode code) {
  switch (code) {
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_URL_MALFORMAT:
  case CURLE_OUT_OF_MEMORY:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_WRITE_ERROR: return false;
  default: return true;
  }
}

static hub_outcome transport_error(const hop *self, CURLcode code) {
  const hub_client *client = self->client;
  if (atomic_load(client->config.cancelled)) {
    (void)rr_fail(self->err, RR_ERR_IO, "%.100s: interrupted", self->call->what);
    return HUB_REFUSED;
  }
  if (self->sink != RR_OK) {
    return HUB_REFUSED; /* begin or take has said why */
  }
  (void)rr_fail(self->err, RR_ERR_IO, "%.100s: %.120s", self->call->what,
                client->problem[0] != '\0' ? client->problem : curl_easy_strerror(code));
  return may_pass(code) ? HUB_AGAIN : HUB_REFUSED;
}

static hub_outcome perform_hop(hop *self, const char *url, bool to_hub) {
  hub_client *client = self->client;
  struct curl_slist *headers = request_headers(client, self->call, to_hub);
  if (headers == NULL) {
    (void)rr_fail(self->err, RR_ERR_MEMORY, "%.100s: out of memory", self->call->what);
    return HUB_REFUSED;
  }
  set_up(client, self, url, headers);
  CURLcode code = curl_easy_perform(client->easy);
  curl_slist_free_all(headers);
  if (code != CURLE_OK) {
    return transport_error(self, code);
  }
  if (!self->call->head && is_wanted(self) && !self->begun) { /* an empty body */
    self->sink = begin(self);
  }
  return self->sink == RR_OK ? HUB_DONE : HUB_REFUSED;
}

/* The place that the last answer redirects to; false if it does not, or to where nobody should
 * go. */
static bool next_hop(const hub_client *client, const hub_call *call, const char *url,
                     const hub_reply *reply, char next[HUB_URL_MAX]) {
  char *place = NULL;
  if (reply->status < 300 || reply->status > 399 ||
      curl_easy_getinfo(client->easy, CURLINFO_REDIRECT_URL, &place) != CURLE_OK || place == NULL ||
      strlen(place) >= HUB_URL_MAX || (call->head && !is_hub(client, place))) {
    return false;
  }
  if (strncmp(url, "https://", 8) == 0 && strncmp(place, "https://", 8) != 0) {
    return false;
  }
  (void)snprintf(next, HUB_URL_MAX, "%s", place);
  return true;
}

hub_outcome hub_client_try(hub_client *client, const hub_call *call, hub_reply *ret_reply,
                           rr_error *err) {
  char url[HUB_URL_MAX];
  char next[HUB_URL_MAX];
  *ret_reply = (hub_reply){.status = 0};
  (void)snprintf(url, sizeof url, "%s", call->url);
  for (int hops = 0; hops < HOPS_MAX; hops++) {
    hop self = {.client = client, .call = call, .reply = ret_reply, .err = err};
    bool to_hub = is_hub(client, url);
    hub_outcome outcome = perform_hop(&self, url, to_hub);
    if (outcome != HUB_DONE) {
      return outcome;
    }
    if (!next_hop(client, call, url, ret_reply, next)) {
      return hub_reply_judge(ret_reply, call,
                             !to_hub                        ? HUB_BY_STORAGE
                             : client->config.token != NULL ? HUB_WITH_TOKEN
                                                            : HUB_WITHOUT_TOKEN,
                             err);
    }
    memcpy(url, next, sizeof url);
  }
  (void)rr_fail(err, RR_ERR_IO, "%.100s: more than %d redirects", call->what, HOPS_MAX);
  return HUB_REFUSED;
}

void hub_client_place(const hub_client *client, char ret_place[HUB_PLACE_MAX]) {
  char *scheme = NULL;
  char *host = NULL;
  char *port = NULL;
  (void)curl_url_get(client->hub, CURLUPART_SCHEME, &scheme, 0);
  (void)curl_url_get(client->hub, CURLUPART_HOST, &host, 0);
  (void)curl_url_get(client->hub, CURLUPART_PORT, &port, 0);
  (void)snprintf(ret_place, HUB_PLACE_MAX, "%.10s://%.253s%s%.10s", scheme == NULL ? "" : scheme,
                 host == NULL ? "" : host, port == NULL ? "" : ":", port == NULL ? "" : port);
  curl_free(scheme);
  curl_free(host);
  curl_free(port);
}

static unsigned long wait_ms(unsigned tried, const hub_reply *reply) {
  return reply->retry_after > 0 ? reply->retry_after * 1000ul
                                : (unsigned long)FIRST_WAIT_MS << (tried < 6 ? tried : 6);
}

/* Once: people who wait want to know for what, and for how long. */
static void tell(hub_client *client, const rr_error *why, unsigned tries_left,
                 const hub_reply *reply) {
  char place[HUB_PLACE_MAX];
  if (client->told) {
    return;
  }
  client->told = true;
  hub_client_place(client, place);
  long each = client->config.metadata_seconds > client->config.transfer_seconds
                  ? client->config.metadata_seconds
                  : client->config.transfer_seconds;
  unsigned long ms = 0;
  for (unsigned i = 1; i <= tries_left; i++) {
    ms += wait_ms(i, reply);
  }
  log_text(LOG_LEVEL_WARN,
           "%s; the hub is %s (--hf-endpoint); trying again, up to %u times within about %lu s, "
           "and requests get 503 until "
           "then. Without a hub: --hf-hub-offline for a model that is downloaded, or --model-id "
           "with a model's folder",
           why == NULL ? "no answer" : why->message, place, tries_left,
           (unsigned long)each * tries_left + (ms + 999) / 1000);
}

bool hub_client_wait(const hub_client *client, unsigned tried, const hub_reply *reply) {
  unsigned long wait = wait_ms(tried, reply);
  for (unsigned long waited = 0; waited < wait; waited += POLL_MS) {
    if (atomic_load(client->config.cancelled)) {
      return false;
    }
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    (void)nanosleep(&pause, NULL);
  }
  return !atomic_load(client->config.cancelled);
}

hub_outcome hub_client_call(hub_client *client, const hub_call *call, unsigned tries,
                            hub_reply *ret_reply, rr_error *err) {
  hub_outcome outcome = hub_client_try(client, call, ret_reply, err);
  for (unsigned tried = 1; outcome == HUB_AGAIN && tried < tries; tried++) {
    tell(client, err, tries - tried, ret_reply);
    if (!hub_client_wait(client, tried, ret_reply)) {
      (void)rr_fail(err, RR_ERR_IO, "%.100s: interrupted", call->what);
      return HUB_REFUSED;
    }
    outcome = hub_client_try(client, call, ret_reply, err);
  }
  return outcome;
}

bool hub_client_escape(const char *text, char *to, size_t size) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  size_t at = 0;
  for (; *text != '\0'; text++) {
    if (at + 4 > size) {
      return false;
    }
    if (strchr(plain, *text) != NULL) {
      to[at++] = *text;
    } else {
      (void)snprintf(to + at, 4, "%%%02X", (unsigned char)*text);
      at += 3;
    }
  }
  to[at] = '\0';
  return size > 0;
}

bool hub_client_url(const hub_client *client, const char *prefix, const char *path,
                    char to[HUB_URL_MAX]) {
  int length = snprintf(to, HUB_URL_MAX, "%s%s", client->config.endpoint, prefix);
  if (length < 0 || length >= HUB_URL_MAX) {
    return false;
  }
  size_t at = (size_t)length;
  while (*path != '\0') {
    char part[HUB_FILE_MAX];
    size_t bytes = strcspn(path, "/");
    if (bytes >= sizeof part || at + 1 >= HUB_URL_MAX) {
      return false;
    }
    memcpy(part, path, bytes);
    part[bytes] = '\0';
    to[at++] = '/';
    if (!hub_client_escape(part, to + at, HUB_URL_MAX - at)) {
      return false;
    }
    at += strlen(to + at);
    path += bytes + (path[bytes] == '/');
  }
  return true;
}
