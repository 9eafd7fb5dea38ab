/* The whole server in this process, on the golden cross-encoder, while allocations fail one by one.
 * With the argument `cache` it has a score cache, and knows all or half of what is asked, with
 * `shared` a shared one too; with `documents` the model is a bi-encoder, whose documents are kept,
 * and with `documents-file` in a file too. */
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
#include "redis_stub.h"
#include "server/app.h"
#include "server/cache/document_cache.h"
#include "server/http/coding.h"
#include "server/observe/log.h"
#include "tests/slow.h"

enum {
  REQUEST_BYTES = 1 << 15,
  REPLY_BYTES = 1 << 16,
  FAULTS_MAX = 2000,
  WAIT_SECONDS = 60,
  CACHE_BYTES = 1 << 17
};

static const char two_texts[] = "{\"query\":\"water and stone\",\"texts\":[\"a river\",\"a "
                                "mountain of stone\"],\"return_text\":true}";
static const char two_documents[] = "{\"query\":\"water and stone\",\"documents\":[\"a "
                                    "river\",{\"title\":\"hill\",\"text\":\"a mountain\"}],"
                                    "\"rank_fields\":[\"title\"],\"return_documents\":true}";
static const char probe_request[] = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

static options chosen;
static bool keeps;                                   /* documents */
static char folder[] = "/tmp/rerankd-faults-XXXXXX"; /* of their file, where there is one */
static char documents[64];
static bool shares;
static char redis_stub_url[64];
static pthread_t server;
static char model[4096];
static char expected[REPLY_BYTES]; /* the body of a reply without faults */
static char received[REPLY_BYTES];
static char reply[REPLY_BYTES];
static char under_fault[REPLY_BYTES];
static size_t reply_size;

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

typedef struct request {
  char data[REQUEST_BYTES];
  size_t size;
} request;

/* POSTs a body, packed where a coding is named. */
static void make_request(const char *path, const char *body, coding packed, request *ret_request) {
  size_t size = strlen(body);
  char *bytes = NULL;
  if (packed != CODING_IDENTITY) {
    bytes = coding_encode(packed, body, size, &size);
    assert_non_null(bytes);
  }
  int head = snprintf(
      ret_request->data, sizeof ret_request->data,
      "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
      "x-request-id: fixed\r\nOrigin: http://x\r\nAccept-Encoding: %s\r\n%s%s%s"
      "Content-Length: %zu\r\n\r\n",
      path, packed == CODING_IDENTITY ? "identity" : coding_name(packed),
      packed == CODING_IDENTITY ? "" : "Content-Encoding: ",
      packed == CODING_IDENTITY ? "" : coding_name(packed), packed == CODING_IDENTITY ? "" : "\r\n",
      size);
  assert_true(head > 0 && (size_t)head + size < sizeof ret_request->data);
  memcpy(ret_request->data + head, bytes != NULL ? bytes : body, size);
  ret_request->size = (size_t)head + size;
  rr_free(bytes);
}

/* The second in which it was made may differ. */
static void mask_created(char *body, size_t size) {
  static const char member[] = "\"created\":";
  char *at = memmem(body, size, member, sizeof member - 1);
  for (at = at == NULL ? NULL : at + sizeof member - 1; at != NULL && *at >= '0' && *at <= '9';
       at++) {
    *at = '0';
  }
}

/* Sends a request and reads to the end. Returns the status, 0 if the connection was closed without
 * a reply, -1 if nobody listens; the body goes to `reply`. */
