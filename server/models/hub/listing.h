/* What a revision holds, as the hub lists it, and which of its files a model needs. Pure. */
#ifndef RR_SERVER_MODELS_HUB_LISTING_H
#define RR_SERVER_MODELS_HUB_LISTING_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/base/status.h"
#include "server/models/hub/names.h"

enum { HUB_FILES_MAX = 2048, HUB_LISTING_BYTES_MAX = 64 << 20 };

typedef struct hub_listing {
  char commit[HUB_COMMIT_MAX];
  json_t *files; /* an object whose keys are the file names */
} hub_listing;

typedef struct hub_file_names {
  char (*names)[HUB_FILE_MAX]; /* HUB_FILES_MAX of them, of rr_malloc */
  size_t count;
} hub_file_names;

/* Reads the answer to /api/models/NAME/revision/REVISION. `what` begins every message.
 * RR_ERR_FORMAT, RR_ERR_MEMORY. Freed by hub_listing_free. */
rr_status hub_listing_read(const char *what, const char *data, size_t size,
                           hub_listing *ret_listing, rr_error *err);
void hub_listing_free(hub_listing *listing);

bool hub_listing_has(const hub_listing *listing, const char *file);

/* Where the transformer's files are: "", or a folder like "0_Transformer/". */
void hub_listing_folder(const hub_listing *listing, char ret_folder[HUB_FILE_MAX]);

/* The files that tell the architecture: of some KB. */
void hub_listing_configurations(const hub_listing *listing, hub_file_names *names);

/* The configurations, tokenizers and the index of shards, if any. */
void hub_listing_small_files(const hub_listing *listing, hub_file_names *names);

/* Adds folder + name. RR_ERR_FORMAT for a name that is none, that is not in the listing, or too
 * many. */
rr_status hub_listing_add(const hub_listing *listing, const char *what, const char *folder,
                          const char *name, hub_file_names *names, rr_error *err);

/* RR_ERR_UNSUPPORTED if the transformer's folder has no safetensors, with what to do about it. */
rr_status hub_listing_check_weights(const hub_listing *listing, const char *what,
                                    const char *folder, bool *ret_sharded, rr_error *err);

#endif
