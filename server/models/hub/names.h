/* What a name of the hub may look like. All of them end up in paths and URLs, so nothing here can
 * climb out of a folder. Pure functions. */
#ifndef RR_SERVER_MODELS_HUB_NAMES_H
#define RR_SERVER_MODELS_HUB_NAMES_H

#include <stdbool.h>

enum {
  HUB_REPO_MAX = 97, /* bytes with the terminator, as are those below */
  HUB_REVISION_MAX = 201,
  HUB_FILE_MAX = 256,
  HUB_COMMIT_MAX = 41,
  HUB_ETAG_MAX = 65,
};

/* "organisation/name" or "name": letters, digits, ., _, -. */
bool hub_is_repo(const char *text);

/* A branch, a tag, "refs/pr/1" or a commit. */
bool hub_is_revision(const char *text);

/* 40 small hexadecimal digits. */
bool hub_is_commit(const char *text);

/* A commit's digits, or a SHA-256's 64: the only ETags that can be checked. */
bool hub_is_etag(const char *text);

/* A relative path of a file: no empty part, none that begins with a dot, no backslash, no control
 * character. */
bool hub_is_file(const char *text);

#endif
