/* Spans on their way: the queue and its thread against a collector in this process, which is slow,
 * failing, or gone. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "server/base/clock.h"
#include "server/http/coding.h"
#include "server/observe/log.h"
#include "server/otlp/json.h"
#include "server/otlp/otlp.h"

enum { BODY_MAX = 2 << 20, POSTS_MAX = 256, PHASES = 3, SPANS = 1 + PHASES, SLACK_MS = 2500 };

/* What the collector does, and what it has seen. */
static struct {
  int listening;
  int port;
  pthread_t thread;
  atomic_bool stopping;
  const char *const
      *replies; /* one a post, the last one for all others; NULL in it: no answer at all */
  atomic_size_t posts;
  size_t spans;           /* of all posts, whatever was answered */
  uint64_t at[POSTS_MAX]; /* when they came */
  bool packed;
  bool with_key;
  char body[BODY_MAX];
} collector;

#define REPLY(status, more, body, length)                                                          \
  "HTTP/1.1 " status "\r\n" more "Content-Length: " length "\r\nConnection: close\r\n\r\n" body

static const char good[] = REPLY("200 OK", "", "{}", "2");

/* The body of one request; its size, or 0 at the end of the connection. */
static size_t read_request(int fd) {
  char head[8192];
  size_t used = 0;
  char *end = NULL;
  while (end == NULL && used + 1 < sizeof head) {
    ssize_t got = recv(fd, head + used, sizeof head - 1 - used, 0);
    if (got <= 0) {
      return 0;
    }
    used += (size_t)got;
    head[used] = '\0';
    end = strstr(head, "\r\n\r\n");
  }
  const char *length = strstr(head, "Content-Length: ");
  collector.packed = strstr(head, "Content-Encoding: gzip") != NULL;
  collector.with_key = strstr(head, "api-key: secret\r\n") != NULL;
  size_t size = length == NULL ? 0 : strtoul(length + 16, NULL, 10);
  size_t have = end == NULL ? 0 : used - (size_t)(end + 4 - head);
  if (size > BODY_MAX || have > size) {
    return 0;
  }
  memcpy(collector.body, end + 4, have);
  while (have < size) {
    ssize_t got = recv(fd, collector.body + have, size - have, 0);
    if (got <= 0) {
      return 0;
    }
    have += (size_t)got;
  }
  return size;
}

static size_t count_spans(size_t size) {
  char *unpacked = NULL;
  const char *body = collector.body;
  if (collector.packed &&
      coding_decode(CODING_GZIP, body, size, BODY_MAX, NULL, &unpacked, &size) != CODING_OK) {
    return 0;
  }
  size_t n = 0;
  const char *end = (unpacked != NULL ? unpacked : body) + size;
  for (const char *at = unpacked != NULL ? unpacked : body;
       (at = memmem(at, (size_t)(end - at), "\"traceId\"", 9)) != NULL; at++) {
    n++;
  }
  free(unpacked);
  return n;
}

static void *collect(void *unused) {
  (void)unused;
  int fd;
  while ((fd = accept(collector.listening, NULL, NULL)) >= 0) {
    size_t size = atomic_load(&collector.stopping) ? 0 : read_request(fd);
    if (size > 0) {
      const char *const *replies = collector.replies;
      size_t last = 0;
      while (replies[last + 1] != NULL && last < collector.posts) {
        last++;
      }
      collector.at[collector.posts % POSTS_MAX] = clock_now();
      atomic_fetch_add(&collector.posts, 1);
      collector.spans += count_spans(size);
      (void)!write(fd, replies[last], strlen(replies[last]));
      if (replies[last][0] == '\0') { /* silence, until the other side gives up */
        char byte;
        (void)!read(fd, &byte, 1);
      }
    }
    (void)close(fd);
    if (atomic_load(&collector.stopping)) {
      break;
    }
  }
  return NULL;
}

static otlp_settings settings;

static void listen_somewhere(void) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  collector.listening = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(collector.listening, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(collector.listening, 16), 0);
  assert_int_equal(getsockname(collector.listening, (struct sockaddr *)&address, &size), 0);
  collector.port = ntohs(address.sin_port);
  settings = (otlp_settings){.on = true, .bound = TRACE_RATIO_ONE, .n_headers = 1};
  (void)snprintf(settings.url, sizeof settings.url, "http://127.0.0.1:%d/v1/traces",
                 collector.port);
  (void)strcpy(settings.headers[0], "api-key: secret");
}

/* `replies` ends with NULL. */
static void start_collector(const char *const *replies) {
  collector.posts = 0;
  collector.spans = 0;
  collector.replies = replies;
  atomic_store(&collector.stopping, false);
  listen_somewhere();
  assert_int_equal(pthread_create(&collector.thread, NULL, collect, NULL), 0);
}

static void stop_collector(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)collector.port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  atomic_store(&collector.stopping, true);
  int fd = socket(AF_INET, SOCK_STREAM, 0); /* wakes accept */
  (void)connect(fd, (struct sockaddr *)&address, sizeof address);
  (void)close(fd);
  (void)pthread_join(collector.thread, NULL);
  (void)close(collector.listening);
}

