#include "core/base/json.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/budget.h"
#include "core/base/file.h"
#include "core/base/kind.h"

enum { LARGE_BYTES = 64 * 1024 };

/* jansson's parser does not survive every failed allocation: it goes on with a token that lacks
 * bytes, and then may stop the process by an assertion or read beyond the token. So a failed
 * allocation within a parse never returns to it: it jumps out, and what the parse has allocated,
 * which is chained for this, is freed. jansson holds no lock while it parses. */
typedef struct chunk {
  struct chunk *next;
  struct chunk *previous;
} chunk;

_Static_assert(sizeof(chunk) % 16 == 0, "what follows a chunk's head is aligned for anything");

/* Within a scope small values lie in its arena, where freeing them does nothing: a parse frees
 * little but what it has outgrown,
 * by doubling. What is large goes to the heap and back, so that a long string does not leave its
 * halves and quarters behind. */
typedef struct rr_json_large {
  struct rr_json_large *next;
  struct rr_json_large *previous;
} large;

/* In front of everything that lies in a scope. */
typedef struct label {
  size_t bytes; /* that were taken from the heap; 0: it is in the arena */
  size_t unused;
} label;

_Static_assert(sizeof(large) % 16 == 0 && sizeof(label) == 16,
               "what follows them is aligned for anything");

static _Thread_local struct {
  chunk *chunks;    /* of the parse under way, newest first; without a scope */
  jmp_buf *way_out; /* NULL outside of a parse */
  rr_json_scope *scope;
} parser;

static label *take_large(rr_json_scope *scope, size_t size) {
  rr_claim *claim = scope->small.claim;
  size_t bytes = sizeof(large) + sizeof(label) + size;
  if (claim != NULL && !rr_claim_take(claim, bytes)) {
    return NULL;
  }
  large *head = rr_malloc(bytes);
  if (head == NULL) {
    if (claim != NULL) {
      rr_claim_give(claim, bytes);
    }
    return NULL;
  }
  *head = (large){.next = scope->large};
  if (head->next != NULL) {
    head->next->previous = head;
  }
  scope->large = head;
  label *mark = (label *)(head + 1);
  mark->bytes = bytes;
  return mark;
}

static void free_large(rr_json_scope *scope, label *mark) {
  large *head = (large *)mark - 1;
  if (head->next != NULL) {
    head->next->previous = head->previous;
  }
  *(head->previous != NULL ? &head->previous->next : &scope->large) = head->next;
  if (scope->small.claim != NULL) {
    rr_claim_give(scope->small.claim, mark->bytes);
  }
  rr_free(head);
}

static void *scope_malloc(rr_json_scope *scope, size_t size) {
  label *mark = NULL;
  if (size < LARGE_BYTES) {
    mark = rr_alloc_injected() ? NULL : rr_arena_alloc(&scope->small, sizeof *mark + size);
    if (mark != NULL) {
      mark->bytes = 0;
    }
  } else if (size < SIZE_MAX - sizeof(large) - sizeof(label)) {
    mark = take_large(scope, size);
  }
  if (mark == NULL && parser.way_out != NULL) {
    longjmp(*parser.way_out, 1);
  }
  return mark == NULL ? NULL : mark + 1;
}

static void scope_free(rr_json_scope *scope, void *memory) {
  label *mark = (label *)memory - 1;
  if (mark->bytes > 0) {
    free_large(scope, mark);
  }
}

void rr_json_enter(rr_json_scope *scope, rr_claim *claim) {
  *scope = (rr_json_scope){.large = NULL};
  rr_arena_init(&scope->small, SIZE_MAX);
  scope->small.claim = claim;
  parser.scope = scope;
}

void rr_json_leave(rr_json_scope *scope) {
  while (scope->large != NULL) {
    free_large(scope, (label *)(scope->large + 1));
  }
  rr_arena_finish(&scope->small);
  parser.scope = NULL;
}

static void *json_malloc(size_t size) {
  if (parser.scope != NULL) {
    return scope_malloc(parser.scope, size);
  }
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
  if (parser.scope != NULL) {
    scope_free(parser.scope, memory);
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

/* fault: NULL, or filled instead of quoting in err. */
static rr_status parse(const char *data, size_t size, size_t max_values, size_t flags,
                       json_t **ret_json, rr_json_fault *fault, rr_error *err) {
  if (count_values(data, size) > max_values) {
    return rr_fail(err, RR_ERR_INPUT, "more than %zu JSON values", max_values);
  }
  json_error_t problem;
  bool memory_failed;
  json_t *json =
      load(data, size, JSON_ALLOW_NUL | JSON_DECODE_ANY | flags, &problem, &memory_failed);
  if (memory_failed) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory while parsing JSON");
  }
  if (json == NULL) {
    for (char *c = problem.text; *c != '\0'; c++) { /* it quotes the input, and is to be one line */
      *c = (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c;
    }
    if (fault != NULL) {
      *fault = (rr_json_fault){.line = problem.line, .column = problem.column};
      memcpy(fault->text, problem.text, sizeof fault->text);
    }
    return rr_fail(err, RR_ERR_FORMAT, "invalid JSON at line %d column %d%s%s", problem.line,
                   problem.column, fault == NULL ? ": " : "", fault == NULL ? problem.text : "");
  }
  *ret_json = json;
  return RR_OK;
}

rr_status rr_json_parse(const char *data, size_t size, size_t max_values, json_t **ret_json,
                        rr_error *err) {
  return parse(data, size, max_values, 0, ret_json, NULL, err);
}

rr_status rr_json_parse_unique(const char *data, size_t size, size_t max_values, json_t **ret_json,
                               rr_error *err) {
  return parse(data, size, max_values, JSON_REJECT_DUPLICATES, ret_json, NULL, err);
}

rr_status rr_json_parse_foreign(const char *data, size_t size, size_t max_values, json_t **ret_json,
                                rr_json_fault *ret_fault, rr_error *err) {
  return parse(data, size, max_values, 0, ret_json, ret_fault, err);
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
  rr_status status = rr_file_read(path, max_bytes, &data, &size, err);
  if (status != RR_OK) {
    return status;
  }
  rr_error inner = {.status = RR_OK, .message = ""};
  status = parse(data, size, SIZE_MAX, 0, ret_json, NULL, &inner);
  if (status == RR_ERR_FORMAT) {
    /* Helps only against an integer beyond 64 bits; any other fault fails again. */
    status = parse(data, size, SIZE_MAX, JSON_DECODE_INT_AS_REAL, ret_json, NULL, &inner);
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
