#include "proto/json_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"

enum { LEAST_CAPACITY = 256, FLOAT_DIGITS_LEAST = 6, FLOAT_DIGITS_ALWAYS_ENOUGH = 9 };

static void fail(rr_json_writer *writer) {
  if (writer->claim != NULL) {
    rr_claim_give(writer->claim, writer->capacity);
  }
  rr_free(writer->data);
  *writer = (rr_json_writer){.failed = true};
}

/* To more bytes, or fewer. */
static bool resize(rr_json_writer *writer, size_t capacity) {
  size_t before = writer->capacity;
  if (writer->claim != NULL && capacity > before) {
    if (!rr_claim_take(writer->claim, capacity - before)) {
      return false;
    }
    writer->capacity = capacity;
  }
  char *data = rr_realloc(writer->data, capacity);
  if (data == NULL) {
    return false;
  }
  if (writer->claim != NULL && capacity < before) {
    rr_claim_give(writer->claim, before - capacity);
  }
  writer->data = data;
  writer->capacity = capacity;
  return true;
}

void rr_json_writer_init_within(rr_json_writer *writer, size_t expected, rr_claim *claim) {
  *writer = (rr_json_writer){.claim = claim};
  if (!resize(writer, expected < LEAST_CAPACITY ? LEAST_CAPACITY : expected)) {
    fail(writer);
  }
}

void rr_json_writer_init(rr_json_writer *writer, size_t expected) {
  rr_json_writer_init_within(writer, expected, NULL);
}

/* Makes room for `more` bytes and a terminator; doubles, so that appending stays linear. */
static bool reserve(rr_json_writer *writer, size_t more) {
  if (writer->failed) {
    return false;
  }
  if (more < writer->capacity - writer->size) {
    return true;
  }
  size_t capacity;
  size_t needed;
  if (__builtin_mul_overflow(writer->capacity, 2, &capacity) ||
      __builtin_add_overflow(writer->size, more, &needed) || needed == SIZE_MAX) {
    fail(writer);
    return false;
  }
  if (capacity <= needed) {
    capacity = needed + 1;
  }
  if (!resize(writer, capacity)) {
    fail(writer);
    return false;
  }
  return true;
}

static void put_bytes(rr_json_writer *writer, const char *bytes, size_t size) {
  if (size > 0 && reserve(writer, size)) {
    memcpy(writer->data + writer->size, bytes, size);
    writer->size += size;
  }
}

void rr_json_put_raw(rr_json_writer *writer, const char *literal) {
  put_bytes(writer, literal, strlen(literal));
}

void rr_json_put_bytes(rr_json_writer *writer, rr_text bytes) {
  put_bytes(writer, bytes.data, bytes.size);
}

static bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/* Length of the well-formed UTF-8 sequence at the start of `left` (1 or more) bytes, or 0. Overlong
 * forms, surrogates and code points beyond U+10FFFF are not well-formed (Unicode, table 3-7). */
static size_t utf8_length(const unsigned char *at, size_t left) {
  unsigned char lead = at[0];
  if (lead < 0x80) {
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return 0;
  }
  size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (left < length) {
    return 0;
  }
  unsigned char least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (at[1] < least || at[1] > most) {
    return 0;
  }
  for (size_t i = 2; i < length; i++) {
    if (!is_continuation(at[i])) {
      return 0;
    }
  }
  return length;
}

/* Appends what stands for a byte that cannot be copied as it is. */
static void put_escaped(rr_json_writer *writer, unsigned char byte) {
  char escape[8];
  switch (byte) {
  case '"': rr_json_put_raw(writer, "\\\""); return;
  case '\\': rr_json_put_raw(writer, "\\\\"); return;
  case '\n': rr_json_put_raw(writer, "\\n"); return;
  case '\r': rr_json_put_raw(writer, "\\r"); return;
  case '\t': rr_json_put_raw(writer, "\\t"); return;
  default: break;
  }
  if (byte < 0x20) {
    (void)snprintf(escape, sizeof escape, "\\u%04x", byte);
    rr_json_put_raw(writer, escape);
  } else {
    rr_json_put_raw(writer, "\xEF\xBF\xBD"); /* U+FFFD */
  }
}

void rr_json_put_text(rr_json_writer *writer, rr_text text) {
  const unsigned char *bytes = (const unsigned char *)text.data;
  rr_json_put_raw(writer, "\"");
  size_t copied = 0; /* everything before is in the buffer */
  size_t i = 0;
  while (i < text.size && !writer->failed) {
    unsigned char byte = bytes[i];
    bool special = byte < 0x20 || byte == '"' || byte == '\\';
    size_t length = special ? 0 : utf8_length(bytes + i, text.size - i);
    if (length > 0) {
      i += length;
      continue;
    }
    put_bytes(writer, text.data + copied, i - copied);
    put_escaped(writer, byte);
    i++;
    copied = i;
  }
  if (!writer->failed && copied < text.size) {
    put_bytes(writer, text.data + copied, text.size - copied);
  }
  rr_json_put_raw(writer, "\"");
}

void rr_json_put_string(rr_json_writer *writer, const char *string) {
  rr_json_put_text(writer, (rr_text){.data = string, .size = strlen(string)});
}

void rr_json_put_unsigned(rr_json_writer *writer, uint64_t value) {
  char digits[24];
  (void)snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
  rr_json_put_raw(writer, digits);
}

void rr_json_put_float(rr_json_writer *writer, float value) {
  char digits[32];
  if (!isfinite(value)) {
    fail(writer);
    return;
  }
  for (int precision = FLOAT_DIGITS_LEAST; precision <= FLOAT_DIGITS_ALWAYS_ENOUGH; precision++) {
    (void)snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
    if (strtof(digits, NULL) == value) {
      break;
    }
  }
  rr_json_put_raw(writer, digits);
  if (strpbrk(digits, ".e") ==
      NULL) { /* else readers that tell the two apart take it for an integer */
    rr_json_put_raw(writer, ".0");
  }
}

char *rr_json_writer_finish(rr_json_writer *writer, size_t *ret_size) {
  if (!reserve(writer, 0)) {
    return NULL;
  }
  if (writer->claim != NULL) { /* kept until somebody has read it: as large as it is */
    (void)resize(writer, writer->size + 1);
  }
  char *data = writer->data;
  data[writer->size] = '\0';
  *ret_size = writer->size;
  *writer = (rr_json_writer){.failed = true};
  return data;
}
