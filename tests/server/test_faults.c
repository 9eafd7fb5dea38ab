/* The whole server in this process, on the golden cross-encoder, while allocations fail one by one. With the
 * argument `cache` it has a score cache, and knows all or half of what is asked. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "server/app.h"
#include "server/log.h"

enum { REPLY_BYTES = 1 << 16, FAULTS_MAX = 2000, WAIT_SECONDS = 60, CACHE_BYTES = 1 << 17 };

static const char rerank_request[] =
    "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    "Content-Length: 85\r\n\r\n"
    "{\"query\":\"water and stone\",\"texts\":[\"a river\",\"a mountain of stone\"],\"return_text\":1}";
static const char documents_request[] =
    "POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    "x-request-id: fixed\r\nOrigin: http://x\r\nContent-Length: 136\r\n\r\n"
    "{\"query\":\"water and stone\",\"documents\":[\"a river\",{\"title\":\"hill\",\"text\":\"a mountain\"}],"
    "\"rank_fields\":[\"title\"],\"return_documents\":true}";
static const char health_request[] = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

static options chosen;
static pthread_t server;
static char model[4096];
static char expected[REPLY_BYTES]; /* the body of a reply without faults */
static char reply[REPLY_BYTES];
static char under_fault[REPLY_BYTES];

static int connect_to_server(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)chosen.port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const struct timeval patience = {.tv_sec = WAIT_SECONDS};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(fd >= 0);
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    (void)close(fd);
    return -1;
  }
  return fd;
}

/* Sends a request and reads to the end. Returns the status, 0 if the connection was closed without a
 * reply, -1 if nobody listens; the body goes to `reply`. */
static int exchange(const char *request) {
  int fd = connect_to_server();
  if (fd < 0) {
    return -1;
  }
  size_t size = 0;
  if (send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request)) {
    ssize_t got;
    while (size < sizeof reply - 1 && (got = recv(fd, reply + size, sizeof reply - 1 - size, 0)) > 0) {
      size += (size_t)got;
    }
  }
  (void)close(fd);
  reply[size] = '\0';
  int status = 0;
  if (size == 0 || sscanf(reply, "HTTP/1.1 %d", &status) != 1) {
    return 0;
  }
  const char *body = strstr(reply, "\r\n\r\n");
  assert_non_null(body);
  memmove(reply, body + 4, strlen(body + 4) + 1);
  return status;
}

static void *serve(void *unused) {
  (void)unused;
  return (void *)(intptr_t)app_run(&chosen);
}

static unsigned free_port(void) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
  (void)close(fd);
  return ntohs(address.sin_port);
}

static int start_server(void **state) {
  (void)state;
  const char *golden = getenv("RR_GOLDEN");
  if (golden == NULL) {
    return -1;
  }
  rr_json_init();
  (void)snprintf(model, sizeof model, "%s/score/cross-encoder", golden);
  chosen = (options){.model_id = model, .hostname = "127.0.0.1", .port = free_port(), .threads = 2,
                     .tokenization_workers = 2, .max_concurrent_requests = 8, .max_batch_tokens = 512,
                     .max_client_batch_size = 10, .payload_limit = 10000, .client_timeout = 300,
                     .auto_truncate = true, .cache_bytes = chosen.cache_bytes,
                     .log_level = LOG_LEVEL_ERROR,
                     /* The test's own process is not to be confined. */
                     .user = geteuid() == 0 ? "root" : NULL, .seccomp = OPTION_OFF, .core_dumps = true};
  log_configure(LOG_LEVEL_ERROR, false);
  if (pthread_create(&server, NULL, serve, NULL) != 0) {
    return -1;
  }
  for (int i = 0; i < WAIT_SECONDS * 50; i++) {
    if (exchange(health_request) == 200) {
      return exchange(rerank_request) == 422 ? 0 : -1; /* return_text must be a boolean */
    }
    (void)usleep(20000);
  }
  return -1;
}

