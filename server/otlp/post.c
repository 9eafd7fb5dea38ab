#include "server/otlp/post.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "server/base/clock.h"
#include "server/base/version.h"

enum {
  REPLY_BYTES = 64 * 1024,
  REPLY_VALUES_MAX = 1000,
  CONNECT_MS = 3000,
  WAIT_MS = 500,
  NS_PER_MS = 1000000
};

struct otlp_post {
  const otlp_settings *settings;
  CURLM *multi;
  CURL *easy;
  struct curl_slist *headers; /* of a body as it is */
  struct curl_slist *packed;  /* of one that is packed */
  atomic_uint_fast64_t hurry; /* 0: none */
  char problem[CURL_ERROR_SIZE];
  char reply[REPLY_BYTES];
  size_t reply_size;
};

static bool add(struct curl_slist **list, const char *line) {
  struct curl_slist *longer = curl_slist_append(*list, line);
  *list = longer == NULL ? *list : longer;
  return longer != NULL;
}

static bool make_headers(const otlp_settings *settings, bool packed, struct curl_slist **ret_list) {
  bool made = add(ret_list, "Content-Type: application/json") && add(ret_list, "Expect:") &&
              (!packed || add(ret_list, "Content-Encoding: gzip"));
  for (size_t i = 0; made && i < settings->n_headers; i++) {
    made = add(ret_list, settings->headers[i]);
  }
  return made;
}

/* An answer that is too long ends here, which its status survives: a collector has little to
 * say. */
static size_t on_reply(char *data, size_t size, size_t count, void *context) {
  otlp_post *self = context;
  size_t bytes = size * count;
  size_t room = sizeof self->reply - self->reply_size;
  if (bytes > room) {
    return 0;
  }
  memcpy(self->reply + self->reply_size, data, bytes);
  self->reply_size += bytes;
  return bytes;
}

