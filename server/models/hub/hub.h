/* Models by name: a directory with the files of a model on the Hugging Face hub, or on any server
 * that speaks its protocol. See README.md. */
#ifndef RR_SERVER_MODELS_HUB_HUB_H
#define RR_SERVER_MODELS_HUB_HUB_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/base/status.h"
#include "server/models/hub/names.h"
#include "server/models/hub/progress.h"
#include "server/models/hub/settings.h"

typedef struct hub_model {
  char directory[HUB_PATH_MAX]; /* the snapshot in the cache */
  char commit[HUB_COMMIT_MAX];
} hub_model;

/* A look at the files of a model that come before its weights, in `directory`: first, and again
 * once the tokenizer's are there too. Anything but RR_OK ends the download with that error. */
typedef struct hub_look {
  rr_status (*at)(void *context, const char *directory, bool with_tokenizer, rr_error *err);
  void *context;
} hub_look;

/* Finds the model in the cache, or downloads what is missing. Blocks, for minutes if need be: not
 * on the event loop, and one call at a time. Setting *cancelled ends it within about a second
 * (RR_ERR_IO); what is there by then stays for the next time. Errors: RR_ERR_IO (network, disk, no
 * such model), RR_ERR_FORMAT (answers or hashes that are wrong), RR_ERR_UNSUPPORTED (no
 * safetensors), RR_ERR_INPUT, RR_ERR_MEMORY. */
rr_status hub_get(const hub_settings *settings, const hub_look *look, hub_progress *progress,
                  const atomic_bool *cancelled, hub_model *ret_model, rr_error *err);

#endif
