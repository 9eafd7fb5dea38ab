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

/* What an option is about; --help and docs/options.md have a part for each. */
typedef enum option_group {
  OPTIONS_OF_MODEL,
  OPTIONS_OF_ACCESS,
  OPTIONS_OF_WORK,
  OPTIONS_OF_CACHES,
  OPTIONS_OF_PROCESS,
  OPTIONS_OF_LOGS,
  OPTIONS_OF_ASKING,
  OPTION_GROUPS
} option_group;

/* A row of the table (table.c): all that there is to know of an option. Strings are static. */
typedef struct option_spec {
  const char *name;     /* as on the command line, without dashes */
  const char *variable; /* of the environment; NULL: the name in upper snake case */
  option_group group;
  bool matters; /* one of the few that --help prints by itself */
  char letter;  /* its short form; 0: none */
  option_kind kind;
  size_t offset;  /* of the field in options */
  size_t minimum; /* of a number or a size, as the next */
  size_t maximum;
  const char *initial; /* the default, as it would be given; NULL: the field is left zero */
  const char
      *otherwise;       /* what counts where nothing is given, in words; NULL: `initial`, or none */
  const char *argument; /* what stands for its value in --help; NULL: it takes none */
  const char *help;     /* what it is for: begins in lower case, ends without a stop */
  const char *page;     /* where docs/options.md leads for more: a path from docs/; NULL: nowhere */
} option_spec;

/* Stores the value of an option that came from `source`, "--port" or "PORT". False with a line in
 * `problem`. */
bool option_store(const option_spec *option, const char *source, const char *text, options *self,
                  char problem[OPTIONS_PROBLEM_MAX]);

/* "true", "on", "1" and the like. */
bool option_flag(const char *text, bool *ret_flag);

#endif
