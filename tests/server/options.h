/* What the tests of options share: a command line and an environment, read as the server reads
 * them. */
#ifndef RR_TESTS_SERVER_OPTIONS_H
#define RR_TESTS_SERVER_OPTIONS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/options/options.h"

enum { WORDS_MAX = 32 };

/* The environment of the test: NAME, value, NAME, value, NULL. */
static const char *const *environment;

static inline char *look_up(const char *name) {
  for (size_t i = 0; environment != NULL && environment[i] != NULL; i += 2) {
    if (strcmp(environment[i], name) == 0) {
      return (char *)environment[i + 1];
    }
  }
  return NULL;
}

static char problem[OPTIONS_PROBLEM_MAX];
static char printed[16384];

/* Splits the command line at blanks and reads it. */
static inline options_result read_line(const char *line, options *ret_options) {
  static char copy[512];
  char *words[WORDS_MAX] = {"rerankd"};
  int n = 1;
  (void)snprintf(copy, sizeof copy, "%s", line);
  for (char *word = strtok(copy, " "); word != NULL && n < WORDS_MAX - 1;
       word = strtok(NULL, " ")) {
    words[n++] = word;
  }
  FILE *out = fmemopen(printed, sizeof printed, "w");
  assert_non_null(out);
  problem[0] = '\0';
  options_result result = options_read(n, words, look_up, out, ret_options, problem);
  assert_int_equal(fclose(out), 0);
  return result;
}

#endif
