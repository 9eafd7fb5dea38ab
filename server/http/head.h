/* The head of an HTTP/1 request, read strictly before libmicrohttpd sees any of it: pure.
 *
 * libmicrohttpd 0.9.75 (Debian 12) takes what RFC 9112 forbids: it ends a line at a bare CR, a
 * header at a NUL, keeps the
 * first of two Content-Lengths, and reads what is behind a "chunked" that a proxy may not have
 * seen. A proxy in front
 * that frames such a request otherwise would hand one client's bytes to another's request. 1.0
 * (Debian 13) has a strict
 * level that refuses most of it, 0.9.75 has none that does. So the same reader stands in front of
 * both:
 *
 * - http_head_find: where the head ends, within limits;
 * - http_head_parse: the request line and all header fields by the grammar of RFC 9112 and 9110,
 *   and how the body is
 *   framed. Nothing that is malformed is mended; it is refused by a status and a text;
 * - http_head_write: what libmicrohttpd is given instead: the same request in its plainest form and
 *   without a body, which
 *   reading.c reads itself. */
#ifndef RR_SERVER_HTTP_HEAD_H
#define RR_SERVER_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  HTTP_METHOD_BYTES = 16,       /* of the longest method and its end */
  HTTP_LINE_MAX = 16 * 1024,    /* bytes of a request line */
  HTTP_FIELDS_SIZE = 64 * 1024, /* bytes of all header fields */
  HTTP_FIELDS_MAX = 512,
  HTTP_HEAD_MAX = HTTP_LINE_MAX + HTTP_FIELDS_SIZE, /* bytes */
  HTTP_VALUE_MAX = 2 * 1024,   /* bytes of a host; and of a field's value, or it is not handed on */
  HTTP_HANDED_MAX = 20 * 1024, /* bytes of the fields that are handed on, */
  HTTP_HANDED_FIELDS = 128,    /* and so many */
  /* Bytes of what http_head_write makes: line, host, fields, and the connection's. */
  HTTP_TEXT_MAX = HTTP_LINE_MAX + HTTP_VALUE_MAX + HTTP_HANDED_MAX + 128
};

/* Why a request is refused by the server itself, whatever its path. */
typedef enum http_problem {
  HTTP_NO_PROBLEM,
  HTTP_BODY_TOO_LARGE,
  HTTP_BODIES_TOO_MANY, /* all requests together hold too much */
  HTTP_OUT_OF_MEMORY,
  HTTP_MALFORMED,       /* 400 */
  HTTP_TARGET_TOO_LONG, /* 414 */
  HTTP_EXPECTATION,     /* 417 */
  HTTP_HEAD_TOO_LARGE,  /* 431 */
  HTTP_NOT_IMPLEMENTED, /* 501 */
  HTTP_OTHER_VERSION    /* 505 */
} http_problem;

/* A problem and the text that tells of it; static storage, NULL where the problem says all. */
typedef struct http_fault {
  http_problem problem;
  const char *text;
} http_fault;

typedef enum http_framing { HTTP_NO_BODY, HTTP_SIZED, HTTP_CHUNKED } http_framing;

/* Pointers go into the bytes that were parsed. */
typedef struct http_head {
  char method[HTTP_METHOD_BYTES];
  bool readable;    /* the request line */
  const char *path; /* escaped, without a query; "*" of OPTIONS; NULL: it could not be read */
  size_t path_size;
  const char *host; /* of an absolute target, before the field Host; NULL: there is none */
  size_t host_size;
  bool old;     /* HTTP/1.0 */
  bool closes;  /* the connection ends with the reply */
  bool expects; /* `Expect: 100-continue`, and a body comes */
  http_framing framing;
  uint64_t body_size; /* of HTTP_SIZED */
} http_head;

typedef enum http_found { HTTP_FOUND_NONE, HTTP_FOUND_HEAD, HTTP_FOUND_FAULT } http_found;

/* Looks for the head's end. *scanned is 0 for a new head and kept between calls while more bytes
 * come; *ret_size counts the head with the empty line behind it, and empty lines before it, of
 * which *ret_skip are. */
http_found http_head_find(const char *data, size_t size, size_t *scanned, size_t *ret_skip,
                          size_t *ret_size, http_fault *ret_fault);

/* Parses a head as http_head_find has found it, from behind what is skipped. Returns false with a
 * fault; *ret_head then holds what could be read: method and path where it is readable. */
bool http_head_parse(const char *data, size_t size, http_head *ret_head, http_fault *ret_fault);

/* Writes a parsed head for libmicrohttpd; returns how many bytes. Of the fields it has those that
 * somebody here reads, where their values are of a length that can mean something: what proxies add
 * for others, cookies above all, would only cost memory, and is taken apart by libmicrohttpd. */
size_t http_head_write(const http_head *head, const char *data, size_t size,
                       char ret_text[HTTP_TEXT_MAX]);

/* Whether a field of this name is among them. */
bool http_head_is_handed_on(const char *name);

/* Writes a head for a request that is refused, without fields. */
size_t http_head_write_refused(const http_head *head, char ret_text[HTTP_TEXT_MAX]);

#endif
