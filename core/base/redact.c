#include "core/base/redact.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Arguments may be handed on by pointer only within a structure. */
typedef struct printing {
  char *to;
  size_t size;
  size_t used;
  va_list arguments;
} printing;

/* What stands between a '%' and the letter that ends it. */
typedef struct conversion {
  bool precise;
  int longs;  /* 'l', one or two; 2 for 'j' */
  bool sizes; /* 'z', 't' */
  char letter;
} conversion;

static void put(printing *out, const char *text, size_t size) {
  size_t room = out->size - 1 - out->used;
  size = size < room ? size : room;
  memcpy(out->to + out->used, text, size);
  out->used += size;
  out->to[out->used] = '\0';
}

static const char *parse(printing *out, const char *at, conversion *ret_conversion) {
  *ret_conversion = (conversion){.precise = false};
  for (;; at++) {
    switch (*at) {
    case '-':
    case '+':
    case ' ':
    case '#':
    case '\'':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
    case 'h': break;
    case '.': ret_conversion->precise = true; break;
    case '*': (void)va_arg(out->arguments, int); break;
    case 'l': ret_conversion->longs++; break;
    case 'j': ret_conversion->longs = 2; break;
    case 'z':
    case 't': ret_conversion->sizes = true; break;
    default: ret_conversion->letter = *at; return *at == '\0' ? at : at + 1;
    }
  }
}

static void put_signed(printing *out, const conversion *how) {
  char number[32];
  long long value = how->sizes        ? (long long)va_arg(out->arguments, ptrdiff_t)
                    : how->longs == 0 ? va_arg(out->arguments, int)
                    : how->longs == 1 ? va_arg(out->arguments, long)
                                      : va_arg(out->arguments, long long);
  put(out, number, (size_t)snprintf(number, sizeof number, "%lld", value));
}

static void put_unsigned(printing *out, const conversion *how) {
  char number[32];
  unsigned long long value = how->sizes        ? va_arg(out->arguments, size_t)
                             : how->longs == 0 ? va_arg(out->arguments, unsigned)
                             : how->longs == 1 ? va_arg(out->arguments, unsigned long)
                                               : va_arg(out->arguments, unsigned long long);
  int size = how->letter == 'u' ? snprintf(number, sizeof number, "%llu", value)
                                : snprintf(number, sizeof number, "%llx", value);
  put(out, number, (size_t)size);
}

/* False where the conversion is not known, and so neither is what comes behind it. */
static bool put_conversion(printing *out, rr_redaction what, const conversion *how) {
  char number[64];
  const char *text;
  switch (how->letter) {
  case '%': put(out, "%", 1); return true;
  case 'd':
  case 'i': put_signed(out, how); return true;
  case 'u':
  case 'x':
  case 'X': put_unsigned(out, how); return true;
  case 'f':
  case 'g':
  case 'e':
    put(out, number, (size_t)snprintf(number, sizeof number, "%g", va_arg(out->arguments, double)));
    return true;
  case 's':
    text = va_arg(out->arguments, const char *);
    if (what == RR_REDACT_STRINGS || how->precise || text == NULL || how->longs > 0) {
      put(out, "...", 3);
    } else {
      put(out, text, strlen(text));
    }
    return true;
  default: return false;
  }
}

void rr_redact(rr_redaction what, char *to, size_t size, const char *format, va_list arguments) {
  printing out = {.to = to, .size = size};
  conversion how;
  if (size == 0) {
    return;
  }
  to[0] = '\0';
  va_copy(out.arguments, arguments);
  for (bool known = true; known && *format != '\0';) {
    size_t plain = strcspn(format, "%");
    put(&out, format, plain);
    format += plain;
    if (*format == '%') {
      format = parse(&out, format + 1, &how);
      known = put_conversion(&out, what, &how);
    }
  }
  va_end(out.arguments);
}
