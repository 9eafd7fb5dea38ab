/* One file of a model, from the hub into the cache: asked for, resumed, checked, linked. */
#ifndef RR_SERVER_MODELS_HUB_FETCH_H
#define RR_SERVER_MODELS_HUB_FETCH_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/base/status.h"
#include "server/models/hub/cache.h"
#include "server/models/hub/client.h"
#include "server/models/hub/progress.h"
#include "server/models/hub/settings.h"

/* What all files of one download share; borrowed. */
typedef struct hub_session {
  const hub_settings *settings;
  hub_client *client;
  hub_cache cache;
  hub_progress *progress;
  const atomic_bool *cancelled;
  char commit[HUB_COMMIT_MAX];
} hub_session;

/* What the hub says about a file. */
typedef struct hub_file {
  const char *name;
  bool cached; /* the snapshot has it; nothing else is set then */
  char etag[HUB_ETAG_MAX];
  uint64_t size; /* bytes */
} hub_file;

/* Asks the hub about session->commit's file, unless the snapshot has it already. Files over
 * max_size are refused. *ret_outcome is HUB_AGAIN if the hub could not be reached. */
rr_status hub_fetch_about(hub_session *session, const char *name, uint64_t max_size,
                          hub_file *ret_file, hub_outcome *ret_outcome, rr_error *err);

/* Brings the file's blob into the cache, whatever part of it is there already, and links it into
 * the snapshot. Blocks until it is there; session->progress counts the bytes. */
rr_status hub_fetch(hub_session *session, const hub_file *file, hub_outcome *ret_outcome,
                    rr_error *err);

#endif
