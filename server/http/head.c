#include "server/http/head.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct span {
  const char *data;
  size_t size;
} span;

typedef struct field {
  span name;
  span value;
} field;

/* What the fields said, for what only all of them together decide. */
typedef struct summary {
  size_t hosts;
  size_t lengths;
  size_t codings;
  bool keeps;
  size_t handed;      /* fields, */
  size_t handed_size; /* and their bytes */
} summary;

static bool fail(http_fault *ret_fault, http_problem problem, const char *text) {
  *ret_fault = (http_fault){.problem = problem, .text = text};
  return false;
}

static bool malformed(http_fault *ret_fault, const char *text) {
  return fail(ret_fault, HTTP_MALFORMED, text);
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* tchar of RFC 9110, 5.6.2 */
static bool is_token(char c) {
  return is_letter(c) || is_digit(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* field-vchar, or a blank within */
static bool is_value(char c) { return is_blank(c) || (unsigned char)c > 0x20; }

static bool is_visible(char c) { return c > 0x20 && c < 0x7f; }

/* uri-host with a port: RFC 3986, 3.2.2 */
static bool is_host(char c) {
  return is_letter(c) || is_digit(c) || (c != '\0' && strchr("-._~%!$&'()*+,;=[]:", c) != NULL);
}

static bool all(span text, bool (*is)(char)) {
  for (size_t i = 0; i < text.size; i++) {
    if (!is(text.data[i])) {
      return false;
    }
  }
  return true;
}

static bool is_name(span text, const char *name) {
  return text.size == strlen(name) && strncasecmp(text.data, name, text.size) == 0;
}

/* --- where it ends --- */

static bool check_begin(char first, http_fault *ret_fault) {
  enum { TLS_HANDSHAKE = 0x16 };
  if (first == TLS_HANDSHAKE) {
    return malformed(ret_fault, "this port speaks HTTP, not HTTPS");
  }
  return is_token(first) || malformed(ret_fault, "the request line does not begin with a method");
}

static bool check_room(size_t line, size_t fields, http_fault *ret_fault) {
  if (line > HTTP_LINE_MAX) {
    return fail(ret_fault, HTTP_TARGET_TOO_LONG, "the request line is over 16384 bytes");
  }
  return fields <= HTTP_FIELDS_SIZE ||
         fail(ret_fault, HTTP_HEAD_TOO_LARGE, "the header fields are over 65536 bytes");
}

http_found http_head_find(const char *data, size_t size, size_t *scanned, size_t *ret_skip,
                          size_t *ret_size, http_fault *ret_fault) {
  size_t skip = 0;
  while (size - skip >= 2 && data[skip] == '\r' && data[skip + 1] == '\n') {
    skip += 2;
  }
  *ret_skip = skip;
  if (skip == size || (size - skip == 1 && data[skip] == '\r')) {
    return skip < HTTP_LINE_MAX || check_room(skip, 0, ret_fault) ? HTTP_FOUND_NONE
                                                                  : HTTP_FOUND_FAULT;
  }
  if (!check_begin(data[skip], ret_fault)) {
    return HTTP_FOUND_FAULT;
  }
  size_t from = *scanned > skip ? *scanned : skip;
  for (const char *at; (at = memchr(data + from, '\n', size - from)) != NULL;) {
    size_t here = (size_t)(at - data);
    if (here == skip || data[here - 1] != '\r') {
      (void)malformed(ret_fault, "a line ends with LF alone; it must end with CRLF");
      return HTTP_FOUND_FAULT;
    }
    from = here + 1;
    if (here >= skip + 3 && data[here - 2] == '\n') {
      *scanned = 0;
      *ret_size = here + 1;
      const char *line_end = memchr(data + skip, '\n', here + 1 - skip);
      size_t line = (size_t)(line_end - (data + skip)) + 1;
      return check_room(line, here + 1 - skip - line, ret_fault) ? HTTP_FOUND_HEAD
                                                                 : HTTP_FOUND_FAULT;
    }
  }
  *scanned = size;
  const char *line_end = memchr(data + skip, '\n', size - skip);
  size_t line = line_end == NULL ? size - skip : (size_t)(line_end - (data + skip)) + 1;
  return check_room(line, size - skip - line, ret_fault) ? HTTP_FOUND_NONE : HTTP_FOUND_FAULT;
}

/* --- the request line --- */

/* The line at *at without its CRLF; there is one. */
static span next_line(const char *data, size_t size, size_t *at) {
  const char *end = memchr(data + *at, '\n', size - *at);
  span line = {.data = data + *at, .size = (size_t)(end - (data + *at)) - 1};
  *at += line.size + 2;
  return line;
}

static span until(span text, char mark) {
  const char *end = memchr(text.data, mark, text.size);
  return (span){.data = text.data, .size = end == NULL ? text.size : (size_t)(end - text.data)};
}

static span behind(span text, size_t size) {
  return (span){.data = text.data + size, .size = text.size - size};
}

static bool parse_version(span text, http_head *head, http_fault *ret_fault) {
  if (text.size != 8 || memcmp(text.data, "HTTP/", 5) != 0 || !is_digit(text.data[5]) ||
      text.data[6] != '.' || !is_digit(text.data[7])) {
    return malformed(ret_fault, "the request line must be `METHOD target HTTP/1.1`");
  }
  if (text.data[5] != '1') {
    return fail(ret_fault, HTTP_OTHER_VERSION, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  }
  head->old = text.data[7] == '0';
  return true;
}

/* Of `http://host:port/path`; *target becomes the path. */
static bool take_host(span *target, http_head *head, http_fault *ret_fault) {
  size_t scheme = strncasecmp(target->data, "https://", 8) == 0 ? 8 : 7;
  span rest = behind(*target, scheme);
  size_t size = 0;
  while (size < rest.size && rest.data[size] != '/' && rest.data[size] != '?') {
    size++;
  }
  head->host = rest.data;
  head->host_size = size;
  *target = behind(rest, size);
  return (size > 0 && size <= HTTP_VALUE_MAX &&
          all((span){.data = rest.data, .size = size}, is_host)) ||
         malformed(ret_fault, "the target names no valid host");
}

/* RFC 9112, 3.2: origin, absolute and asterisk form. */
static bool parse_target(span target, http_head *head, http_fault *ret_fault) {
  if (target.size == 0 || !all(target, is_visible) ||
      memchr(target.data, '#', target.size) != NULL) {
    return malformed(ret_fault, "the target holds what no target may; escape it as %XX");
  }
  bool absolute = (target.size > 7 && strncasecmp(target.data, "http://", 7) == 0) ||
                  (target.size > 8 && strncasecmp(target.data, "https://", 8) == 0);
  if (absolute && !take_host(&target, head, ret_fault)) {
    return false;
  }
  bool asterisk = target.size == 1 && target.data[0] == '*' && strcmp(head->method, "OPTIONS") == 0;
  if (!absolute && !asterisk && target.data[0] != '/') {
    return malformed(ret_fault, "the target must be a path that begins with /, or a whole URL");
  }
  span path = until(target, '?');
  head->path = path.size == 0 ? "/" : path.data;
  head->path_size = path.size == 0 ? 1 : path.size;
  head->readable = true;
  return true;
}

static bool parse_line(span line, http_head *head, http_fault *ret_fault) {
  span method = until(line, ' ');
  if (method.size == 0 || method.size == line.size || !all(method, is_token)) {
    return malformed(ret_fault, "the request line must be `METHOD target HTTP/1.1`");
  }
  span rest = behind(line, method.size + 1);
  span target = until(rest, ' ');
  if (target.size == rest.size) {
    return malformed(ret_fault, "the request line must be `METHOD target HTTP/1.1`");
  }
  if (!parse_version(behind(rest, target.size + 1), head, ret_fault)) {
    return false;
  }
  if (method.size >= HTTP_METHOD_BYTES || is_name(method, "CONNECT")) {
    return fail(ret_fault, HTTP_NOT_IMPLEMENTED, "this method is not known here");
  }
  memcpy(head->method, method.data, method.size);
  return parse_target(target, head, ret_fault);
}

/* --- header fields --- */

static bool parse_field(span line, field *ret_field, http_fault *ret_fault) {
  if (is_blank(line.data[0])) {
    return malformed(ret_fault, "a header field goes on in a second line, which is obsolete");
  }
  span name = until(line, ':');
  if (name.size == line.size) {
    return malformed(ret_fault, "a header line has no colon");
  }
  if (name.size == 0 || !all(name, is_token)) {
    return malformed(ret_fault, name.size > 0 && is_blank(name.data[name.size - 1])
                                    ? "a blank stands before the colon of a header field"
                                    : "a header field's name holds what no name may");
  }
  span value = behind(line, name.size + 1);
  if (!all(value, is_value) || memchr(value.data, 0x7f, value.size) != NULL) {
    return malformed(ret_fault, "a header field's value holds a control character");
  }
  while (value.size > 0 && is_blank(value.data[0])) {
    value = behind(value, 1);
  }
  while (value.size > 0 && is_blank(value.data[value.size - 1])) {
    value.size--;
  }
  *ret_field = (field){.name = name, .value = value};
  return true;
}

/* Leaves the first entry of a list that commas part, and its blanks, out of *rest. */
static span next_entry(span *rest) {
  span entry = until(*rest, ',');
  *rest = behind(*rest, entry.size < rest->size ? entry.size + 1 : entry.size);
  while (entry.size > 0 && is_blank(entry.data[0])) {
    entry = behind(entry, 1);
  }
  while (entry.size > 0 && is_blank(entry.data[entry.size - 1])) {
    entry.size--;
  }
  return entry;
}

static void take_connection(span value, http_head *head, summary *seen) {
  while (value.size > 0) {
    span entry = next_entry(&value);
    head->closes = head->closes || is_name(entry, "close");
    seen->keeps = seen->keeps || is_name(entry, "keep-alive");
  }
}

static bool take_length(span value, http_head *head, http_fault *ret_fault) {
  const uint64_t most = UINT64_MAX / 16;
  if (value.size == 0 || !all(value, is_digit)) {
    return malformed(ret_fault, "Content-Length must be one number");
  }
  for (size_t i = 0; i < value.size; i++) {
    head->body_size = head->body_size > most
                          ? head->body_size
                          : head->body_size * 10 + (uint64_t)(value.data[i] - '0');
  }
  head->framing = HTTP_SIZED;
  return true;
}

static bool take_field(const field *of, http_head *head, summary *seen, http_fault *ret_fault) {
  if (is_name(of->name, "Host")) {
    seen->hosts++;
    return (of->value.size <= HTTP_VALUE_MAX && all(of->value, is_host)) ||
           malformed(ret_fault, "Host names no valid host");
  }
  if (is_name(of->name, "Content-Length")) {
    seen->lengths++;
    return seen->lengths > 1 ? malformed(ret_fault, "there is more than one Content-Length")
                             : take_length(of->value, head, ret_fault);
  }
  if (is_name(of->name, "Transfer-Encoding")) {
    seen->codings++;
    return (seen->codings == 1 && is_name(of->value, "chunked")) ||
           fail(ret_fault, HTTP_NOT_IMPLEMENTED,
                "the only Transfer-Encoding that is known here is `chunked`");
  }
  if (is_name(of->name, "Expect") && !head->old) {
    head->expects = true;
    return is_name(of->value, "100-continue") ||
           fail(ret_fault, HTTP_EXPECTATION,
                "the only Expect that is known here is `100-continue`");
  }
  if (is_name(of->name, "Connection")) {
    take_connection(of->value, head, seen);
  }
  return true;
}

/* What http_header_of is asked for anywhere. */
static const char *const handed_on[] = {"Accept-Encoding",
                                        "Access-Control-Request-Method",
                                        "Authorization",
                                        "Content-Encoding",
                                        "Content-Type",
                                        "Host",
                                        "Origin",
                                        "traceparent",
                                        "tracestate",
                                        "User-Agent",
                                        "x-request-id",
                                        "x-request-on-timeout",
                                        "x-request-priority",
                                        "x-request-timeout-ms"};

static bool is_among_them(span name) {
  for (size_t i = 0; i < sizeof handed_on / sizeof handed_on[0]; i++) {
    if (is_name(name, handed_on[i])) {
      return true;
    }
  }
  return false;
}

bool http_head_is_handed_on(const char *name) {
  return is_among_them((span){.data = name, .size = strlen(name)});
}

static bool hands_on(const http_head *head, const field *of) {
  return of->value.size <= HTTP_VALUE_MAX && is_among_them(of->name) &&
         (head->host == NULL || !is_name(of->name, "Host"));
}

/* What all fields together say: RFC 9112, 3.2 and 6.3. */
static bool check_summary(http_head *head, const summary *seen, http_fault *ret_fault) {
  if (seen->hosts > 1 || (seen->hosts == 0 && !head->old)) {
    return malformed(ret_fault, "a request of HTTP/1.1 must have exactly one Host");
  }
  if (seen->codings > 0 && head->old) {
    return malformed(ret_fault, "HTTP/1.0 has no Transfer-Encoding");
  }
  if (seen->codings > 0 && seen->lengths > 0) {
    return malformed(ret_fault, "there are both a Content-Length and a Transfer-Encoding");
  }
  if (seen->handed > HTTP_HANDED_FIELDS || seen->handed_size > HTTP_HANDED_MAX) {
    return fail(ret_fault, HTTP_HEAD_TOO_LARGE,
                "the header fields that are read here are over 20480 bytes, or over 128");
  }
  head->framing = seen->codings > 0 ? HTTP_CHUNKED : head->framing;
  if (head->framing == HTTP_SIZED && head->body_size == 0) {
    head->framing = HTTP_NO_BODY;
  }
  head->expects = head->expects && head->framing != HTTP_NO_BODY;
  head->closes = head->closes || (head->old && !seen->keeps);
  return true;
}

bool http_head_parse(const char *data, size_t size, http_head *ret_head, http_fault *ret_fault) {
  *ret_head = (http_head){.framing = HTTP_NO_BODY};
  summary seen = {.hosts = 0};
  size_t at = 0;
  if (!parse_line(next_line(data, size, &at), ret_head, ret_fault)) {
    return false;
  }
  for (size_t n = 0; at + 2 < size; n++) {
    field one;
    if (n == HTTP_FIELDS_MAX) {
      return fail(ret_fault, HTTP_HEAD_TOO_LARGE, "there are more than 512 header fields");
    }
    if (!parse_field(next_line(data, size, &at), &one, ret_fault) ||
        !take_field(&one, ret_head, &seen, ret_fault)) {
      return false;
    }
    if (hands_on(ret_head, &one)) {
      seen.handed++;
      seen.handed_size += one.name.size + one.value.size + 3;
    }
  }
  return check_summary(ret_head, &seen, ret_fault);
}

/* --- what libmicrohttpd is given --- */

static char *put(char *at, const char *text, size_t size) {
  memcpy(at, text, size);
  return at + size;
}

static char *put_text(char *at, const char *text) { return put(at, text, strlen(text)); }

static char *put_line(char *at, const http_head *head) {
  at = put_text(at, head->method);
  *at++ = ' ';
  at = put(at, head->path, head->path_size);
  return put_text(at, head->old ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
}

size_t http_head_write(const http_head *head, const char *data, size_t size,
                       char ret_text[HTTP_TEXT_MAX]) {
  char *at = put_line(ret_text, head);
  if (head->host != NULL) {
    at = put(put_text(at, "Host: "), head->host, head->host_size);
    at = put_text(at, "\r\n");
  }
  size_t from = 0;
  (void)next_line(data, size, &from);
  while (from + 2 < size) {
    http_fault none;
    field one;
    (void)parse_field(next_line(data, size, &from), &one, &none);
    if (hands_on(head, &one)) {
      /* no blank: there may be no room */
      at = put_text(put(at, one.name.data, one.name.size), ":");
      at = put_text(put(at, one.value.data, one.value.size), "\r\n");
    }
  }
  if (head->closes != head->old) { /* else what the version means by itself */
    at = put_text(at, head->closes ? "Connection: close\r\n" : "Connection: Keep-Alive\r\n");
  }
  return (size_t)(put_text(at, "\r\n") - ret_text);
}

size_t http_head_write_refused(const http_head *head, char ret_text[HTTP_TEXT_MAX]) {
  http_head plain = *head;
  plain.old = false;
  if (plain.path == NULL) {
    plain.path = "/";
    plain.path_size = 1;
    if (strcmp(head->method, "HEAD") != 0) { /* whose reply has no body */
      memcpy(plain.method, "GET", sizeof "GET");
    }
  }
  char *at = put_line(ret_text, &plain);
  return (size_t)(put_text(at, "Host: \r\nConnection: close\r\n\r\n") - ret_text);
}
