/* A body in chunks (RFC 9112, 7.1), decoded strictly and without keeping any of it: pure.
 *
 * Lines end with CRLF alone; sizes are hexadecimal digits alone. Extensions and trailers are read
 * over. What is only to be
 * read over is bounded: a line has 4096 bytes at most, the trailer fields have 8192 in all, and a
 * body's extensions 16384;
 * else a client could keep the loop at work with megabytes that count as no body. */
#ifndef RR_SERVER_HTTP_CHUNKS_H
#define RR_SERVER_HTTP_CHUNKS_H

#include <stddef.h>
#include <stdint.h>

typedef enum http_chunks_state {
  CHUNK_SIZE_FIRST,
  CHUNK_SIZE,
  CHUNK_BLANK, /* before an extension's semicolon */
  CHUNK_EXTENSION,
  CHUNK_SIZE_LF,
  CHUNK_DATA,
  CHUNK_DATA_CR,
  CHUNK_DATA_LF,
  CHUNK_TRAILER_FIRST,
  CHUNK_TRAILER_NAME,
  CHUNK_TRAILER_VALUE,
  CHUNK_TRAILER_LF,
  CHUNK_LAST_LF,
  CHUNK_END
} http_chunks_state;

/* All zero: at the beginning of a body. */
typedef struct http_chunks {
  http_chunks_state state;
  uint64_t left;     /* bytes of the chunk's data */
  size_t line;       /* bytes of the line, or of all trailers */
  size_t extensions; /* bytes of all of them */
} http_chunks;

typedef enum http_chunks_result {
  CHUNKS_MORE,
  CHUNKS_DATA,
  CHUNKS_END,
  CHUNKS_BROKEN
} http_chunks_result;

/* Takes bytes up to the next piece of data, the body's end, a fault, or all of them; *ret_used
 * tells how many. With
 * CHUNKS_DATA, *ret_data and *ret_size are the piece, within `data`; with CHUNKS_BROKEN, *ret_text
 * says why (static). */
http_chunks_result http_chunks_next(http_chunks *self, const char *data, size_t size,
                                    size_t *ret_used, const char **ret_data, size_t *ret_size,
                                    const char **ret_text);

#endif
