#include "server/models/hub/digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void hub_digest_init(hub_digest *digest, const char *etag, uint64_t size) {
  digest->is_git = strlen(etag) == HUB_COMMIT_MAX - 1;
  if (!digest->is_git) {
    sha256_init(&digest->of.sha256);
    return;
  }
  char head[32];
  int length = snprintf(head, sizeof head, "blob %" PRIu64, size);
  sha1_init(&digest->of.sha1);
  sha1_update(&digest->of.sha1, (size_t)length + 1, (const uint8_t *)head); /* with its NUL */
}

void hub_digest_update(hub_digest *digest, const void *data, size_t size) {
  if (digest->is_git) {
    sha1_update(&digest->of.sha1, size, data);
  } else {
    sha256_update(&digest->of.sha256, size, data);
  }
}

void hub_digest_finish(hub_digest *digest, char ret_digits[HUB_ETAG_MAX]) {
  uint8_t bytes[SHA256_DIGEST_SIZE];
  size_t size = digest->is_git ? SHA1_DIGEST_SIZE : SHA256_DIGEST_SIZE;
  if (digest->is_git) {
    sha1_digest(&digest->of.sha1, size, bytes);
  } else {
    sha256_digest(&digest->of.sha256, size, bytes);
  }
  for (size_t i = 0; i < size; i++) {
    (void)snprintf(ret_digits + 2 * i, 3, "%02x", bytes[i]);
  }
}
