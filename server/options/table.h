/* The options, a row each: the command line, the environment, --help and docs/options.md are made
 * of it. Pure; any thread. */
#ifndef RR_SERVER_OPTIONS_TABLE_H
#define RR_SERVER_OPTIONS_TABLE_H

#include <stddef.h>

#include "server/options/values.h"

enum { OPTION_NAME_MAX = 64, OPTIONS_MAX = 128 };

/* The *ret_n rows, group by group; at most OPTIONS_MAX. Static storage. */
const option_spec *option_table(size_t *ret_n);

/* A group's name, as a title. Static storage. */
const char *option_group_name(option_group group);

/* The variable of the environment that does the same. */
void option_variable(const option_spec *option, char ret_name[OPTION_NAME_MAX]);

/* The option of a name of so many bytes, - and _ the same; NULL: none. */
const option_spec *option_find(const char *name, size_t size);

#endif
