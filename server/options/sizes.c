#include "server/options/sizes.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static const struct {
  const char *name; /* with a B behind it or without */
  const char *print;
  size_t bytes;
} units[] = {
    {"Ti", "TiB", (size_t)1 << 40},
    {"T", "TB", 1000000000000},
    {"Gi", "GiB", (size_t)1 << 30},
    {"G", "GB", 1000000000},
    {"Mi", "MiB", (size_t)1 << 20},
    {"M", "MB", 1000000},
    {"Ki", "KiB", (size_t)1 << 10},
    {"k", "kB", 1000},
    {"", "", 1},
};

enum { UNITS = sizeof units / sizeof units[0] };

static bool is_unit(const char *text, const char *name) {
  char with_b[8];
  (void)snprintf(with_b, sizeof with_b, "%sB", name);
  return strcasecmp(text, name) == 0 || strcasecmp(text, with_b) == 0;
}

bool size_parse(const char *text, size_t *ret_bytes) {
  char *end;
  if (!isdigit((unsigned char)text[0])) {
    return false;
  }
  errno = 0;
  unsigned long long number = strtoull(text, &end, 10);
  if (errno != 0) {
    return false;
  }
  for (size_t i = 0; i < UNITS; i++) {
    if (is_unit(end, units[i].name)) {
      return !__builtin_mul_overflow(number, units[i].bytes, ret_bytes);
    }
  }
  return false;
}

void size_print(size_t bytes, char ret_text[SIZE_TEXT_MAX]) {
  size_t at = bytes == 0 ? UNITS - 1 : 0;
  while (bytes % units[at].bytes != 0) { /* the last one always fits */
    at++;
  }
  (void)snprintf(ret_text, SIZE_TEXT_MAX, "%zu%s", bytes / units[at].bytes, units[at].print);
}
