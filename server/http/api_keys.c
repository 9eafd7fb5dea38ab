#include "server/http/api_keys.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/file.h"

enum {
  PRIORITY_MOST = 1000,
  LINE_BYTES_MAX = API_KEY_BYTES + 30, /* a key and its priority */
  FILE_BYTES_MAX = 4 << 20 /* as many keys as there may be, and as much again to say of them */
};

typedef struct api_key {
  size_t size;
  int32_t priority;
  unsigned char bytes[API_KEY_BYTES]; /* zeros behind the key */
} api_key;

struct api_keys {
  size_t n;
  size_t capacity;
  api_key *keys;
};

static rr_status add(api_keys *self, const char *key, size_t size, int32_t priority,
                     rr_error *err) {
  if (size >= API_KEY_BYTES) {
    return rr_fail(err, RR_ERR_INPUT, "an API key is longer than %d bytes", (int)API_KEY_BYTES - 1);
  }
  if (self->n == API_KEYS_MAX) {
    return rr_fail(err, RR_ERR_INPUT, "more than %d API keys", (int)API_KEYS_MAX);
  }
  if (self->n == self->capacity) {
    size_t capacity = self->capacity == 0 ? 4 : 2 * self->capacity;
    api_key *keys = rr_realloc(self->keys, capacity * sizeof *keys);
    if (keys == NULL) {
      return rr_fail(err, RR_ERR_MEMORY, "out of memory for the API keys");
    }
    self->keys = keys;
    self->capacity = capacity;
  }
  api_key *new_key = &self->keys[self->n++];
  memset(new_key, 0, sizeof *new_key);
  new_key->size = size;
  new_key->priority = priority;
  memcpy(new_key->bytes, key, size);
  return RR_OK;
}

static const char blanks[] = " \t\r\n";

/* Takes `priority=N` and the blanks before it off the end of a piece, if they are there. */
static rr_status take_priority(const char *piece, size_t *size, int32_t *ret_priority,
                               rr_error *err) {
  static const char name[] = "priority=";
  const size_t name_size = sizeof name - 1;
  size_t at = *size;
  while (at > 0 && strchr(blanks, piece[at - 1]) == NULL) {
    at--;
  }
  if (at == 0 || *size - at < name_size || memcmp(piece + at, name, name_size) != 0) {
    return RR_OK;
  }
  char number[16] = "";
  char *end = number;
  long value = 0;
  size_t digits = *size - at - name_size;
  if (digits < sizeof number) {
    memcpy(number, piece + at + name_size, digits);
    value = strtol(number, &end, 10);
  }
  if (digits == 0 || *end != '\0' || end == number || value < -PRIORITY_MOST ||
      value > PRIORITY_MOST) {
    return rr_fail(err, RR_ERR_INPUT, "an API key's priority must be a whole number from %d to %d",
                   -(int)PRIORITY_MOST, (int)PRIORITY_MOST);
  }
  *ret_priority = (int32_t)value;
  while (at > 0 && strchr(blanks, piece[at - 1]) != NULL) {
    at--;
  }
  *size = at;
  return RR_OK;
}

/* One piece without the blanks around it; an empty one is no key. */
static rr_status add_trimmed(api_keys *self, const char *piece, size_t size, rr_error *err) {
  int32_t priority = API_KEY_NO_PRIORITY;
  while (size > 0 && strchr(blanks, piece[0]) != NULL) {
    piece++;
    size--;
  }
  while (size > 0 && strchr(blanks, piece[size - 1]) != NULL) {
    size--;
  }
  rr_status status = take_priority(piece, &size, &priority, err);
  return status != RR_OK || size == 0 ? status : add(self, piece, size, priority, err);
}

static rr_status add_list(api_keys *self, const char *list, rr_error *err) {
  rr_status status = RR_OK;
  while (status == RR_OK && *list != '\0') {
    size_t size = strcspn(list, ",");
    status = add_trimmed(self, list, size, err);
    list += size + (list[size] == ',');
  }
  return status;
}

/* text ends in a NUL, and may hold others. */
static rr_status add_lines(api_keys *self, const char *text, size_t size, const char *path,
                           rr_error *err) {
  rr_status status = RR_OK;
  for (const char *line = text; status == RR_OK && line < text + size;) {
    const char *end = memchr(line, '\n', (size_t)(text + size - line));
    size_t length = end == NULL ? (size_t)(text + size - line) : (size_t)(end - line);
    if (length > LINE_BYTES_MAX) {
      status = rr_fail(err, RR_ERR_INPUT, "%.200s: a line is longer than an API key may be", path);
    } else if (line[0] != '#') {
      status = add_trimmed(self, line, strnlen(line, length), err);
    }
    line += length + 1;
  }
  return status;
}

static rr_status add_file(api_keys *self, const char *path, rr_error *err) {
  size_t before = self->n;
  char *text;
  size_t size;
  rr_status status = rr_file_read(path, FILE_BYTES_MAX, &text, &size, err);
  if (status != RR_OK) {
    return status;
  }
  status = add_lines(self, text, size, path, err);
  explicit_bzero(text, size);
  rr_free(text);
  if (status == RR_OK && self->n == before) {
    status = rr_fail(err, RR_ERR_INPUT, "%.200s: holds no API key", path);
  }
  return status;
}

rr_status api_keys_load(const char *const *lists, size_t n, const char *file, api_keys **ret_keys,
                        rr_error *err) {
  api_keys *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the API keys");
  }
  rr_status status = RR_OK;
  for (size_t i = 0; status == RR_OK && i < n; i++) {
    status = add_list(self, lists[i], err);
  }
  if (status == RR_OK && n > 0 && self->n == 0) {
    status = rr_fail(err, RR_ERR_INPUT, "no API key is given");
  }
  if (status == RR_OK && file != NULL) {
    status = add_file(self, file, err);
  }
  if (status != RR_OK) {
    api_keys_destroy(self);
    return status;
  }
  *ret_keys = self;
  return RR_OK;
}

void api_keys_destroy(api_keys *self) {
  if (self != NULL) {
    rr_free(self->keys);
    rr_free(self);
  }
}

size_t api_keys_count(const api_keys *self) { return self->n; }

bool api_keys_match(const api_keys *self, const char *given) {
  int32_t ignored;
  return api_keys_find(self, given, &ignored);
}

bool api_keys_find(const api_keys *self, const char *given, int32_t *ret_priority) {
  uint32_t priority = 0;
  unsigned char padded[API_KEY_BYTES] = {0};
  size_t size = strnlen(given, API_KEY_BYTES);
  memcpy(padded, given, size);
  unsigned found = 0;
  for (size_t k = 0; k < self->n; k++) {
    const api_key *key = &self->keys[k];
    size_t difference = key->size ^ size;
    for (size_t i = 0; i < API_KEY_BYTES; i++) {
      difference |= (size_t)(padded[i] ^ key->bytes[i]);
    }
    unsigned same = difference == 0;
    priority |= (uint32_t)key->priority & (0u - (same & ~found));
    found |= same;
  }
  *ret_priority = found != 0 ? (int32_t)priority : API_KEY_NO_PRIORITY;
  return found != 0;
}
