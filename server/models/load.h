/* Getting ready: the model from its directory or from the hub, the workers, a first forward pass.
 * It happens on a thread of its own while the server already answers.
 *
 * 1. One thread runs load_run; scorer, workers and error are read only after it, with a hand-over
 *    between.
 * 2. load_cancel and load_describe may be called by any thread meanwhile.
 */
#ifndef RR_SERVER_MODELS_LOAD_H
#define RR_SERVER_MODELS_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/scorer.h"
#include "server/cache/document_cache.h"
#include "server/cache/score_cache.h"
#include "server/models/hub/hub.h"
#include "server/options/options.h"
#include "server/redis/keys.h"
#include "server/sched/workers.h"

enum { LOAD_TEXT_MAX = 160 };

typedef struct model_load {
  const options *options;
  atomic_bool cancelled;
  hub_progress progress;
  char commit[HUB_COMMIT_MAX]; /* of a model from the hub, else "" */
  rr_scorer *scorer;           /* NULL if loading failed before there was one */
  workers *workers;
  score_cache *cache;        /* NULL if it is not wanted */
  redis_keys shared;         /* of the shared cache, if it is wanted */
  document_cache *documents; /* the same, or the model is a cross-encoder */
  rr_error error;            /* RR_OK if all is there */
} model_load;

void load_init(model_load *load, const options *chosen);

/* Whether the model is a path of this machine, not a name on the hub. So is a path that this
 * user may not look at. */
bool load_is_local(const options *chosen);

/* Where the hub and its cache are. */
rr_status load_hub_settings(const options *chosen, hub_settings *ret_settings, rr_error *err);

/* Loads. Blocks for as long as that takes: not on the event loop. */
void load_run(model_load *load);

/* Ends a download within about a second; loading fails then. */
void load_cancel(model_load *load);

/* What it is at, for people who wait. */
void load_describe(const model_load *load, char ret_text[LOAD_TEXT_MAX]);

#endif