static otlp *exporter(void) {
  otlp *self = NULL;
  assert_int_equal(otlp_create(&settings, &self, NULL), RR_OK);
  return self;
}

static void offer(otlp *self, size_t n) {
  otlp_record record = {.trace = "0af7651916cd43dd8448eb211c80319c",
                        .span = "00f067aa0ba902b7",
                        .begin = 1,
                        .end = 2,
                        .method = "POST",
                        .path = "/rerank",
                        .routed = true,
                        .status = 200,
                        .request_id = "x",
                        .n_phases = PHASES};
  for (size_t i = 0; i < PHASES; i++) {
    record.phases[i] = (otlp_phase){.name = "phase", .begin = 1, .end = 2};
  }
  for (size_t i = 0; i < n; i++) {
    otlp_offer(self, &record);
  }
}

static otlp_stats wait_for(otlp *self, uint64_t spans) {
  otlp_stats stats;
  for (int i = 0; i < 2000; i++) {
    otlp_read_stats(self, &stats);
    if (stats.exported + stats.dropped + stats.failed >= spans) {
      break;
    }
    (void)usleep(10000);
  }
  assert_int_equal(stats.exported + stats.dropped + stats.failed, spans);
  return stats;
}

/* Ends it; how long that took, in ms. */
static uint64_t end(otlp *self) {
  uint64_t begin = clock_now();
  otlp_destroy(self);
  return (clock_now() - begin) / 1000000;
}

static void a_batch_is_sent_when_it_is_full_or_old(void **state) {
  (void)state;
  static const char *const replies[] = {good, NULL};
  start_collector(replies);
  otlp *self = exporter();
  assert_true(otlp_start(self));
  offer(self, 1); /* alone, and yet it goes */
  assert_int_equal(wait_for(self, SPANS).exported, SPANS);
  offer(self, 3 * OTLP_BATCH_RECORDS);
  assert_int_equal(wait_for(self, SPANS * (1 + 3 * OTLP_BATCH_RECORDS)).exported,
                   SPANS * (1 + 3 * OTLP_BATCH_RECORDS));
  (void)end(self);
  stop_collector();
  assert_int_equal(collector.posts, 4);
  assert_int_equal(collector.spans, SPANS * (1 + 3 * OTLP_BATCH_RECORDS));
  assert_true(collector.with_key);
  assert_false(collector.packed);
}

static void what_is_queued_at_the_end_is_sent(void **state) {
  (void)state;
  static const char *const replies[] = {good, NULL};
  start_collector(replies);
  settings.gzip = true;
  otlp *self = exporter();
  assert_true(otlp_start(self));
  offer(self, 3 * OTLP_BATCH_RECORDS + 5);
  assert_true(end(self) < OTLP_LAST_SECONDS * 1000 + SLACK_MS);
  stop_collector();
  assert_int_equal(collector.spans, SPANS * (3 * OTLP_BATCH_RECORDS + 5));
  assert_true(collector.packed);
}

static void a_full_queue_drops_and_counts(void **state) {
  (void)state;
  static const char *const replies[] = {good, NULL};
  otlp_stats stats;
  start_collector(replies);
  otlp *self = exporter();
  offer(self, OTLP_QUEUE_RECORDS + 10);
  otlp_read_stats(self, &stats);
  assert_int_equal(stats.dropped, 10 * SPANS);
  assert_true(otlp_start(self));
  stats = wait_for(self, SPANS * (OTLP_QUEUE_RECORDS + 10));
  assert_int_equal(stats.exported, SPANS * OTLP_QUEUE_RECORDS);
  assert_int_equal(stats.dropped, 10 * SPANS);
  offer(self, 7); /* around the ring's end */
  assert_int_equal(wait_for(self, SPANS * (OTLP_QUEUE_RECORDS + 17)).exported,
                   SPANS * (OTLP_QUEUE_RECORDS + 7));
  (void)end(self);
  stop_collector();
}

static void a_batch_comes_again_when_the_collector_says_so(void **state) {
  (void)state;
  static const char *const replies[] = {REPLY("503 Busy", "Retry-After: 1\r\n", "", "0"),
                                        REPLY("429 Many", "", "", "0"),
                                        REPLY("502 Bad", "", "", "0"), good, NULL};
  start_collector(replies);
  otlp *self = exporter();
  assert_true(otlp_start(self));
  offer(self, OTLP_BATCH_RECORDS);
  assert_int_equal(wait_for(self, SPANS * OTLP_BATCH_RECORDS).exported, SPANS * OTLP_BATCH_RECORDS);
  (void)end(self);
  stop_collector();
  assert_int_equal(collector.posts, 4);
  assert_true(collector.at[1] - collector.at[0] >= 1000000000u);
}

