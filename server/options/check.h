/* What options must be like together. Pure functions. */
#ifndef RR_SERVER_OPTIONS_CHECK_H
#define RR_SERVER_OPTIONS_CHECK_H

#include <stdbool.h>

#include "server/options/options.h"

/* False with a line in `problem`. */
bool options_check(const options *self, char problem[OPTIONS_PROBLEM_MAX]);

#endif
