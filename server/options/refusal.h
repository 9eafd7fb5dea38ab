/* What is said of a word on the command line that is no option, or an option without its value.
 * Each writes one line to `problem` and returns OPTIONS_INVALID. Pure functions. */
#ifndef RR_SERVER_OPTIONS_REFUSAL_H
#define RR_SERVER_OPTIONS_REFUSAL_H

#include "server/options/options.h"

/* `text` is as on the command line, with its dashes. Its value is not told: it may be a secret. */
options_result option_refuse_unknown(const char *text, char problem[OPTIONS_PROBLEM_MAX]);

/* A word that is no option, nor an option's value. `before` is the word before it, NULL for none.
 */
options_result option_refuse_stray(const char *word, const char *before,
                                   char problem[OPTIONS_PROBLEM_MAX]);

#endif
