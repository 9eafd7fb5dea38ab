/* The hash that the hub names a file by: SHA-256 of a large file, or git's SHA-1 of any other. One
 * thread a digest. */
#ifndef RR_SERVER_MODELS_HUB_DIGEST_H
#define RR_SERVER_MODELS_HUB_DIGEST_H

#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/models/hub/names.h"

typedef struct hub_digest {
  bool is_git;
  union {
    struct sha1_ctx sha1;
    struct sha256_ctx sha256;
  } of;
} hub_digest;

/* Begins: `etag`, for which hub_is_etag holds, says which hash; git's hashes the size first. */
void hub_digest_init(hub_digest *digest, const char *etag, uint64_t size);
void hub_digest_update(hub_digest *digest, const void *data, size_t size);

/* Ends: the hash as small hexadecimal digits. */
void hub_digest_finish(hub_digest *digest, char ret_digits[HUB_ETAG_MAX]);

#endif
