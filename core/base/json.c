#include "core/base/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/alloc.h"
#include "core/base/kind.h"

/* jansson's parser does not survive every failed allocation: it goes on with a token that lacks bytes, and
 * then may stop the process by an assertion or read beyond the token. So a failed allocation within a parse
 * never returns to it: it jumps out, and what the parse has allocated, which is chained for this, is freed.
 * jansson holds no lock while it parses. */
typedef struct chunk {
  struct chunk *next;
  struct chunk *previous;
} chunk;

_Static_assert(sizeof(chunk) % 16 == 0, "what follows a chunk's head is aligned for anything");

static _Thread_local struct {
  chunk *chunks; /* of the parse under way, newest first */
  jmp_buf *way_out; /* NULL outside of a parse */
} parser;

static void *json_malloc(size_t size) {
  chunk *head = size > SIZE_MAX - sizeof *head ? NULL : rr_malloc(sizeof *head + size);
  if (head == NULL) {
    if (parser.way_out != NULL) {
      longjmp(*parser.way_out, 1);
    }
    return NULL;
  }
  if (parser.way_out != NULL) {
    *head = (chunk){.next = parser.chunks};
    if (head->next != NULL) {
      head->next->previous = head;
    }
    parser.chunks = head;
  }
  return head + 1;
}

static void json_free(void *memory) {
  if (memory == NULL) {
    return;
  }
  chunk *head = (chunk *)memory - 1;
  if (parser.way_out != NULL) { /* all that a parse frees is its own */
    if (head->next != NULL) {
      head->next->previous = head->previous;
    }
    *(head->previous != NULL ? &head->previous->next : &parser.chunks) = head->next;
  }
  rr_free(head);
}

/* json_loadb, where *ret_memory_failed tells why there is nothing. */
static json_t *load(const char *data, size_t size, size_t flags, json_error_t *problem,
                    bool *ret_memory_failed) {
  jmp_buf way_out;
  parser.chunks = NULL;
  parser.way_out = &way_out;
  *ret_memory_failed = setjmp(way_out) != 0;
  json_t *json = *ret_memory_failed ? NULL : json_loadb(data, size, flags, problem);
  parser.way_out = NULL;
  while (*ret_memory_failed && parser.chunks != NULL) {
    chunk *next = parser.chunks->next;
    rr_free(parser.chunks);
    parser.chunks = next;
  }
  return json;
}

void rr_json_init(void) { json_set_alloc_funcs(json_malloc, json_free); }

/* Every value but the first of a container follows a ',' or ':' or '['; counting those outside of
 * strings bounds what the parser will allocate (about 60 bytes a value). */
static size_t count_values(const char *data, size_t size) {
  size_t values = 1;
  bool in_string = false;
  for (size_t i = 0; i < size; i++) {
    char c = data[i];
    if (in_string) {
      if (c == '\\') {
        i++;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == ',' || c == ':' || c == '[' || c == '{') {
      values++;
    }
  }
  return values;
}

static rr_status parse(const char *data, size_t size, size_t max_values, size_t flags,
                       json_t **ret_json, rr_error *err) {
  if (count_values(data, size) > max_values) {
    return rr_fail(err, RR_ERR_INPUT, "more than %zu JSON values", max_values);
  }
  json_error_t problem;
  bool memory_failed;
  json_t *json = load(data, size, JSON_ALLOW_NUL | JSON_DECODE_ANY | flags, &problem, &memory_failed);
  if (memory_failed) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory while parsing JSON");
  }
  if (json == NULL) {
    for (char *c = problem.text; *c != '\0'; c++) { /* it quotes the input, and is to be one line */
      *c = (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c;
    }
    return rr_fail(err, RR_ERR_FORMAT, "invalid JSON at line %d column %d: %s", problem.line,
                   problem.column, problem.text);
  }
  *ret_json = json;
  return RR_OK;
}

rr_status rr_json_parse(const char *data, size_t size, size_t max_values, json_t **ret_json,
                        rr_error *err) {
  return parse(data, size, max_values, 0, ret_json, err);
}

rr_status rr_json_parse_unique(const char *data, size_t size, size_t max_values, json_t **ret_json,
                               rr_error *err) {
  return parse(data, size, max_values, JSON_REJECT_DUPLICATES, ret_json, err);
}

static rr_status read_file(const char *path, size_t max_bytes, char **ret_data, size_t *ret_size,
                           rr_error *err) {
  FILE *file = fopen(path, "rbe");
  if (file == NULL) {
    return rr_fail(err, RR_ERR_IO, "%s: %s", path, strerror(errno));
  }
  rr_status status = RR_OK;
  char *data = NULL;
  size_t got = 0;
  struct stat about;
  if (fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode)) {
    status = rr_fail(err, RR_ERR_IO, "%s: not a regular file", path);
  } else if ((uintmax_t)about.st_size > max_bytes) {
    status = rr_fail(err, RR_ERR_FORMAT, "%s: over %zu bytes", path, max_bytes);
  } else if ((data = rr_malloc((size_t)about.st_size)) == NULL) {
    status = rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", path);
  } else {
    got = fread(data, 1, (size_t)about.st_size, file);
    if (got != (size_t)about.st_size) {
      status = rr_fail(err, RR_ERR_IO, "%s: could not be read whole", path);
    }
  }
  (void)fclose(file);
  if (status != RR_OK) {
    rr_free(data);
    return status;
  }
  *ret_data = data;
  *ret_size = got;
  return RR_OK;
}

/* What to do about a file that is text, but no JSON. */
static const char *advice_for(const char *data, size_t size, const char *problem) {
  if (memmem(data, size, "NaN", 3) != NULL || memmem(data, size, "Infinity", 8) != NULL) {
    return "; it may be NaN or Infinity, which JSON has not: write a number or null";
  }
  return strstr(problem, "end of file") != NULL || strstr(problem, "premature end") != NULL
             ? "; the file is cut: download it again"
             : "";
}

rr_status rr_json_load(const char *path, size_t max_bytes, json_t **ret_json, rr_error *err) {
  char *data = NULL;
  size_t size = 0;
  rr_status status = read_file(path, max_bytes, &data, &size, err);
  if (status != RR_OK) {
    return status;
  }
  rr_error inner = {.status = RR_OK, .message = ""};
  status = parse(data, size, SIZE_MAX, 0, ret_json, &inner);
  if (status == RR_ERR_FORMAT) {
    /* Helps only against an integer beyond 64 bits; any other fault fails again. */
    status = parse(data, size, SIZE_MAX, JSON_DECODE_INT_AS_REAL, ret_json, &inner);
  }
  const char *kind = status == RR_ERR_FORMAT ? rr_kind_of_bytes(data, size) : NULL;
  const char *advice = status == RR_ERR_FORMAT ? advice_for(data, size, inner.message) : "";
  rr_free(data);
  if (status != RR_OK) {
    return kind != NULL ? rr_fail(err, status, "%s: invalid JSON: the file %s", path, kind)
                        : rr_fail(err, status, "%s: %s%s", path, inner.message, advice);
  }
  return RR_OK;
}
