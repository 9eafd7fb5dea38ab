/* Where the hub and its cache are, from the options and the environment variables that
 * huggingface_hub knows. */
#ifndef RR_SERVER_MODELS_HUB_SETTINGS_H
#define RR_SERVER_MODELS_HUB_SETTINGS_H

#include <stdbool.h>

#include "core/base/status.h"

enum { HUB_PATH_MAX = 4096, HUB_TOKEN_MAX = 1024 };

/* What the user chose; NULL for nothing. Strings are borrowed. */
typedef struct hub_choices {
  const char *repo;
  const char *revision; /* NULL: main */
  const char *token;
  const char *endpoint;
  const char *home;  /* HF_HOME */
  const char *cache; /* of the hub's files; NULL: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE or home/hub */
  bool offline;
} hub_choices;

typedef struct hub_settings {
  const char *repo;
  const char *revision;
  bool offline;
  const char *ca_file;       /* NULL: the system's */
  char endpoint[512];        /* without a slash at the end */
  char token[HUB_TOKEN_MAX]; /* "": none */
  char cache[HUB_PATH_MAX];
  long metadata_seconds;
  long transfer_seconds;
} hub_settings;

/* Checks the names and looks everything up; reads the token file of `hf auth login` where no token
 * is given. `lookup` is getenv, or a test's own. RR_ERR_INPUT with a message that names what is
 * wrong. */
rr_status hub_settings_read(const hub_choices *choices, char *(*lookup)(const char *name),
                            hub_settings *ret_settings, rr_error *err);

#endif
