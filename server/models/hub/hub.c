#include "server/models/hub/hub.h"

#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/file.h"
#include "core/scorer.h"
#include "server/models/hub/fetch.h"
#include "server/models/hub/listing.h"
#include "server/observe/log.h"

enum { INDEX_ARENA_BYTES = 64 << 20 };

static const uint64_t SMALL_FILE_MAX = 128u << 20;
static const uint64_t WEIGHTS_MAX = (uint64_t)1 << 40;
static const char weights[] = "model.safetensors";
static const char index_of_weights[] = "model.safetensors.index.json";

/* --- what the cache has by itself ------------------------------------------------------------- */

static bool snapshot_has(const hub_cache *cache, const char *commit, const char *folder,
                         const char *name) {
  char file[2 * HUB_FILE_MAX];
  char path[HUB_PATH_MAX];
  uint64_t size;
  (void)snprintf(file, sizeof file, "%s%s", folder, name);
  return hub_cache_snapshot(cache, commit, file, path, NULL) == RR_OK && hub_cache_has(path, &size);
}

static bool has_all_shards(const hub_cache *cache, const char *commit, const char *folder) {
  char file[2 * HUB_FILE_MAX];
  char path[HUB_PATH_MAX];
  const char *const *names;
  size_t count = 0;
  rr_arena arena;
  rr_arena_init(&arena, INDEX_ARENA_BYTES);
  (void)snprintf(file, sizeof file, "%s%s", folder, index_of_weights);
  bool all = hub_cache_snapshot(cache, commit, file, path, NULL) == RR_OK &&
             rr_scorer_index_files(path, &arena, &names, &count, NULL) == RR_OK;
  for (size_t i = 0; all && i < count; i++) {
    all = snapshot_has(cache, commit, folder, names[i]);
  }
  rr_arena_finish(&arena);
  return all;
}

/* Whether the cache holds enough of the revision to load it. */
static bool find_cached(const hub_session *session, hub_model *ret_model) {
  static const char *const folders[] = {"", "0_Transformer/"};
  char commit[HUB_COMMIT_MAX];
  const hub_cache *cache = &session->cache;
  if (!hub_cache_read_ref(cache, session->settings->revision, commit)) {
    return false;
  }
  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
    const char *folder = folders[i];
    if (snapshot_has(cache, commit, folder, "config.json") &&
        (snapshot_has(cache, commit, folder, "tokenizer.json") ||
         snapshot_has(cache, commit, folder, "vocab.txt")) &&
        (snapshot_has(cache, commit, folder, weights) || has_all_shards(cache, commit, folder))) {
      memcpy(ret_model->commit, commit, sizeof commit);
      return hub_cache_snapshot(cache, commit, "", ret_model->directory, NULL) == RR_OK;
    }
  }
  return false;
}

/* --- what the hub has ------------------------------------------------------------------------- */

typedef struct buffer {
  char *data;
  size_t size;
  size_t capacity;
  const char *what;
} buffer;

static rr_status on_begin(void *context, const hub_reply *reply, rr_error *err) {
  buffer *self = context;
  (void)reply;
  (void)err;
  self->size = 0; /* an earlier try may have left a part */
  return RR_OK;
}

static rr_status on_take(void *context, const void *data, size_t size, rr_error *err) {
  buffer *self = context;
  if (size > HUB_LISTING_BYTES_MAX - self->size) {
    return rr_fail(err, RR_ERR_FORMAT, "%.100s: the hub's answer is over %d bytes", self->what,
                   HUB_LISTING_BYTES_MAX);
  }
  if (size > self->capacity - self->size) {
    size_t capacity = 2 * (self->size + size);
    char *data_now = rr_realloc(self->data, capacity);
    if (data_now == NULL) {
      return rr_fail(err, RR_ERR_MEMORY, "%.100s: out of memory", self->what);
    }
    self->data = data_now;
    self->capacity = capacity;
  }
  memcpy(self->data + self->size, data, size);
  self->size += size;
  return RR_OK;
}

