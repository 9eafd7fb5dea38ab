#include "server/models/hub/reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { RETRY_AFTER_MAX = 60 };

void hub_reply_next(hub_reply *reply, long status) {
  hub_reply next = {.status = status};
  memcpy(next.etag, reply->etag, sizeof next.etag);
  memcpy(next.commit, reply->commit, sizeof next.commit);
  next.has_size = reply->has_size;
  next.size = reply->size;
  *reply = next;
}

/* "W/\"abc\"" and "\"abc\"" are abc. What is too long to be one is left out. */
static void copy_etag(const char *value, char *to, size_t size) {
  if (strncmp(value, "W/", 2) == 0) {
    value += 2;
  }
  value += value[0] == '"';
  size_t length = strcspn(value, "\"");
  if (length < size) {
    memcpy(to, value, length);
    to[length] = '\0';
  }
}

static void copy_word(const char *value, char *to, size_t size) {
  size_t length = strcspn(value, " \t");
  if (length < size) {
    memcpy(to, value, length);
    to[length] = '\0';
  }
}

static bool read_number(const char *value, uint64_t *ret_number) {
  if (value[0] < '0' || value[0] > '9' || strlen(value) > 18) {
    return false;
  }
  char *end;
  unsigned long long number = strtoull(value, &end, 10);
  if (*end != '\0' && *end != ' ') {
    return false;
  }
  *ret_number = number;
  return true;
}

/* "bytes 5-9/10"; the size may be "*". */
static void read_range(const char *value, hub_reply *reply) {
  if (strncasecmp(value, "bytes ", 6) != 0) {
    return;
  }
  char *end;
  reply->range_first = strtoull(value + 6, &end, 10);
  const char *slash = strchr(end, '/');
  reply->has_range = *end == '-' && slash != NULL;
  if (slash == NULL || !read_number(slash + 1, &reply->range_size)) {
    reply->range_size = 0;
  }
}

void hub_reply_header(hub_reply *reply, const char *line, size_t size) {
  char copy[512];
  while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == '\n' || line[size - 1] == ' ')) {
    size--;
  }
  if (size >= sizeof copy) {
    return; /* none of those that are read is that long */
  }
  memcpy(copy, line, size);
  copy[size] = '\0';
  char *colon = strchr(copy, ':');
  if (colon == NULL) {
    return;
  }
  *colon = '\0';
  const char *value = colon + 1 + strspn(colon + 1, " \t");
  uint64_t number;
  bool redirect = reply->status >= 300 && reply->status < 400;
  if (strcasecmp(copy, "X-Linked-ETag") == 0) {
    copy_etag(value, reply->etag, sizeof reply->etag);
  } else if (strcasecmp(copy, "ETag") == 0 && reply->etag[0] == '\0') {
    copy_etag(value, reply->etag, sizeof reply->etag);
  } else if (strcasecmp(copy, "X-Linked-Size") == 0 && read_number(value, &number)) {
    reply->has_size = true;
    reply->size = number;
  } else if (strcasecmp(copy, "Content-Length") == 0 && !redirect && !reply->has_size) {
    reply->has_size = read_number(value, &reply->size);
  } else if (strcasecmp(copy, "X-Repo-Commit") == 0) {
    copy_word(value, reply->commit, sizeof reply->commit);
  } else if (strcasecmp(copy, "X-Error-Code") == 0) {
    copy_word(value, reply->error_code, sizeof reply->error_code);
  } else if (strcasecmp(copy, "Content-Range") == 0) {
    read_range(value, reply);
  } else if (strcasecmp(copy, "Retry-After") == 0 && read_number(value, &number)) {
    reply->retry_after = number > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (unsigned)number;
  }
}

static hub_outcome refused(rr_error *err, const char *what, const char *why, long status) {
  (void)rr_fail(err, RR_ERR_IO, "%.100s: %s (HTTP %ld)", what, why, status);
  return HUB_REFUSED;
}

/* Why the hub does not give it; NULL if the status does not say. */
static const char *reason(const hub_reply *reply, bool with_token) {
  const char *code = reply->error_code;
  if (strcmp(code, "GatedRepo") == 0) {
    return with_token
               ? "gated: accept its conditions on the hub's page with this token's account"
               : "gated: accept its conditions on the hub's page and give a token (HF_TOKEN)";
  }
  if (strcmp(code, "RevisionNotFound") == 0) {
    return "the hub has no such revision";
  }
  if (strcmp(code, "EntryNotFound") == 0) {
    return "the hub has no such file";
  }
  switch (reply->status) {
  case 401:
    return with_token ? "the hub has no such model, or this token may not read it"
                      : "the hub has no such model, or it is private and wants a token (HF_TOKEN)";
  case 403: return "the hub forbids it; may the token read this model?";
  case 404: return "the hub has no such model";
  default: return NULL;
  }
}

hub_outcome hub_reply_judge(const hub_reply *reply, const hub_call *call, hub_answerer by,
                            rr_error *err) {
  long status = reply->status;
  if (status == 200 || (status == 206 && call->from > 0) ||
      (call->head && status >= 300 && status < 400)) {
    return HUB_DONE;
  }
  if (status == 408 || status == 416 || status == 429 || status >= 500) {
    (void)rr_fail(err, RR_ERR_IO, "%.100s: %s (HTTP %ld)", call->what,
                  status == 429   ? "the hub says: too many requests"
                  : status == 416 ? "the hub refused the range"
                                  : "the hub failed",
                  status);
    return HUB_AGAIN;
  }
  const char *why = by == HUB_BY_STORAGE ? "the place that the hub redirects to refused it"
                                         : reason(reply, by == HUB_WITH_TOKEN);
  return refused(err, call->what,
                 why == NULL ? "the hub gave an answer that is not understood" : why, status);
}
