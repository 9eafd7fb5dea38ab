/* Headers: of requests (content codings, trace contexts, ids) and of a hub's answers; names of the
 * hub.
 *
 * Input: lines; each one is taken for the value of every header, and for a header line of a hub. */
#include <stdlib.h>
#include <string.h>

#include "server/http/coding.h"
#include "server/http/trace_context.h"
#include "server/models/hub/names.h"
#include "server/models/hub/reply.h"
#include "tests/fuzz/fuzz.h"

void fuzz_set_up(void) {}

static void take_value(const char *value) {
  char id[TRACE_ID_BYTES];
  char trace[TRACE_CONTEXT_BYTES];
  char parent[TRACE_PARENT_BYTES];
  trace_request_id(value, id);
  fuzz_require(id[0] != '\0' && strlen(id) < sizeof id && strpbrk(id, "\r\n \"\\") == NULL,
               "a wrong id");
  uint8_t flags;
  trace_context(value, trace, parent, &flags);
  fuzz_require(trace[0] != '\0' || flags == 0, "flags of no trace");
  fuzz_require(!trace_state_is_valid(value) || strpbrk(value, "\r\n") == NULL,
               "a trace state of control characters");
  fuzz_require((strlen(trace) == 32 && strlen(parent) == 16) ||
                   (trace[0] == '\0' && parent[0] == '\0'),
               "half a trace context");
  fuzz_require(strspn(trace, "0123456789abcdef") == strlen(trace), "a wrong trace");
  fuzz_require((unsigned)coding_accepted(value) <= CODING_ZSTD, "an unknown coding for replies");
  fuzz_require((unsigned)coding_of_content(value) <= CODING_UNKNOWN, "a wrong coding");
}

static void take_name(const char *name) {
  if (hub_is_file(name) || hub_is_repo(name) || hub_is_revision(name)) {
    fuzz_require(name[0] != '\0' && name[0] != '/' && name[0] != '.' &&
                     strstr(name, "/../") == NULL && strstr(name, "//") == NULL,
                 "a name that climbs");
  }
  fuzz_require(!hub_is_commit(name) || (hub_is_etag(name) && hub_is_revision(name)),
               "a commit alone");
}

static void judge(const hub_reply *reply, long status) {
  hub_reply copy = *reply;
  const hub_call call = {.what = "model", .url = "http://hub", .head = status % 2 == 0, .from = 1};
  rr_error err = {.message = ""};
  copy.status = status;
  hub_outcome outcome =
      hub_reply_judge(&copy, &call, status % 3 == 0 ? HUB_WITH_TOKEN : HUB_BY_STORAGE, &err);
  fuzz_require(outcome == HUB_DONE || err.message[0] != '\0', "an error without a message");
}

void fuzz_input(const uint8_t *data, size_t size) {
  hub_reply reply = {.status = 200};
  for (size_t at = 0; at < size;) {
    const uint8_t *end = memchr(data + at, '\n', size - at);
    size_t length = end == NULL ? size - at : (size_t)(end - data) - at;
    char *value = fuzz_text((fuzz_part){.data = data + at, .size = length});
    take_value(value);
    take_name(value);
    free(value);
    if (length == 0) {
      hub_reply_next(&reply, reply.status == 302 ? 206 : 302);
    }
    hub_reply_header(&reply, (const char *)data + at, length + (end != NULL));
    at += length + 1;
  }
  fuzz_require(strlen(reply.etag) < sizeof reply.etag &&
                   strlen(reply.commit) < sizeof reply.commit &&
                   strlen(reply.error_code) < sizeof reply.error_code,
               "a field without an end");
  static const long statuses[] = {200, 206, 302, 401, 403, 404, 416, 429, 500, 503};
  for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
    judge(&reply, statuses[i]);
  }
}
