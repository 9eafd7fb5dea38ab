#include "server/models/hub/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/alloc.h"
#include "core/base/file.h"
#include "server/models/hub/names.h"

enum { SECONDS_DEFAULT = 10, SECONDS_MAX = 3600, TOKEN_FILE_BYTES_MAX = 1 << 16 };

typedef char *(*look_up)(const char *name);

/* NULL if it is not set, or empty. */
static const char *variable(look_up lookup, const char *name) {
  const char *value = lookup(name);
  return value == NULL || value[0] == '\0' ? NULL : value;
}

static bool is_true(const char *value) {
  return value != NULL && (strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0 ||
                           strcasecmp(value, "yes") == 0 || strcasecmp(value, "on") == 0);
}

static long seconds(look_up lookup, const char *name) {
  const char *value = variable(lookup, name);
  long number = value == NULL ? 0 : strtol(value, NULL, 10);
  return number < 1 || number > SECONDS_MAX ? SECONDS_DEFAULT : number;
}

static rr_status join(char *to, size_t size, const char *folder, const char *name, rr_error *err) {
  int length = snprintf(to, size, "%s%s", folder, name);
  return length < 0 || (size_t)length >= size
             ? rr_fail(err, RR_ERR_INPUT, "%.100s...: path too long", folder)
             : RR_OK;
}

/* "~/x" is in the home folder, as huggingface_hub has it. */
static rr_status expand(const char *path, look_up lookup, char to[HUB_PATH_MAX], rr_error *err) {
  const char *home = variable(lookup, "HOME");
  if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') && home != NULL) {
    return join(to, HUB_PATH_MAX, home, path + 1, err);
  }
  return join(to, HUB_PATH_MAX, path, "", err);
}

static rr_status find_home(const hub_choices *choices, look_up lookup, char to[HUB_PATH_MAX],
                           rr_error *err) {
  const char *xdg = variable(lookup, "XDG_CACHE_HOME");
  const char *home = variable(lookup, "HOME");
  if (choices->home != NULL) {
    return expand(choices->home, lookup, to, err);
  }
  if (xdg != NULL) {
    return join(to, HUB_PATH_MAX, xdg, "/huggingface", err);
  }
  if (home == NULL) {
    return rr_fail(err, RR_ERR_INPUT,
                   "no folder for models: set --huggingface-hub-cache, HF_HOME or HOME");
  }
  return join(to, HUB_PATH_MAX, home, "/.cache/huggingface", err);
}

/* The token that `hf auth login` stored; "" if there is none, or none that this user may read. */
static rr_status read_token_file(const char *home, look_up lookup, char token[HUB_TOKEN_MAX],
                                 rr_error *err) {
  char path[HUB_PATH_MAX];
  const char *named = variable(lookup, "HF_TOKEN_PATH");
  rr_status status = named != NULL ? expand(named, lookup, path, NULL)
                                   : join(path, sizeof path, home, "/token", NULL);
  bool there = false;
  char *text;
  size_t size;
  token[0] = '\0';
  if (status == RR_OK && rr_file_find(path, &there, err) != RR_OK) {
    return RR_ERR_IO;
  }
  if (!there || rr_file_read(path, TOKEN_FILE_BYTES_MAX, &text, &size, NULL) != RR_OK) {
    return RR_OK;
  }
  (void)snprintf(token, HUB_TOKEN_MAX, "%s", text);
  token[strcspn(token, " \t\r\n")] = '\0';
  rr_free(text);
  return RR_OK;
}

static rr_status fill_token(const hub_choices *choices, const char *home, look_up lookup,
                            hub_settings *to, rr_error *err) {
  if (choices->token != NULL) {
    int length = snprintf(to->token, sizeof to->token, "%s", choices->token);
    if (length < 0 || (size_t)length >= sizeof to->token) {
      return rr_fail(err, RR_ERR_INPUT, "the hub's token is too long");
    }
    to->token[strcspn(to->token, "\r\n")] = '\0'; /* as files and secrets often end */
    return RR_OK;
  }
  if (!is_true(variable(lookup, "HF_HUB_DISABLE_IMPLICIT_TOKEN"))) {
    return read_token_file(home, lookup, to->token, err);
  }
  return RR_OK;
}

static rr_status fill_paths(const hub_choices *choices, look_up lookup, hub_settings *to,
                            rr_error *err) {
  char home[HUB_PATH_MAX] = "";
  bool cache_named = choices->cache != NULL;
  rr_status status = find_home(choices, lookup, home, cache_named ? NULL : err);
  if (status != RR_OK && !cache_named) {
    return status;
  }
  status = cache_named ? expand(choices->cache, lookup, to->cache, err)
                       : join(to->cache, sizeof to->cache, home, "/hub", err);
  return status == RR_OK ? fill_token(choices, home, lookup, to, err) : status;
}

static rr_status fill_endpoint(const char *endpoint, hub_settings *to, rr_error *err) {
  const char *text = endpoint == NULL ? "https://huggingface.co" : endpoint;
  rr_status status = join(to->endpoint, sizeof to->endpoint, text, "", err);
  size_t length = strlen(to->endpoint);
  while (status == RR_OK && length > 0 && to->endpoint[length - 1] == '/') {
    to->endpoint[--length] = '\0';
  }
  return status;
}

rr_status hub_settings_read(const hub_choices *choices, char *(*lookup)(const char *name),
                            hub_settings *ret_settings, rr_error *err) {
  hub_settings settings = {
      .repo = choices->repo,
      .revision = choices->revision == NULL ? "main" : choices->revision,
      .offline = choices->offline || is_true(variable(lookup, "TRANSFORMERS_OFFLINE")),
      .metadata_seconds = seconds(lookup, "HF_HUB_ETAG_TIMEOUT"),
      .transfer_seconds = seconds(lookup, "HF_HUB_DOWNLOAD_TIMEOUT"),
  };
  static const char *const bundles[] = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"};
  for (size_t i = 0; settings.ca_file == NULL && i < sizeof bundles / sizeof bundles[0]; i++) {
    settings.ca_file = variable(lookup, bundles[i]);
  }
  if (!hub_is_repo(settings.repo)) {
    return rr_fail(err, RR_ERR_INPUT,
                   "%.100s: neither a directory nor the name of a model on the hub: no such folder "
                   "is here, and a name is as "
                   "ORGANISATION/NAME",
                   settings.repo);
  }
  if (!hub_is_revision(settings.revision)) {
    return rr_fail(err, RR_ERR_INPUT, "--revision: \"%.100s\" is no branch, tag or commit",
                   settings.revision);
  }
  rr_status status = fill_paths(choices, lookup, &settings, err);
  if (status == RR_OK) {
    status = fill_endpoint(choices->endpoint, &settings, err);
  }
  if (status == RR_OK) {
    *ret_settings = settings;
  }
  return status;
}