static int stop_server(void **state) {
  (void)state;
  void *status = (void *)1;
  (void)kill(getpid(), SIGTERM);
  (void)pthread_join(server, &status);
  log_stop();
  return status == NULL ? 0 : -1;
}

/* The request with its flag made valid, of the same length. */
static const char *good_request(void) {
  static char request[sizeof rerank_request];
  memcpy(request, rerank_request, sizeof request);
  char *flag = strstr(request, ",\"return_text\":1}");
  memcpy(flag, "                }", 17);
  return request;
}

/* The same with a first text that was never asked for. */
static const char *changed_request(void) {
  static char request[sizeof rerank_request];
  static unsigned number;
  char text[8];
  memcpy(request, good_request(), sizeof request);
  (void)snprintf(text, sizeof text, "r%06u", ++number % 1000000);
  memcpy(strstr(request, "a river"), text, 7);
  return request;
}

typedef struct fault {
  int sticky;
  bool documents;
  const char *refusal; /* what the body of a 503 holds */
  bool changing;       /* one text is another each time */
} fault;

static void a_reply_is_right_or_an_error_whichever_allocation_fails(void **state) {
  const fault *which = *state;
  int sticky = which->sticky;
  const char *request = which->documents ? documents_request : good_request();
  assert_int_equal(exchange(request), 200);
  memcpy(expected, reply, sizeof expected);
  int refused = 0;
  unsigned long n = 1;
  for (; n < FAULTS_MAX; n++) {
    request = which->changing ? changed_request() : request;
    rr_alloc_fail_at(n, sticky);
    int status = exchange(request);
    unsigned long asked = rr_alloc_count();
    rr_alloc_fail_at(0, 0);
    assert_true(status == 200 || status == 503 || status == 0);
    if (status == 200) {
      memcpy(under_fault, reply, sizeof reply);
    } else if (status == 503) {
      assert_non_null(strstr(reply, which->refusal));
    }
    refused += status != 200;
    /* Nobody else is harmed. */
    assert_int_equal(exchange(request), 200);
    if (!which->changing) {
      assert_string_equal(reply, expected);
    }
    if (status == 200) {
      assert_string_equal(under_fault, reply);
    }
    if (asked < n) {
      break; /* the request needed fewer allocations than that */
    }
  }
  assert_true(n < FAULTS_MAX);
  assert_true(refused > 10);
}

int main(int argc, char **argv) {
  static fault faults[] = {{0, false, "\"error_type\":\"Overloaded\"", false},
                           {1, false, "\"error_type\":\"Overloaded\"", false},
                           {0, true, "\"code\":503", false},
                           {1, true, "\"code\":503", false},
                           {0, false, "\"error_type\":\"Overloaded\"", true},
                           {1, false, "\"error_type\":\"Overloaded\"", true}};
  chosen.cache_bytes = argc > 1 && strcmp(argv[1], "cache") == 0 ? CACHE_BYTES : 0;
  const struct CMUnitTest tests[] = {
      {"a_reply_is_right_or_an_error_when_one_allocation_fails",
       a_reply_is_right_or_an_error_whichever_allocation_fails, NULL, NULL, &faults[0]},
      {"a_reply_is_right_or_an_error_when_every_allocation_from_one_on_fails",
       a_reply_is_right_or_an_error_whichever_allocation_fails, NULL, NULL, &faults[1]},
      {"documents_are_ranked_or_an_error_when_one_allocation_fails",
       a_reply_is_right_or_an_error_whichever_allocation_fails, NULL, NULL, &faults[2]},
      {"documents_are_ranked_or_an_error_when_every_allocation_from_one_on_fails",
       a_reply_is_right_or_an_error_whichever_allocation_fails, NULL, NULL, &faults[3]},
      {"texts_not_met_before_are_ranked_or_an_error_when_one_allocation_fails",
       a_reply_is_right_or_an_error_whichever_allocation_fails, NULL, NULL, &faults[4]},
      {"texts_not_met_before_are_ranked_or_an_error_when_every_allocation_from_one_on_fails",
       a_reply_is_right_or_an_error_whichever_allocation_fails, NULL, NULL, &faults[5]},
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
