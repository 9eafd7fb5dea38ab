#include "server/request/request_time.h"

#include <errno.h>
#include <stdlib.h>

#include "server/base/loop_thread.h"
#include "server/http/api_keys.h"
#include "server/sched/batcher.h"

enum { NS_PER_MS = 1000000, KEPT_SHARE = 16, KEPT_MOST = 10 * NS_PER_MS };

/* False where the header is there and not such a number. */
static bool read_number(const http_exchange *exchange, const char *name, int64_t least,
                        int64_t most, int64_t *value, rr_api_error *ret_error) {
  const char *text = http_header_of(exchange, name);
  if (text == NULL) {
    return true;
  }
  char *end;
  errno = 0;
  long long number = strtoll(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || number < least || number > most) {
    return rr_api_fail_field(ret_error, RR_API_VALIDATION, name,
                             "`%s` must be a whole number from %lld to %lld", name,
                             (long long)least, (long long)most);
  }
  *value = number;
  return true;
}

bool request_time_read(const http_exchange *exchange, request_time *ret_schedule,
                       rr_api_error *ret_error) {
  assert_loop_thread();
  static const char name[] = "x-request-on-timeout";
  const int64_t whole = 9007199254740991; /* as in bodies */
  request_time self = {.on_timeout = RR_ON_TIMEOUT_DEFAULT};
  int64_t timeout = 0;
  if (!read_number(exchange, "x-request-timeout-ms", 1, RR_TIMEOUT_MAX, &timeout, ret_error) ||
      !read_number(exchange, "x-request-priority", -whole, whole, &self.priority, ret_error)) {
    return false;
  }
  self.timeout_ms = (size_t)timeout;
  const char *wish = http_header_of(exchange, name);
  if (wish != NULL && !rr_on_timeout_parse(wish, &self.on_timeout)) {
    return rr_api_fail_field(ret_error, RR_API_VALIDATION, name, "`%s` must be partial or error",
                             name);
  }
  *ret_schedule = self;
  return true;
}

request_time request_time_merge(const request_time *headers, const rr_rerank_request *request) {
  request_time merged = *headers;
  if (request->timeout_ms > 0 &&
      (merged.timeout_ms == 0 || request->timeout_ms < merged.timeout_ms)) {
    merged.timeout_ms = request->timeout_ms;
  }
  merged.on_timeout =
      request->on_timeout == RR_ON_TIMEOUT_DEFAULT ? headers->on_timeout : request->on_timeout;
  merged.on_timeout = request->no_part ? RR_ON_TIMEOUT_ERROR : merged.on_timeout;
  merged.priority = request->priority == 0 ? headers->priority : request->priority;
  return merged;
}

uint64_t request_time_cut(const request_time *self, size_t default_timeout_ms,
                          uint64_t received_at) {
  uint64_t timeout = self->timeout_ms > 0 ? self->timeout_ms : default_timeout_ms;
  timeout *= NS_PER_MS;
  uint64_t kept = timeout / KEPT_SHARE < KEPT_MOST ? timeout / KEPT_SHARE : KEPT_MOST;
  return timeout == 0 ? 0 : received_at + timeout - kept;
}

static int64_t clamp(int64_t priority) {
  const int64_t most = BATCHER_PRIORITY_MAX;
  return priority < -most ? -most : priority > most ? most : priority;
}

int32_t request_time_priority(const request_time *self, int32_t of_key) {
  int64_t own = clamp(self->priority);
  if (of_key == API_KEY_NO_PRIORITY) {
    return (int32_t)own;
  }
  return (int32_t)clamp(of_key + (own > 0 ? own : 0));
}