static void a_batch_that_is_refused_is_given_up(void **state) {
  (void)state;
  static const char *const replies[] = {
      REPLY("400 Bad", "", "no", "2"),
      REPLY("302 Found", "Location: /\r\n", "", "0"),
      REPLY("200 OK", "", "{\"partialSuccess\":{\"rejectedSpans\":\"5\"}}", "40"),
      REPLY("200 OK", "", "{\"partialSuccess\":{\"rejectedSpans\":\"99999\"}}", "44"),
      "garbage\r\n\r\n",
      REPLY("500 Broken", "", "", "0"),
      NULL};
  enum { BATCH_SPANS = SPANS * OTLP_BATCH_RECORDS };
  start_collector(replies);
  otlp *self = exporter();
  assert_true(otlp_start(self));
  static const uint64_t failed[] = {BATCH_SPANS, BATCH_SPANS, 5,
                                    BATCH_SPANS, BATCH_SPANS, BATCH_SPANS};
  uint64_t sum = 0;
  for (size_t i = 0; i < sizeof failed / sizeof failed[0]; i++) {
    sum += failed[i];
    offer(self, OTLP_BATCH_RECORDS);
    assert_int_equal(wait_for(self, (i + 1) * BATCH_SPANS).failed, sum);
  }
  (void)end(self);
  stop_collector();
  assert_int_equal(collector.posts, 6);
}

static void a_silent_collector_does_not_keep_the_end_waiting(void **state) {
  (void)state;
  static const char *const replies[] = {"", NULL};
  start_collector(replies);
  otlp *self = exporter();
  assert_true(otlp_start(self));
  offer(self, 3 * OTLP_BATCH_RECORDS);
  while (collector.posts == 0) {
    (void)usleep(1000);
  }
  assert_true(end(self) < OTLP_LAST_SECONDS * 1000 + SLACK_MS);
  stop_collector();
}

static void a_collector_that_is_not_there_costs_its_spans_alone(void **state) {
  (void)state;
  listen_somewhere();
  (void)close(collector.listening); /* nobody else takes the port so soon */
  otlp *self = exporter();
  assert_true(otlp_start(self));
  offer(self, OTLP_QUEUE_RECORDS);
  uint64_t begin = clock_now();
  offer(self, 2 * OTLP_QUEUE_RECORDS);
  assert_true(clock_now() - begin < 1000000000u); /* copies, and nothing that waits for anybody */
  otlp_stats stats;
  otlp_read_stats(self, &stats);
  assert_true(stats.dropped >= SPANS * (OTLP_QUEUE_RECORDS - OTLP_BATCH_RECORDS));
  assert_int_equal(stats.exported, 0);
  assert_true(end(self) < OTLP_LAST_SECONDS * 1000 + SLACK_MS);
}

static void without_memory_spans_are_dropped_and_counted(void **state) {
  (void)state;
  static const char *const replies[] = {REPLY("200 OK", "", "{\"partialSuccess\":{}}", "21"), NULL};
  start_collector(replies);
  settings.gzip = true;
  for (unsigned long n = 1;; n++) {
    otlp *self = NULL;
    rr_alloc_fail_at(n, 0);
    rr_status status = otlp_create(&settings, &self, NULL);
    bool reached = rr_alloc_count() >= n;
    rr_alloc_fail_at(0, 0);
    assert_int_equal(status, reached ? RR_ERR_MEMORY : RR_OK);
    otlp_destroy(self);
    if (!reached) {
      assert_true(n > 3);
      break;
    }
  }
  uint64_t dropped = 0;
  for (unsigned long n = 1; n < 50; n++) {
    otlp *self = exporter();
    otlp_stats stats;
    offer(self, OTLP_BATCH_RECORDS);
    rr_alloc_fail_at(n, 0);
    assert_true(otlp_start(self));
    stats = wait_for(self, SPANS * OTLP_BATCH_RECORDS);
    assert_int_equal(stats.failed, 0);
    dropped += stats.dropped;
    offer(self, OTLP_BATCH_RECORDS); /* the next batch is none the worse */
    bool reached = rr_alloc_count() >= n;
    rr_alloc_fail_at(0, 0);
    (void)wait_for(self, 2 * SPANS * OTLP_BATCH_RECORDS);
    (void)end(self);
    if (!reached) {
      break;
    }
    assert_true(n < 49);
  }
  assert_true(dropped > 0);
  stop_collector();
}

int main(void) {
  rr_json_init();
  (void)signal(SIGPIPE, SIG_IGN);
  log_configure(LOG_LEVEL_ERROR, false);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_batch_is_sent_when_it_is_full_or_old),
      cmocka_unit_test(what_is_queued_at_the_end_is_sent),
      cmocka_unit_test(a_full_queue_drops_and_counts),
      cmocka_unit_test(a_batch_comes_again_when_the_collector_says_so),
      cmocka_unit_test(a_batch_that_is_refused_is_given_up),
      cmocka_unit_test(a_silent_collector_does_not_keep_the_end_waiting),
      cmocka_unit_test(a_collector_that_is_not_there_costs_its_spans_alone),
      cmocka_unit_test(without_memory_spans_are_dropped_and_counted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
