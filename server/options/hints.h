/* Help with options that are none: a near one, or what takes the place of another server's. Pure
 * functions. */
#ifndef RR_SERVER_OPTIONS_HINTS_H
#define RR_SERVER_OPTIONS_HINTS_H

#include <stdbool.h>
#include <stddef.h>

/* Edits from one to the other: a letter more, less or another, or two neighbours swapped, once
 * each. Small and capital letters are the same, and - is _. More than 64 bytes are compared by
 * their first 64. */
size_t option_distance(const char *a, const char *b);

/* Up to how many edits a word may be a slip of another: a third of its letters, at least one. */
size_t option_distance_most(const char *word);

/* Whether a longer word begins with these letters, of which there are at least three. */
bool option_is_begin(const char *letters, const char *word);

/* What does here what an option `name` of other servers does, or that nothing does; NULL for a name
 * that is not known. A name of one letter is a short option. */
const char *option_elsewhere(const char *name);

#endif
