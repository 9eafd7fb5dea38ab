/* The API keys that callers may show. Immutable once loaded; renewed as a whole. */
#ifndef RR_SERVER_HTTP_API_KEYS_H
#define RR_SERVER_HTTP_API_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

typedef struct api_keys api_keys;

enum { API_KEYS_MAX = 1024, API_KEY_BYTES = 512 /* of one, its end included */ };
enum { API_KEY_NO_PRIORITY = INT32_MIN };

/* Takes the keys of n comma-separated lists and those of a file (NULL for none): one a line, where
 * empty lines and those that begin with # are passed over. After a key and blanks may stand
 * priority=N, from -1000 to 1000. Blocks on the file. A file without any key is an error: it would
 * open the server. Errors: RR_ERR_IO, RR_ERR_INPUT (too many, too long, none, a priority that is
 * none), RR_ERR_MEMORY. *ret_keys is freed by api_keys_destroy. */
rr_status api_keys_load(const char *const *lists, size_t n, const char *file, api_keys **ret_keys,
                        rr_error *err);
void api_keys_destroy(api_keys *self); /* NULL is allowed */

size_t api_keys_count(const api_keys *self);

/* Whether there is such a key. Takes the same time for every `given`, right or wrong. */
bool api_keys_match(const api_keys *self, const char *given);

/* The same; *ret_priority: the key's, or API_KEY_NO_PRIORITY. */
bool api_keys_find(const api_keys *self, const char *given, int32_t *ret_priority);

#endif