static int exchange(const char *sent, size_t sent_size) {
  int fd = connect_to_server();
  if (fd < 0) {
    return -1;
  }
  size_t size = 0;
  if (send(fd, sent, sent_size, MSG_NOSIGNAL) == (ssize_t)sent_size) {
    ssize_t got;
    while (size < sizeof received - 1 &&
           (got = recv(fd, received + size, sizeof received - 1 - size, 0)) > 0) {
      size += (size_t)got;
    }
  }
  (void)close(fd);
  received[size] = '\0';
  int status = 0;
  if (size == 0 || sscanf(received, "HTTP/1.1 %d", &status) != 1) {
    return 0;
  }
  const char *body = strstr(received, "\r\n\r\n");
  assert_non_null(body);
  reply_size = (size_t)(received + size - (body + 4));
  memcpy(reply, body + 4, reply_size + 1);
  mask_created(reply, reply_size);
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
  (void)snprintf(redis_stub_url, sizeof redis_stub_url, "redis://127.0.0.1:%u",
                 shares ? redis_stub_start() : 0);
  (void)snprintf(model, sizeof model, "%s/score/%s", golden,
                 keeps ? "bi-encoder-mean" : "cross-encoder");
  chosen = (options){.model_id = model,
                     .hostname = "127.0.0.1",
                     .port = free_port(),
                     .threads = 2,
                     .tokenization_workers = 2,
                     .max_concurrent_requests = 8,
                     .max_batch_tokens = 512,
                     .max_client_batch_size = 10,
                     .payload_limit = 20000,
                     .idle_timeout = 75,
                     .client_timeout = 60,
                     .auto_truncate = true,
                     .cache_bytes = chosen.cache_bytes,
                     .shared_cache = shares ? redis_stub_url : NULL,
                     .shared_cache_prefix = "",
                     .shared_cache_timeout_ms = 1000,
                     .shared_cache_ttl = 60,
                     .scoring = RR_SCORING_AUTO,
                     .document_cache_bytes = keeps ? DOCUMENT_CACHE_BYTES_MIN : 0,
                     .documents = documents[0] == '\0' ? NULL : documents,
                     .documents_bytes = DOCUMENT_FILE_BYTES_MIN,
                     .log_level = LOG_LEVEL_INFO,
                     .json_output = true,
                     /* The test's own process is not to be confined. */
                     .user = geteuid() == 0 ? "root" : NULL,
                     .seccomp = OPTION_OFF,
                     .core_dumps = true};
  log_configure(LOG_LEVEL_INFO, true);
  if (pthread_create(&server, NULL, serve, NULL) != 0) {
    return -1;
  }
  for (int i = 0; i < WAIT_SECONDS * 50; i++) {
    if (exchange(probe_request, sizeof probe_request - 1) == 200) {
      return 0;
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
  if (documents[0] != '\0' && (unlink(documents) != 0 || rmdir(folder) != 0)) {
    return -1;
  }
  return status == NULL ? 0 : -1;
}

/* Texts of one letter again and again, so that both request and reply are worth packing. */
static const char *long_texts(void) {
  static char body[8192];
  size_t size = (size_t)snprintf(body, sizeof body, "{\"query\":\"water and stone\",\"texts\":[\"");
  memset(body + size, 'a', 4000);
  (void)snprintf(body + size + 4000, sizeof body - size - 4000,
                 "\",\"a river\"],\"return_text\":true}");
  return body;
}

/* Makes the first text of two_texts one that was never asked for. */
static void change_text(request *sent) {
  static const char before[] = "\"texts\":[\"";
  static unsigned number;
  char text[8];
  char *place = strstr(sent->data, before);
  assert_non_null(place);
  (void)snprintf(text, sizeof text, "r%06u", ++number % 1000000);
  memcpy(place + sizeof before - 1, text, 7); /* as long as "a river" */
}

typedef struct fault {
  const char *path;
  const char *body; /* NULL: long_texts */
  coding packed;
  const char *refusal; /* what the body of a 503 holds; who the dialect is may not be known yet */
  bool changing;       /* one text is another each time */
} fault;

/* Until its body is read, a request for /rerank is refused in TEI's form. */
static const fault faults[] = {
    {"/rerank", two_texts, CODING_IDENTITY, "\"error_type\":\"Overloaded\"", true},
    {"/rerank", two_texts, CODING_IDENTITY, "\"error_type\":\"Overloaded\"", false},
    {"/v1/rerank", two_documents, CODING_IDENTITY, "\"code\":503", false},
    {"/rerank", NULL, CODING_GZIP, "\"error_type\":\"Overloaded\"", false},
    {"/rerank", NULL, CODING_ZSTD, "\"error_type\":\"Overloaded\"", false},
    {"/predict", "{\"inputs\":[[\"water\",\"a river\"],[\"stone\",\"a hill\"]]}", CODING_IDENTITY,
     "\"error_type\"", false},
    {"/v2/rerank",
     "{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\",\"b\"],\"max_tokens_per_doc\":9}",
     CODING_IDENTITY, "\"code\":503", false},
    {"/rerank", "{\"query\":\"q\",\"documents\":[\"a\",\"b\"],\"top_k\":2}", CODING_IDENTITY,
     "\"error\"", false},
    {"/rerank", "{\"query\":\"q\",\"documents\":[\"a\",\"b\"]}", CODING_IDENTITY, "\"error\"",
     false},
    {"/reranking", "{\"query\":\"q\",\"documents\":[\"a\",\"b\"]}", CODING_IDENTITY, "503", false},
    {"/score", "{\"text_1\":\"q\",\"text_2\":[\"a\",\"b\"]}", CODING_IDENTITY, "503", false},
};

/* Of a bi-encoder; the first names the document that a later one asks for. */
static const fault keeping_faults[] = {
    {"/documents", "{\"documents\":[{\"id\":\"a\",\"text\":\"a river\"},\"a mountain\"]}",
     CODING_IDENTITY, "\"code\":503", false},
    {"/rerank", two_texts, CODING_IDENTITY, "\"error_type\":\"Overloaded\"", true},
    {"/rerank", two_texts, CODING_IDENTITY, "\"error_type\":\"Overloaded\"", false},
    {"/rerank", "{\"query\":\"water\",\"texts\":[\"stone\",{\"id\":\"a\"}],\"return_text\":true}",
     CODING_IDENTITY, "\"error_type\":\"Overloaded\"", false},
    {"/v1/rerank",
     "{\"query\":\"water\",\"documents\":[\"stone\",{\"id\":\"a\"}],\"return_documents\":true}",
     CODING_IDENTITY, "\"code\":503", false},
};

/* After a fault nobody else is harmed, and what came under it, if anything, was right. Where there
 * is no memory to pack a reply, it comes as it is. */
static void check_after(const fault *which, const request *sent, int status) {
  bool whole = strcmp(which->path, "/documents") !=
               0; /* what there is no memory for is told to be not kept */
  bool comparable =
      status == 200 && whole && (which->packed == CODING_IDENTITY || under_fault[0] != '[');
  size_t size = reply_size;
  assert_int_equal(exchange(sent->data, sent->size), 200);
  if (!which->changing) {
    assert_string_equal(reply, expected);
  }
  if (comparable) {
    assert_int_equal(size, reply_size);
    assert_memory_equal(under_fault, reply, size);
  }
}

static void fail_each(const fault *which, int sticky) {
  static request sent;
  make_request(which->path, which->body == NULL ? long_texts() : which->body, which->packed, &sent);
  assert_int_equal(exchange(sent.data, sent.size), 200);
  assert_int_equal(exchange(sent.data, sent.size), 200); /* all that may be known is */
  memcpy(expected, reply, sizeof expected);
  unsigned long lookups = redis_stub_lookups();
  const unsigned long step = slow_step(1, 8);
  unsigned long refused = 0;
  unsigned long n = 1;
  for (; n < FAULTS_MAX; n += step) {
    if (which->changing) {
      change_text(&sent);
    }
    rr_alloc_fail_at(n, sticky);
    int status = exchange(sent.data, sent.size);
    unsigned long asked = rr_alloc_count();
    rr_alloc_fail_at(0, 0);
    assert_true(status == 200 || status == 503 || status == 0);
    memcpy(under_fault, reply, sizeof reply);
    if (status == 503) {
      if (strstr(reply, which->refusal) == NULL) {
        fail_msg("\"%s\" instead of \"%s\"", reply, which->refusal);
      }
    }
    refused += status != 200;
    check_after(which, &sent, status);
    if (asked < n) {
      break; /* the request needed fewer allocations than that */
    }
  }
  assert_true(n < FAULTS_MAX);
  assert_true(refused * step > 10);
  /* Each new text is asked for once, unless the fault came between. */
  assert_true(!shares || !which->changing || redis_stub_lookups() - lookups > n / step / 2);
}

static void a_reply_is_right_or_an_error_when_one_allocation_fails(void **state) {
  fail_each(*state, 0);
}

static void a_reply_is_right_or_an_error_when_every_allocation_from_one_on_fails(void **state) {
  fail_each(*state, 1);
}

int main(int argc, char **argv) {
  shares = argc > 1 && strcmp(argv[1], "shared") == 0;
  chosen.cache_bytes = shares || (argc > 1 && strcmp(argv[1], "cache") == 0) ? CACHE_BYTES : 0;
  keeps = argc > 1 && strncmp(argv[1], "documents", 9) == 0;
  if (keeps && strcmp(argv[1], "documents-file") == 0) {
    (void)snprintf(documents, sizeof documents, "%s/documents",
                   mkdtemp(folder) == NULL ? "" : folder);
  }
  enum {
    FAULTS = sizeof faults / sizeof faults[0],
    KEEPING_FAULTS = sizeof keeping_faults / sizeof keeping_faults[0]
  };
  _Static_assert((int)FAULTS >= (int)KEEPING_FAULTS, "the arrays are large enough");
  static char names[2 * FAULTS][160];
  struct CMUnitTest tests[2 * FAULTS];
  int n = 2 * (keeps ? KEEPING_FAULTS : FAULTS);
  for (int i = 0; i < n; i++) {
    const fault *which = keeps ? &keeping_faults[i / 2] : &faults[i / 2];
    bool one = i % 2 == 0;
    (void)snprintf(names[i], sizeof names[i], "%s %d: a reply is right or an error when %s fails",
                   which->path, i / 2, one ? "one allocation" : "every allocation from one on");
    tests[i] = (struct CMUnitTest){
        names[i],
        one ? a_reply_is_right_or_an_error_when_one_allocation_fails
            : a_reply_is_right_or_an_error_when_every_allocation_from_one_on_fails,
        NULL, NULL, (void *)(uintptr_t)which};
  }
  return _cmocka_run_group_tests("tests", tests, (size_t)n, start_server, stop_server);
}
