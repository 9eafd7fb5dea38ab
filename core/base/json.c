#include "core/base/json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/alloc.h"

/* jansson's parser reports some failed allocations as syntax errors, and after others goes on with a
 * token that lacks a byte. So within a parse the first failure makes all later ones fail too, and is
 * remembered. */
static _Thread_local enum { NOT_PARSING, PARSING, PARSING_FAILED } parser;

static void *parser_malloc(size_t size) {
  void *memory = parser == PARSING_FAILED ? NULL : rr_malloc(size);
  if (memory == NULL && parser == PARSING) {
    parser = PARSING_FAILED;
  }
  return memory;
}

void rr_json_init(void) { json_set_alloc_funcs(parser_malloc, rr_free); }

/* Every value but the first of a container follows a ',' or ':' or '['; counting those outside of
 * strings bounds what the parser will allocate (about 40 bytes a value). */
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
  parser = PARSING;
  json_t *json = json_loadb(data, size, JSON_ALLOW_NUL | JSON_DECODE_ANY | flags, &problem);
  bool memory_failed = parser == PARSING_FAILED;
  parser = NOT_PARSING;
  if (memory_failed) {
    json_decref(json);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory while parsing JSON");
  }
  if (json == NULL) {
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
  rr_free(data);
  if (status != RR_OK) {
    return rr_fail(err, status, "%s: %s", path, inner.message);
  }
  return RR_OK;
}
