/* What options are like, and their values: read from text, and told of where they are wrong. Pure
 * functions. */
#ifndef RR_SERVER_OPTIONS_VALUES_H
#define RR_SERVER_OPTIONS_VALUES_H

#include <stdbool.h>
#include <stddef.h>

#include "server/options/options.h"

typedef enum option_kind {
  OPTION_TEXT,
  OPTION_LIST,
  OPTION_NUMBER,
  OPTION_SMALL_NUMBER,
  OPTION_SIZE, /* bytes */
  OPTION_FLAG,
  OPTION_SWITCH,
  OPTION_DTYPE,
  OPTION_SCORING,
  OPTION_LEVEL,
  OPTION_HEALTH, /* from here on: on the command line alone */
  OPTION_HELP,   /* from here on: without a value */
  OPTION_VERSION
} option_kind;

typedef struct option_spec {
  const char *name;
  option_kind kind;
  size_t offset; /* of the field in options */
  size_t minimum;
  size_t maximum;
  const char *argument;
  const char *help;
} option_spec;

/* Stores the value of an option that came from `source`, "--port" or "PORT". False with a line in
 * `problem`. */
bool option_store(const option_spec *option, const char *source, const char *text, options *self,
                  char problem[OPTIONS_PROBLEM_MAX]);

/* "true", "on", "1" and the like. */
bool option_flag(const char *text, bool *ret_flag);

#endif
