/* What the tokenizer's tests share. */
#ifndef RR_TESTS_CORE_TOKEN_SUPPORT_H
#define RR_TESTS_CORE_TOKEN_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/json.h"
#include "core/token/tokenizer.h"

static const size_t TEST_ARENA_LIMIT = (size_t)1 << 30;

/* The path of a file or folder of tests/golden/token, in static storage. */
static inline const char *golden_path(const char *name) {
  static char path[4096];
  const char *golden = getenv("RR_GOLDEN");
  if (golden == NULL) {
    fail_msg("RR_GOLDEN is not set");
  }
  (void)snprintf(path, sizeof path, "%s/token/%s", golden, name);
  return path;
}

static inline json_t *golden_json(const char *name) {
  json_t *json = NULL;
  rr_error err = {.message = ""};
  if (rr_json_load(golden_path(name), (size_t)64 << 20, &json, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return json;
}

static inline rr_tokenizer *load_tokenizer(const char *directory) {
  rr_tokenizer *tokenizer = NULL;
  rr_error err = {.message = ""};
  if (rr_tokenizer_load(directory, &tokenizer, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return tokenizer;
}

static inline rr_text text_of(const char *string) { return (rr_text){string, strlen(string)}; }

static inline rr_tokens tokens_of(const rr_tokenizer *tokenizer, rr_text text, rr_arena *arena) {
  rr_tokens tokens = {NULL, 0};
  rr_error err = {.message = ""};
  if (rr_tokenizer_tokens(tokenizer, text, arena, &tokens, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return tokens;
}

static const rr_truncation UNTRUNCATED = {.max_length = SIZE_MAX};

#endif
