/* Heads and chunks: what only a unit test shows of them. What is refused, and how, is in
 * e2e/test_framing.py; that pieces
 * make no difference, in fuzz/framing.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/http/chunks.h"
#include "server/http/head.h"

static http_head parse(const char *text) {
  http_head head;
  http_fault fault = {.text = ""};
  if (!http_head_parse(text, strlen(text), &head, &fault)) {
    print_error("%s", fault.text);
    fail();
  }
  return head;
}

static void a_head_says_how_the_body_is_framed(void **state) {
  (void)state;
  http_head head = parse(
      "POST /a HTTP/1.1\r\nhOST: a\r\ncontent-LENGTH:\t0012 \r\nExpect: 100-Continue\r\n\r\n");
  assert_int_equal(head.framing, HTTP_SIZED);
  assert_int_equal(head.body_size, 12);
  assert_true(head.expects);
  head = parse("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
  assert_int_equal(head.framing, HTTP_CHUNKED);
  head = parse("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n");
  assert_int_equal(head.framing, HTTP_NO_BODY);
  assert_false(head.expects);
}

static void a_length_beyond_all_bounds_stays_one(void **state) {
  (void)state;
  http_head head = parse(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999999999\r\n\r\n");
  assert_true(head.body_size > UINT64_MAX / 16);
}

static void versions_and_tokens_say_whether_the_connection_goes_on(void **state) {
  static const struct {
    const char *head;
    bool closes;
  } cases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false},
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, Close ,x\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: enclose\r\n\r\n", false},
      {"GET / HTTP/1.0\r\n\r\n", true},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", true},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(parse(cases[i].head).closes, cases[i].closes);
  }
}

static void assert_written(const char *given, const char *wanted) {
  char text[HTTP_TEXT_MAX];
  http_head head = parse(given);
  size_t size = http_head_write(&head, given, strlen(given), text);
  assert_int_equal(size, strlen(wanted));
  assert_memory_equal(text, wanted, size);
}

static void what_is_handed_on_is_plain_and_frames_nothing(void **state) {
  (void)state;
  assert_written("POST /a%20b?c=d HTTP/1.1\r\nHost:a\r\nX-Any: y\r\nX-Request-Id: \t b c "
                 "\t\r\nContent-Length: "
                 "3\r\nCookie: d=e\r\n"
                 "Expect: 100-continue\r\nTE: x\r\n\r\n",
                 "POST /a%20b HTTP/1.1\r\nHost:a\r\nX-Request-Id:b c\r\n\r\n");
  assert_written("GET http://h:1 HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n",
                 "GET / HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\n\r\n");
  assert_written("GET /?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                 "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
  assert_written("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n");
}

/* Parses a head of n fields with values of so many bytes. */
static bool parse_many(const char *name, int n, int bytes, http_head *head, char *given,
                       size_t *size) {
  http_fault fault;
  *size = (size_t)sprintf(given, "POST http://h/%04000d HTTP/1.0\r\nHost:a\r\n", 1);
  for (int i = 0; i < n; i++) {
    *size += (size_t)sprintf(given + *size, "%s:%0*d\r\n", name, bytes, 1);
  }
  *size += (size_t)sprintf(given + *size, "Connection:keep-alive\r\n\r\n");
  return http_head_parse(given, *size, head, &fault) || fault.problem != HTTP_HEAD_TOO_LARGE;
}

static void what_is_handed_on_is_bounded(void **state) {
  static char given[HTTP_HEAD_MAX];
  static char text[HTTP_TEXT_MAX];
  http_head head;
  size_t size;
  (void)state;
  assert_true(parse_many("tracestate", 10, 2000, &head, given, &size));
  assert_in_range(http_head_write(&head, given, size, text), 24000, HTTP_TEXT_MAX);
  assert_false(parse_many("tracestate", 11, 2000, &head, given, &size));
  assert_true(parse_many("tracestate", HTTP_HANDED_FIELDS, 1, &head, given, &size));
  assert_in_range(http_head_write(&head, given, size, text), 4000, HTTP_TEXT_MAX);
  assert_false(parse_many("tracestate", HTTP_HANDED_FIELDS + 1, 1, &head, given, &size));
  /* Nobody reads these, or values of that length. */
  assert_true(parse_many("Cookie", 30, 2000, &head, given, &size));
  assert_in_range(http_head_write(&head, given, size, text), 4000, 4200);
  assert_true(parse_many("Authorization", 20, 3000, &head, given, &size));
  assert_in_range(http_head_write(&head, given, size, text), 4000, 4200);
}

static void chunks_end_where_they_say(void **state) {
  (void)state;
  const char text[] = "3;a\r\nabc\r\n0A\r\n0123456789\r\n0\r\nB: c\r\n\r\nnext";
  http_chunks self = {.state = CHUNK_SIZE_FIRST};
  char content[64];
  size_t size = 0;
  size_t at = 0;
  for (;;) {
    size_t used;
    const char *piece;
    size_t length;
    const char *fault;
    http_chunks_result result =
        http_chunks_next(&self, text + at, strlen(text) - at, &used, &piece, &length, &fault);
    at += used;
    if (result == CHUNKS_END) {
      break;
    }
    assert_int_equal(result, CHUNKS_DATA);
    memcpy(content + size, piece, length);
    size += length;
  }
  assert_int_equal(size, 13);
  assert_memory_equal(content, "abc0123456789", 13);
  assert_string_equal(text + at, "next");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_head_says_how_the_body_is_framed),
      cmocka_unit_test(a_length_beyond_all_bounds_stays_one),
      cmocka_unit_test(versions_and_tokens_say_whether_the_connection_goes_on),
      cmocka_unit_test(what_is_handed_on_is_plain_and_frames_nothing),
      cmocka_unit_test(what_is_handed_on_is_bounded),
      cmocka_unit_test(chunks_end_where_they_say),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