/* Which commit the revision is, and which files it has. */
static rr_status get_listing(hub_session *session, unsigned tries, hub_listing *ret_listing,
                             hub_outcome *ret_outcome, rr_error *err) {
  const hub_settings *settings = session->settings;
  char what[128];
  char revision[3 * HUB_REVISION_MAX];
  char url[HUB_URL_MAX];
  hub_reply reply;
  bool named = strcmp(settings->revision, "main") != 0;
  (void)snprintf(what, sizeof what, "%.60s%s%.40s", settings->repo, named ? " at " : "",
                 named ? settings->revision : "");
  *ret_outcome = HUB_REFUSED;
  int length =
      snprintf(url, sizeof url, "%s/api/models/%s/revision/", settings->endpoint, settings->repo);
  if (!hub_client_escape(settings->revision, revision, sizeof revision) || length < 0 ||
      (size_t)length + strlen(revision) >= sizeof url) {
    return rr_fail(err, RR_ERR_INPUT, "%.100s: the model's address is too long", what);
  }
  (void)snprintf(url + length, sizeof url - (size_t)length, "%s", revision);
  buffer body = {.what = what};
  const hub_call call = {
      .what = what, .url = url, .begin = on_begin, .take = on_take, .context = &body};
  *ret_outcome = hub_client_call(session->client, &call, tries, &reply, err);
  if (*ret_outcome == HUB_REFUSED && err != NULL &&
      (reply.status == 401 || (reply.status == 404 && !named))) {
    rr_error why = *err;
    (void)rr_fail(err, why.status, "%.300s; nor is there a folder %.96s here", why.message,
                  settings->repo);
  }
  rr_status status = *ret_outcome == HUB_DONE
                         ? hub_listing_read(what, body.data, body.size, ret_listing, err)
                         : err->status;
  rr_free(body.data);
  return status;
}

/* Asks about all the names, then gets what is missing. */
static rr_status get_files(hub_session *session, const hub_file_names *names, size_t first,
                           uint64_t max_size, hub_outcome *ret_outcome, rr_error *err) {
  size_t count = names->count - first;
  hub_file *files = rr_calloc(count == 0 ? 1 : count, sizeof *files);
  if (files == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%.100s: out of memory", session->settings->repo);
  }
  rr_status status = RR_OK;
  size_t missing = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; status == RR_OK && i < count; i++) {
    status =
        hub_fetch_about(session, names->names[first + i], max_size, &files[i], ret_outcome, err);
    if (status == RR_OK && !files[i].cached) {
      missing++;
      bytes += files[i].size;
    }
  }
  if (status == RR_OK && missing > 0) {
    log_text(LOG_LEVEL_INFO, "downloading %zu files of %s, %.1f MB", missing,
             session->settings->repo, (double)bytes / 1e6);
    hub_progress_expect(session->progress, bytes);
  }
  for (size_t i = 0; status == RR_OK && i < count; i++) {
    status = hub_fetch(session, &files[i], ret_outcome, err);
  }
  rr_free(files);
  return status;
}

static rr_status name_shards(const hub_session *session, const hub_listing *listing,
                             const char *folder, hub_file_names *names, rr_error *err) {
  char file[2 * HUB_FILE_MAX];
  char path[HUB_PATH_MAX];
  const char *const *shards;
  size_t count;
  rr_arena arena;
  rr_arena_init(&arena, INDEX_ARENA_BYTES);
  (void)snprintf(file, sizeof file, "%s%s", folder, index_of_weights);
  rr_status status = hub_cache_snapshot(&session->cache, session->commit, file, path, err);
  if (status == RR_OK) {
    status = rr_scorer_index_files(path, &arena, &shards, &count, err);
  }
  for (size_t i = 0; status == RR_OK && i < count; i++) {
    status = hub_listing_add(listing, session->settings->repo, folder, shards[i], names, err);
  }
  rr_arena_finish(&arena);
  return status;
}

/* What the look says of the cache's folder is told of the model, which the user has named. */
static rr_status look_at(const hub_session *session, const hub_look *look, bool with_tokenizer,
                         rr_error *err) {
  char directory[HUB_PATH_MAX];
  rr_error problem = {.message = ""};
  rr_status status = hub_cache_snapshot(&session->cache, session->commit, "", directory, err);
  if (status != RR_OK) {
    return status;
  }
  status = look->at(look->context, directory, with_tokenizer, &problem);
  if (status == RR_OK) {
    return RR_OK;
  }
  size_t size = strlen(directory);
  bool named = strncmp(problem.message, directory, size) == 0;
  return rr_fail(err, status, "%.96s%s%s", session->settings->repo, named ? "" : ": ",
                 named ? problem.message + size : problem.message);
}

static rr_status get_and_look(hub_session *session, const hub_look *look,
                              const hub_file_names *names, bool with_tokenizer,
                              hub_outcome *ret_outcome, rr_error *err) {
  rr_status status = get_files(session, names, 0, SMALL_FILE_MAX, ret_outcome, err);
  if (status == RR_OK) {
    *ret_outcome = HUB_REFUSED;
    status = look_at(session, look, with_tokenizer, err);
  }
  return status;
}

/* The weights come last, so that a snapshot with weights is whole, and that nothing large is asked
 * for that would not be served. */
