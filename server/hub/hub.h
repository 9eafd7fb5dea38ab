/* Models by name: a directory with the files of a model on the Hugging Face hub, or on any server that
 * speaks its protocol. See README.md. */
#ifndef RR_SERVER_HUB_HUB_H
#define RR_SERVER_HUB_HUB_H

#include <stdatomic.h>

#include "core/base/status.h"
#include "server/hub/names.h"
#include "server/hub/progress.h"
#include "server/hub/settings.h"

typedef struct hub_model {
  char directory[HUB_PATH_MAX]; /* the snapshot in the cache */
  char commit[HUB_COMMIT_MAX];
} hub_model;

/* Finds the model in the cache, or downloads what is missing. Blocks, for minutes if need be: not on the
 * event loop, and one call at a time. Setting *cancelled ends it within about a second (RR_ERR_IO); what
 * is there by then stays for the next time. Errors: RR_ERR_IO (network, disk, no such model), RR_ERR_FORMAT
 * (answers or hashes that are wrong), RR_ERR_UNSUPPORTED (no safetensors), RR_ERR_INPUT, RR_ERR_MEMORY. */
rr_status hub_get(const hub_settings *settings, hub_progress *progress, const atomic_bool *cancelled,
                  hub_model *ret_model, rr_error *err);

#endif
