#include "server/trace.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "server/clock.h"

static bool valid_id(const char *id) {
  size_t length = strlen(id);
  if (length == 0 || length >= TRACE_ID_BYTES) {
    return false;
  }
  for (size_t i = 0; i < length; i++) {
    if (!isalnum((unsigned char)id[i]) && strchr("-_.:/+=@", id[i]) == NULL) {
      return false;
    }
  }
  return true;
}

static void make_id(char ret_id[TRACE_ID_BYTES]) {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != (ssize_t)sizeof bytes) {
    uint64_t now = clock_now();
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &now, sizeof now);
  }
  for (size_t i = 0; i < sizeof bytes; i++) {
    (void)snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
  }
}

void trace_request_id(const char *given, char ret_id[TRACE_ID_BYTES]) {
  if (given != NULL && valid_id(given)) {
    (void)snprintf(ret_id, TRACE_ID_BYTES, "%s", given);
  } else {
    make_id(ret_id);
  }
}

/* Copies n lower-case hexadecimal digits that are not all zero. */
static bool take_hex(const char *text, size_t n, char *ret_digits) {
  bool zero = true;
  for (size_t i = 0; i < n; i++) {
    if (text[i] == '\0' || strchr("0123456789abcdef", text[i]) == NULL) {
      return false;
    }
    zero = zero && text[i] == '0';
  }
  memcpy(ret_digits, text, n);
  ret_digits[n] = '\0';
  return !zero;
}

/* version "-" trace "-" parent "-" flags; a version after 00 may append more. */
void trace_context(const char *given, char ret_trace[TRACE_CONTEXT_BYTES],
                   char ret_parent[TRACE_PARENT_BYTES]) {
  enum { TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53, WHOLE = 55 };
  ret_trace[0] = '\0';
  ret_parent[0] = '\0';
  if (given == NULL || strlen(given) < WHOLE || strncmp(given, "ff", 2) == 0 || given[2] != '-' ||
      given[PARENT_AT - 1] != '-' || given[FLAGS_AT - 1] != '-' ||
      (given[WHOLE] != '\0' && (strncmp(given, "00", 2) == 0 || given[WHOLE] != '-'))) {
    return;
  }
  if (strspn(given, "0123456789abcdef") != 2 || strspn(given + FLAGS_AT, "0123456789abcdef") != 2 ||
      !take_hex(given + TRACE_AT, TRACE_CONTEXT_BYTES - 1, ret_trace) ||
      !take_hex(given + PARENT_AT, TRACE_PARENT_BYTES - 1, ret_parent)) {
    ret_trace[0] = '\0';
    ret_parent[0] = '\0';
  }
}
