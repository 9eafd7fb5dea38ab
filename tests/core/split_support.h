/* Shared by the tests of split layers: the variants of the golden model `split`. */
#ifndef RR_TESTS_CORE_SPLIT_SUPPORT_H
#define RR_TESTS_CORE_SPLIT_SUPPORT_H

#include "tests/core/score_support.h"

/* Copies the golden model to `directory`, with the members of <variant>.json's `config` in its
 * config.json; of the variant "split" as it is. */
void split_write(const char *variant, const char *directory);

/* Sets (json; the text of a value) or, if that is NULL, removes a member of directory/name, a JSON
 * object. */
void split_change(const char *directory, const char *name, const char *key, const char *json);

/* Loads a variant; fails the test with the message if that fails. Freed by the caller with
 * rr_scorer_destroy. */
rr_scorer *split_load(const char *variant, rr_dtype dtype);

/* The step through a variant's golden cases: all of them, or every fourth where RR_SLOW asks for
 * fewer repeats. */
size_t split_step(void);

#endif
