#include "server/http/trace_context.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "server/base/clock.h"

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

/* Random bytes, where the kernel has any. */
static void draw(unsigned char *ret_bytes, size_t size) {
  if (getrandom(ret_bytes, size, GRND_NONBLOCK) != (ssize_t)size) {
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
      uint64_t now = clock_now();
      memcpy(ret_bytes + at, &now, sizeof now);
    }
  }
}

/* 2 * size digits and a terminator. */
static void write_hex(const unsigned char *bytes, size_t size, char *ret_digits) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < size; i++) {
    ret_digits[2 * i] = digits[bytes[i] >> 4];
    ret_digits[2 * i + 1] = digits[bytes[i] & 15];
  }
  ret_digits[2 * size] = '\0';
}

static void make_id(char ret_id[TRACE_ID_BYTES]) {
  unsigned char bytes[16];
  draw(bytes, sizeof bytes);
  write_hex(bytes, sizeof bytes, ret_id);
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
                   char ret_parent[TRACE_PARENT_BYTES], uint8_t *ret_flags) {
  enum { TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53, WHOLE = 55 };
  ret_trace[0] = '\0';
  ret_parent[0] = '\0';
  *ret_flags = 0;
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
    return;
  }
  *ret_flags = (uint8_t)strtoul(given + FLAGS_AT, NULL, 16);
}

void trace_new_ids(char *ret_trace, char ret_span[TRACE_PARENT_BYTES]) {
  enum { SPAN_BYTES = 8, TRACE_BYTES = 16 };
  unsigned char bytes[SPAN_BYTES + TRACE_BYTES];
  draw(bytes, sizeof bytes);
  bytes[0] |= bytes[0] == 0; /* ids that are all zero mean none */
  bytes[SPAN_BYTES] |= bytes[SPAN_BYTES] == 0;
  write_hex(bytes, SPAN_BYTES, ret_span);
  if (ret_trace != NULL) {
    write_hex(bytes + SPAN_BYTES, TRACE_BYTES, ret_trace);
  }
}

bool trace_is_sampled(const char trace[TRACE_CONTEXT_BYTES], uint64_t bound) {
  enum { LOW_HALF = 16 };
  return strtoull(trace + LOW_HALF, NULL, 16) >> 1 < bound;
}

uint64_t trace_bound(double ratio) {
  return ratio >= 1 ? TRACE_RATIO_ONE : ratio > 0 ? (uint64_t)(ratio * (double)TRACE_RATIO_ONE) : 0;
}

/* [a-z0-9] and then _-* / and @ too; 256 at most. */
static bool is_state_key(const char *key, size_t size) {
  if (size == 0 || size > 256 ||
      !(islower((unsigned char)key[0]) || isdigit((unsigned char)key[0]))) {
    return false;
  }
  for (size_t i = 0; i < size; i++) {
    if (!islower((unsigned char)key[i]) && !isdigit((unsigned char)key[i]) &&
        strchr("_-*/@", key[i]) == NULL) {
      return false;
    }
  }
  return true;
}

/* Printable, without , and =; 256 at most; no space at the end. */
static bool is_state_value(const char *value, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (value[i] < ' ' || value[i] > '~' || value[i] == '=') {
      return false;
    }
  }
  return size > 0 && size <= 256 && value[size - 1] != ' ';
}

bool trace_state_is_valid(const char *given) {
  enum { MEMBERS_MAX = 32 };
  struct {
    const char *key;
    size_t size;
  } seen[MEMBERS_MAX];
  size_t n = 0;
  const char *at = given;
  while (at != NULL && *at != '\0') {
    at += strspn(at, " \t");
    size_t size = strcspn(at, ",");
    const char *next = at + size + (at[size] == ',');
    while (size > 0 && (at[size - 1] == ' ' || at[size - 1] == '\t')) {
      size--;
    }
    const char *equals = memchr(at, '=', size);
    size_t key = equals == NULL ? 0 : (size_t)(equals - at);
    if (size > 0) { /* empty members are allowed */
      if (n == MEMBERS_MAX || !is_state_key(at, key) ||
          !is_state_value(at + key + 1, size - key - 1)) {
        return false;
      }
      for (size_t i = 0; i < n; i++) {
        if (seen[i].size == key && memcmp(seen[i].key, at, key) == 0) {
          return false;
        }
      }
      seen[n].key = at;
      seen[n++].size = key;
    }
    at = next;
  }
  return n > 0;
}
