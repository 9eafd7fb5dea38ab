#include "server/http/chunks.h"

#include <stdbool.h>
#include <string.h>

enum { CHUNK_LINE_MAX = 4096, CHUNK_TRAILERS_MAX = 8192, CHUNK_EXTENSIONS_MAX = 16384 };

static const char bad_size[] = "a chunk's size must be hexadecimal digits and CRLF";
static const char bad_extension[] = "a chunk's extension holds a control character";
static const char bad_end[] = "a chunk does not end where its size says";
static const char bad_trailer[] = "a trailer field is malformed";

/* -1: none */
static int digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  char lower = (char)(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool is_name(char c) {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
         (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_text(char c) { return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f); }

/* The state that follows where the byte fits, else returns the fault. */
static const char *enter(http_chunks *self, http_chunks_state next, bool fits, const char *fault) {
  self->state = next;
  return fits ? NULL : fault;
}

static const char *take_digit(http_chunks *self, char c) {
  if (self->left > UINT64_MAX >> 8) {
    return "a chunk's size is too large";
  }
  self->left = self->left * 16 + (uint64_t)digit(c);
  self->state = CHUNK_SIZE;
  return NULL;
}

static const char *take_size(http_chunks *self, char c) {
  if (digit(c) >= 0) {
    return take_digit(self, c);
  }
  switch (c) {
  case '\r': return enter(self, CHUNK_SIZE_LF, true, NULL);
  case ';': return enter(self, CHUNK_EXTENSION, true, NULL);
  default: return enter(self, CHUNK_BLANK, c == ' ' || c == '\t', bad_size);
  }
}

static const char *take_blank(http_chunks *self, char c) {
  return c == ' ' || c == '\t' ? NULL : enter(self, CHUNK_EXTENSION, c == ';', bad_size);
}

static const char *take_extension(http_chunks *self, char c) {
  return c == '\r' ? enter(self, CHUNK_SIZE_LF, true, NULL)
                   : enter(self, CHUNK_EXTENSION, is_text(c), bad_extension);
}

static const char *take_size_lf(http_chunks *self, char c) {
  self->line = 0;
  return enter(self, self->left > 0 ? CHUNK_DATA : CHUNK_TRAILER_FIRST, c == '\n', bad_size);
}

static const char *take_trailer_first(http_chunks *self, char c) {
  return c == '\r' ? enter(self, CHUNK_LAST_LF, true, NULL)
                   : enter(self, CHUNK_TRAILER_NAME, is_name(c), bad_trailer);
}

static const char *take_trailer_name(http_chunks *self, char c) {
  return c == ':' ? enter(self, CHUNK_TRAILER_VALUE, true, NULL)
                  : enter(self, CHUNK_TRAILER_NAME, is_name(c), bad_trailer);
}

static const char *take_trailer_value(http_chunks *self, char c) {
  return c == '\r' ? enter(self, CHUNK_TRAILER_LF, true, NULL)
                   : enter(self, CHUNK_TRAILER_VALUE, is_text(c), bad_trailer);
}

/* One byte that is no data. */
static const char *take(http_chunks *self, char c) {
  switch (self->state) {
  case CHUNK_SIZE_FIRST: return digit(c) >= 0 ? take_digit(self, c) : bad_size;
  case CHUNK_SIZE: return take_size(self, c);
  case CHUNK_BLANK: return take_blank(self, c);
  case CHUNK_EXTENSION: return take_extension(self, c);
  case CHUNK_SIZE_LF: return take_size_lf(self, c);
  case CHUNK_DATA_CR: return enter(self, CHUNK_DATA_LF, c == '\r', bad_end);
  case CHUNK_DATA_LF: return enter(self, CHUNK_SIZE_FIRST, c == '\n', bad_end);
  case CHUNK_TRAILER_FIRST: return take_trailer_first(self, c);
  case CHUNK_TRAILER_NAME: return take_trailer_name(self, c);
  case CHUNK_TRAILER_VALUE: return take_trailer_value(self, c);
  case CHUNK_TRAILER_LF: return enter(self, CHUNK_TRAILER_FIRST, c == '\n', bad_trailer);
  case CHUNK_LAST_LF: return enter(self, CHUNK_END, c == '\n', bad_trailer);
  case CHUNK_DATA:
  case CHUNK_END: break;
  }
  return NULL;
}

static bool is_in_trailer(const http_chunks *self) {
  return self->state >= CHUNK_TRAILER_FIRST && self->state <= CHUNK_LAST_LF;
}

/* Counts a byte of a line; returns the fault of too long a one. */
static const char *count(http_chunks *self) {
  self->line++;
  if (is_in_trailer(self)) {
    return self->line <= CHUNK_TRAILERS_MAX ? NULL : "the trailer fields are over 8192 bytes";
  }
  self->extensions += self->state == CHUNK_EXTENSION || self->state == CHUNK_BLANK;
  if (self->extensions > CHUNK_EXTENSIONS_MAX) {
    return "the chunks' extensions are over 16384 bytes";
  }
  return self->line <= CHUNK_LINE_MAX ? NULL : "a chunk's line is over 4096 bytes";
}

http_chunks_result http_chunks_next(http_chunks *self, const char *data, size_t size,
                                    size_t *ret_used, const char **ret_data, size_t *ret_size,
                                    const char **ret_text) {
  for (size_t at = 0; at < size && self->state != CHUNK_END; at++) {
    if (self->state == CHUNK_DATA) {
      *ret_data = data + at;
      *ret_size = size - at < self->left ? size - at : (size_t)self->left;
      *ret_used = at + *ret_size;
      self->left -= *ret_size;
      self->state = self->left == 0 ? CHUNK_DATA_CR : CHUNK_DATA;
      return CHUNKS_DATA;
    }
    const char *fault = take(self, data[at]);
    fault = fault != NULL ? fault : count(self);
    *ret_used = at + 1;
    if (fault != NULL) {
      *ret_text = fault;
      return CHUNKS_BROKEN;
    }
  }
  if (self->state != CHUNK_END) {
    *ret_used = size;
  } else if (size == 0) {
    *ret_used = 0;
  }
  return self->state == CHUNK_END ? CHUNKS_END : CHUNKS_MORE;
}
