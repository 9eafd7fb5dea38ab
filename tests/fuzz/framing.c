/* Heads and chunks of HTTP/1, as clients send them.
 *
 * Input: a head and what is behind it; the same bytes are taken for a body in chunks too. Whatever
 * comes in pieces must be
 * taken as it is whole, and what libmicrohttpd is given must be a head that says the same and
 * frames no body. */
#include <stdlib.h>
#include <string.h>

#include "server/http/chunks.h"
#include "server/http/head.h"
#include "tests/fuzz/fuzz.h"

void fuzz_set_up(void) {}

/* Looks as bytes come in pieces of `step`. */
static http_found find(const char *data, size_t size, size_t step, size_t *ret_skip,
                       size_t *ret_size) {
  size_t scanned = 0;
  http_fault fault = {.text = ""};
  http_found found = HTTP_FOUND_NONE;
  for (size_t n = step; found == HTTP_FOUND_NONE; n += step) {
    size_t there = n < size ? n : size;
    found = http_head_find(data, there, &scanned, ret_skip, ret_size, &fault);
    if (there == size) {
      break;
    }
  }
  fuzz_require(found != HTTP_FOUND_FAULT ||
                   (fault.problem != HTTP_NO_PROBLEM && fault.text[0] != '\0'),
               "a fault without a text");
  return found;
}

static void take_written(const http_head *head, const char *data, size_t size) {
  char *text = malloc(HTTP_TEXT_MAX);
  size_t length = http_head_write(head, data, size, text);
  fuzz_require(length <= HTTP_TEXT_MAX, "more than its room");
  fuzz_require(memchr(text, '\0', length) == NULL, "a NUL");
  size_t skip;
  size_t found;
  http_head again;
  http_fault fault;
  fuzz_require(find(text, length, length, &skip, &found) == HTTP_FOUND_HEAD && skip == 0 &&
                   found == length,
               "another request behind the head");
  fuzz_require(http_head_parse(text, length, &again, &fault), "a head that is refused");
  fuzz_require(strcmp(again.method, head->method) == 0 && again.path_size == head->path_size &&
                   memcmp(again.path, head->path, head->path_size) == 0 && again.old == head->old &&
                   again.closes == head->closes,
               "another request");
  fuzz_require(again.framing == HTTP_NO_BODY && !again.expects, "a body");
  free(text);
}

static void take_refused(const http_head *head, const http_fault *fault) {
  fuzz_require(fault->problem != HTTP_NO_PROBLEM && fault->text != NULL, "a fault without a text");
  char *text = malloc(HTTP_TEXT_MAX);
  size_t length = http_head_write_refused(head, text);
  fuzz_require(length <= HTTP_TEXT_MAX, "more than its room");
  free(text);
}

static void take_head(const char *data, size_t size) {
  size_t skip;
  size_t length;
  size_t other_skip;
  size_t other_length;
  http_found found = find(data, size, size == 0 ? 1 : size, &skip, &length);
  http_found slow = find(data, size, 1, &other_skip, &other_length);
  fuzz_require(found == slow, "pieces make a difference");
  if (found != HTTP_FOUND_HEAD) {
    return;
  }
  fuzz_require(skip == other_skip && length == other_length && length <= size,
               "pieces make a difference");
  http_head head;
  http_fault fault = {.problem = HTTP_NO_PROBLEM};
  if (http_head_parse(data + skip, length - skip, &head, &fault)) {
    take_written(&head, data + skip, length - skip);
  } else {
    take_refused(&head, &fault);
  }
}

typedef struct decoded {
  char *data;
  size_t size;
  size_t used;
  http_chunks_result result;
} decoded;

static decoded decode(const char *data, size_t size, size_t step) {
  decoded out = {.data = malloc(size + 1), .result = CHUNKS_MORE};
  http_chunks self = {.state = CHUNK_SIZE_FIRST};
  while (out.used < size && (out.result == CHUNKS_MORE || out.result == CHUNKS_DATA)) {
    size_t used;
    const char *piece;
    size_t length;
    const char *text = NULL;
    size_t most = size - out.used < step ? size - out.used : step;
    out.result = http_chunks_next(&self, data + out.used, most, &used, &piece, &length, &text);
    fuzz_require(used <= most, "more than there is");
    fuzz_require(out.result != CHUNKS_BROKEN || text != NULL, "a fault without a text");
    out.used += used;
    if (out.result == CHUNKS_DATA) {
      memcpy(out.data + out.size, piece, length);
      out.size += length;
    }
  }
  return out;
}

static void take_chunks(const char *data, size_t size) {
  decoded whole = decode(data, size, size);
  decoded slow = decode(data, size, 1);
  bool ended = whole.result == CHUNKS_END || whole.result == CHUNKS_BROKEN;
  fuzz_require(!ended || (whole.result == slow.result && whole.used == slow.used),
               "pieces make a difference");
  fuzz_require(whole.size == slow.size && memcmp(whole.data, slow.data, whole.size) == 0,
               "other content in pieces");
  free(whole.data);
  free(slow.data);
}

void fuzz_input(const uint8_t *data, size_t size) {
  take_head((const char *)data, size);
  take_chunks((const char *)data, size);
}
