/* The cache on disk, laid out as huggingface_hub does, so that both share it:
 *
 *   CACHE/models--ORG--NAME/blobs/ETAG                 the files' bytes
 *   CACHE/models--ORG--NAME/snapshots/COMMIT/FILE      links to them
 *   CACHE/models--ORG--NAME/refs/REVISION              the commit of a branch or tag
 *   CACHE/.locks/models--ORG--NAME/ETAG.lock           held while a blob is made
 *
 * A blob appears whole and checked or not at all. Any thread; names must have passed names.h. */
#ifndef RR_SERVER_MODELS_HUB_CACHE_H
#define RR_SERVER_MODELS_HUB_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/status.h"
#include "server/models/hub/names.h"
#include "server/models/hub/settings.h"

typedef struct hub_cache {
  char folder[HUB_PATH_MAX]; /* CACHE/models--ORG--NAME */
  char locks[HUB_PATH_MAX];  /* CACHE/.locks/models--ORG--NAME */
} hub_cache;

rr_status hub_cache_init(const hub_settings *settings, hub_cache *ret_cache, rr_error *err);

/* folder/snapshots/commit, and a file in it, "" for none. */
rr_status hub_cache_snapshot(const hub_cache *cache, const char *commit, const char *file,
                             char ret_path[HUB_PATH_MAX], rr_error *err);

/* folder/blobs/etag + ending */
rr_status hub_cache_blob(const hub_cache *cache, const char *etag, const char *ending,
                         char ret_path[HUB_PATH_MAX], rr_error *err);

/* Makes the folders that the file's path goes through. */
rr_status hub_cache_make_folders(const char *path, rr_error *err);

/* Whether the path leads to a regular file, and its size. */
bool hub_cache_has(const char *path, uint64_t *ret_size);

/* Links the snapshot's file to the blob. */
rr_status hub_cache_link(const hub_cache *cache, const char *commit, const char *file,
                         const char *etag, rr_error *err);

/* The commit that a branch or tag had when it was last fetched; a commit is its own. */
bool hub_cache_read_ref(const hub_cache *cache, const char *revision,
                        char ret_commit[HUB_COMMIT_MAX]);
rr_status hub_cache_write_ref(const hub_cache *cache, const char *revision, const char *commit,
                              rr_error *err);

/* Takes the blob's lock, the one that huggingface_hub takes, and waits for it; *ret_fd is given
 * back to hub_cache_unlock. RR_ERR_IO also when `cancelled` was set meanwhile. */
rr_status hub_cache_lock(const hub_cache *cache, const char *etag, const atomic_bool *cancelled,
                         int *ret_fd, rr_error *err);
void hub_cache_unlock(int fd);

#endif