static void set_up(otlp_post *self) {
  CURL *easy = self->easy;
  const otlp_settings *settings = self->settings;
  (void)curl_easy_setopt(easy, CURLOPT_URL, settings->url);
  (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT,
                         1L); /* do not wait for a name server at the end */
  (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
  (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, self->problem);
  (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "rerankd/" RERANKD_VERSION);
  (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
  (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, self);
  if (settings->ca_file[0] != '\0') {
    (void)curl_easy_setopt(easy, CURLOPT_CAINFO, settings->ca_file);
  }
}

rr_status otlp_post_create(const otlp_settings *settings, otlp_post **ret_post, rr_error *err) {
  otlp_post *self = rr_calloc(1, sizeof *self);
  if (self != NULL && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) {
    self->settings = settings;
    self->multi = curl_multi_init();
    self->easy = curl_easy_init();
  }
  if (self == NULL || self->multi == NULL || self->easy == NULL ||
      !make_headers(settings, false, &self->headers) ||
      !make_headers(settings, true, &self->packed)) {
    otlp_post_destroy(self);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for sending spans");
  }
  set_up(self);
  *ret_post = self;
  return RR_OK;
}

void otlp_post_destroy(otlp_post *post) {
  if (post == NULL) {
    return;
  }
  curl_easy_cleanup(post->easy);
  (void)curl_multi_cleanup(post->multi);
  curl_slist_free_all(post->headers);
  curl_slist_free_all(post->packed);
  rr_free(post);
}

void otlp_post_hurry(otlp_post *post, uint64_t until) {
  atomic_store(&post->hurry, until);
  (void)curl_multi_wakeup(post->multi);
}

otlp_outcome otlp_judge(long status) {
  if (status >= 200 && status < 300) {
    return OTLP_DONE;
  }
  return status == 429 || status == 502 || status == 503 || status == 504 ? OTLP_AGAIN
                                                                          : OTLP_REFUSED;
}

uint64_t otlp_rejected(const char *body, size_t size) {
  json_t *reply = NULL;
  if (size == 0 || rr_json_parse(body, size, REPLY_VALUES_MAX, &reply, NULL) != RR_OK) {
    return 0;
  }
  const json_t *number = json_object_get(json_object_get(reply, "partialSuccess"), "rejectedSpans");
  long long rejected = json_is_integer(number)  ? json_integer_value(number)
                       : json_is_string(number) ? strtoll(json_string_value(number), NULL, 10)
                                                : 0;
  json_decref(reply);
  return rejected > 0 ? (uint64_t)rejected : 0;
}

/* Milliseconds left; 0: the time is over. */
static uint64_t left(const otlp_post *self, uint64_t until) {
  uint64_t hurry = atomic_load(&self->hurry);
  uint64_t end = hurry != 0 && hurry < until ? hurry : until;
  uint64_t now = clock_now();
  return now >= end ? 0 : (end - now + NS_PER_MS - 1) / NS_PER_MS;
}

/* Whether it ended in time; then *ret_code is how. */
static bool perform(otlp_post *self, uint64_t until, CURLcode *ret_code) {
  int running = 1;
  uint64_t ms;
  while ((ms = left(self, until)) > 0 && curl_multi_perform(self->multi, &running) == CURLM_OK) {
    int messages;
    const CURLMsg *message = curl_multi_info_read(self->multi, &messages);
    if (message != NULL && message->msg == CURLMSG_DONE) {
      *ret_code = message->data.result;
      return true;
    }
    if (curl_multi_poll(self->multi, NULL, 0, (int)(ms < WAIT_MS ? ms : WAIT_MS), NULL) !=
        CURLM_OK) {
      break;
    }
  }
  return false;
}

/* Errors that the next try would meet again. */
static bool is_lasting(CURLcode code) {
  return code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
         code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
}

static otlp_outcome read_outcome(otlp_post *self, CURLcode code, otlp_reply *reply) {
  if (code == CURLE_WRITE_ERROR) {
    self->reply_size = 0;
  } else if (code != CURLE_OK) {
    (void)snprintf(reply->problem, sizeof reply->problem, "%.200s",
                   self->problem[0] != '\0' ? self->problem : curl_easy_strerror(code));
    return is_lasting(code) ? OTLP_REFUSED : OTLP_AGAIN;
  }
  curl_off_t seconds = 0;
  (void)curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &reply->status);
  (void)curl_easy_getinfo(self->easy, CURLINFO_RETRY_AFTER, &seconds);
  const curl_off_t most = 1 << 20; /* whoever waits bounds it further */
  reply->retry_after =
      seconds <= 0 ? 0 : (uint64_t)(seconds < most ? seconds : most) * 1000 * NS_PER_MS;
  otlp_outcome outcome = otlp_judge(reply->status);
  if (outcome == OTLP_DONE) {
    reply->rejected = otlp_rejected(self->reply, self->reply_size);
  } else {
    (void)snprintf(reply->problem, sizeof reply->problem, "it answers with status %ld",
                   reply->status);
  }
  return outcome;
}

otlp_outcome otlp_post_send(otlp_post *self, const char *body, size_t size, bool packed,
                            uint64_t until, otlp_reply *ret_reply) {
  CURLcode code;
  *ret_reply = (otlp_reply){.status = 0};
  self->problem[0] = '\0';
  self->reply_size = 0;
  (void)curl_easy_setopt(self->easy, CURLOPT_HTTPHEADER, packed ? self->packed : self->headers);
  (void)curl_easy_setopt(self->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
  (void)curl_easy_setopt(self->easy, CURLOPT_POSTFIELDS, body);
  otlp_outcome outcome = OTLP_AGAIN;
  if (curl_multi_add_handle(self->multi, self->easy) != CURLM_OK) {
    (void)snprintf(ret_reply->problem, sizeof ret_reply->problem, "libcurl takes no request");
    return OTLP_AGAIN;
  }
  if (perform(self, until, &code)) {
    outcome = read_outcome(self, code, ret_reply);
  } else {
    (void)snprintf(ret_reply->problem, sizeof ret_reply->problem, "it does not answer in time");
  }
  (void)curl_multi_remove_handle(
      self->multi, self->easy); /* the connection stays with `multi`, if it is whole */
  return outcome;
}
