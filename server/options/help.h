/* --help in its three forms, from the table of options. */
#ifndef RR_SERVER_OPTIONS_HELP_H
#define RR_SERVER_OPTIONS_HELP_H

#include <stdbool.h>
#include <stdio.h>

/* Which form: NULL, what matters most; "all"; "markdown", which is docs/options.md. Returns false,
 * with nothing printed, for another. */
bool help_print(const char *form, FILE *out);

#endif
