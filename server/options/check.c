#include "server/options/check.h"

#include <stdio.h>
#include <string.h>

#include "server/cache/document_cache.h"
#include "server/cache/lfu.h"
#include "server/redis/address.h"
#include "server/redis/commands.h"
#include "server/system/memory_limit.h"

/* The URL is not told again: it may hold a password. */
static bool check_shared(const options *self, char problem[OPTIONS_PROBLEM_MAX]) {
  redis_address address;
  rr_error error;
  if (self->shared_cache == NULL) {
    return true;
  }
  if (self->cache_bytes == 0) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "--shared-cache: only with --cache-bytes, which goes before it");
    return false;
  }
  if (strlen(self->shared_cache_prefix) > REDIS_PREFIX_MAX) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--shared-cache-prefix: %d bytes at most",
                   (int)REDIS_PREFIX_MAX);
    return false;
  }
  if (redis_address_parse(self->shared_cache, self->shared_cache_password, &address, &error) !=
      RR_OK) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--shared-cache: %.400s", error.message);
    return false;
  }
  explicit_bzero(&address, sizeof address);
  return true;
}

bool options_check(const options *self, char problem[OPTIONS_PROBLEM_MAX]) {
  if (self->cache_bytes > 0 && self->cache_bytes < LFU_BYTES_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--cache-bytes: 0, or at least %d (64KiB)",
                   (int)LFU_BYTES_MIN);
    return false;
  }
  if (self->request_memory > 0 && self->request_memory < REQUEST_MEMORY_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "--request-memory: 0, for a share of what there is, or at least %d",
                   (int)REQUEST_MEMORY_MIN);
    return false;
  }
  if (self->document_cache_bytes > 0 && self->document_cache_bytes < DOCUMENT_CACHE_BYTES_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--document-cache-bytes: 0, or at least %d (1MiB)",
                   (int)DOCUMENT_CACHE_BYTES_MIN);
    return false;
  }
  if (!check_shared(self, problem)) {
    return false;
  }
  if (self->document_cache_bytes == 0 && self->documents != NULL) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--documents: not with --document-cache-bytes 0");
    return false;
  }
  return true;
}