static rr_status get_model(hub_session *session, const hub_look *look, const hub_listing *listing,
                           hub_file_names *names, hub_outcome *ret_outcome, rr_error *err) {
  char folder[HUB_FILE_MAX];
  bool sharded;
  const char *repo = session->settings->repo;
  hub_listing_folder(listing, folder);
  *ret_outcome = HUB_REFUSED;
  rr_status status = hub_listing_check_weights(listing, repo, folder, &sharded, err);
  if (status != RR_OK) {
    return status;
  }
  hub_listing_configurations(listing, names);
  status = get_and_look(session, look, names, false, ret_outcome, err);
  if (status != RR_OK) {
    return status;
  }
  names->count = 0;
  hub_listing_small_files(listing, names);
  size_t small = names->count;
  status = get_and_look(session, look, names, true, ret_outcome, err);
  if (status != RR_OK) {
    return status;
  }
  *ret_outcome = HUB_REFUSED;
  status = sharded ? name_shards(session, listing, folder, names, err)
                   : hub_listing_add(listing, repo, folder, weights, names, err);
  return status == RR_OK ? get_files(session, names, small, WEIGHTS_MAX, ret_outcome, err) : status;
}

/* Everything from the hub. *ret_outcome HUB_AGAIN: it could not be reached. */
static rr_status get_from_hub(hub_session *session, const hub_look *look, unsigned tries,
                              hub_model *ret_model, hub_outcome *ret_outcome, rr_error *err) {
  hub_listing listing;
  rr_status status = get_listing(session, tries, &listing, ret_outcome, err);
  if (status != RR_OK) {
    return status;
  }
  memcpy(session->commit, listing.commit, sizeof session->commit);
  hub_file_names names = {.names = rr_calloc(HUB_FILES_MAX, HUB_FILE_MAX)};
  status = names.names == NULL
               ? rr_fail(err, RR_ERR_MEMORY, "%.100s: out of memory", session->settings->repo)
               : get_model(session, look, &listing, &names, ret_outcome, err);
  rr_free(names.names);
  hub_listing_free(&listing);
  hub_progress_clear(session->progress);
  if (status != RR_OK) {
    return status;
  }
  rr_error problem;
  if (!hub_is_commit(session->settings->revision) &&
      hub_cache_write_ref(&session->cache, session->settings->revision, session->commit,
                          &problem) != RR_OK) {
    log_text(LOG_LEVEL_WARN, "%s", problem.message); /* the cache may be read-only, and whole */
  }
  memcpy(ret_model->commit, session->commit, sizeof ret_model->commit);
  return hub_cache_snapshot(&session->cache, session->commit, "", ret_model->directory, err);
}

static rr_status get_online(hub_session *session, const hub_look *look, hub_model *ret_model,
                            rr_error *err) {
  hub_model cached;
  hub_outcome outcome = HUB_REFUSED;
  bool is_cached = find_cached(session, &cached);
  rr_status status =
      get_from_hub(session, look, is_cached ? 1 : HUB_TRIES, ret_model, &outcome, err);
  if (status != RR_OK && outcome == HUB_AGAIN && is_cached) {
    log_text(LOG_LEVEL_WARN, "%s; using what the cache has, commit %s", err->message,
             cached.commit);
    *ret_model = cached;
    return RR_OK;
  }
  if (status != RR_OK && outcome == HUB_AGAIN) {
    char place[HUB_PLACE_MAX];
    hub_client_place(session->client, place);
    rr_error why = *err;
    return rr_fail(
        err, status,
        "%.300s (%d tries; the hub is %.80s, by --hf-endpoint); without it name a model's "
        "folder, or a model that is downloaded",
        why.message, HUB_TRIES, place);
  }
  return status;
}

rr_status hub_get(const hub_settings *settings, const hub_look *look, hub_progress *progress,
                  const atomic_bool *cancelled, hub_model *ret_model, rr_error *err) {
  hub_session session = {.settings = settings, .progress = progress, .cancelled = cancelled};
  hub_model model;
  rr_error problem = {.message = ""};
  rr_status status = hub_cache_init(settings, &session.cache, &problem);
  if (status == RR_OK && settings->offline) {
    if (!find_cached(&session, &model)) {
      status = rr_fail(&problem, RR_ERR_IO,
                       "%.60s at %.40s is not (wholly) in the cache %.200s, and HF_HUB_OFFLINE is "
                       "set: download it with "
                       "--hf-hub-offline false, or name a model's folder",
                       settings->repo, settings->revision, settings->cache);
    }
  } else if (status == RR_OK) {
    const hub_client_config config = {.endpoint = settings->endpoint,
                                      .token = settings->token[0] == '\0' ? NULL : settings->token,
                                      .ca_file = settings->ca_file,
                                      .metadata_seconds = settings->metadata_seconds,
                                      .transfer_seconds = settings->transfer_seconds,
                                      .cancelled = cancelled};
    bool there = false; /* of what is not there, libcurl tells */
    status = config.ca_file == NULL ? RR_OK : rr_file_find(config.ca_file, &there, &problem);
    status = status == RR_OK ? hub_client_create(&config, &session.client, &problem) : status;
    status = status == RR_OK ? get_online(&session, look, &model, &problem) : status;
    hub_client_destroy(session.client);
  }
  if (status != RR_OK) {
    return rr_fail(err, status, "%s", problem.message);
  }
  *ret_model = model;
  return RR_OK;
}
