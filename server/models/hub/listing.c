#include "server/models/hub/listing.h"

#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/kind.h"

enum { VALUES_MAX = 2000000, SIBLINGS_MAX = 100000 };

static const char weights[] = "model.safetensors";
static const char index_of_weights[] = "model.safetensors.index.json";

/* Those that tell the architecture come first. */
static const char *const small_files[] = {
    "config.json",       "modules.json",
    "rerankd.json",      "sentence_bert_config.json",
    "artifact.metadata", "config_sentence_transformers.json",
    "tokenizer.json",    "tokenizer_config.json",
    "vocab.txt",         "special_tokens_map.json",
    "added_tokens.json", index_of_weights,
};

enum { CONFIGURATIONS = 6, SMALL_FILES = sizeof small_files / sizeof small_files[0] };

static rr_status read_files(const char *what, const json_t *siblings, json_t *files,
                            rr_error *err) {
  size_t count = json_array_size(siblings);
  if (count == 0 || count > SIBLINGS_MAX) {
    return rr_fail(err, RR_ERR_FORMAT, "%.100s: the hub lists no files, or too many", what);
  }
  for (size_t i = 0; i < count; i++) {
    const json_t *name = json_object_get(json_array_get(siblings, i), "rfilename");
    if (!json_is_string(name) || strlen(json_string_value(name)) != json_string_length(name)) {
      return rr_fail(err, RR_ERR_FORMAT, "%.100s: the hub lists a file without a name", what);
    }
    if (json_object_set_new(files, json_string_value(name), json_true()) != 0) {
      return rr_fail(err, RR_ERR_MEMORY, "%.100s: out of memory", what);
    }
  }
  return RR_OK;
}

rr_status hub_listing_read(const char *what, const char *data, size_t size,
                           hub_listing *ret_listing, rr_error *err) {
  json_t *answer;
  rr_error inner = {.message = ""};
  rr_status parsed = rr_json_parse(data, size, VALUES_MAX, &answer, &inner);
  if (parsed != RR_OK) {
    return rr_fail(err, parsed == RR_ERR_MEMORY ? parsed : RR_ERR_FORMAT,
                   "%.100s: the hub's answer: %.100s", what, inner.message);
  }
  hub_listing listing = {.files = json_object()};
  const char *commit = json_string_value(json_object_get(answer, "sha"));
  rr_status status = RR_OK;
  if (listing.files == NULL) {
    status = rr_fail(err, RR_ERR_MEMORY, "%.100s: out of memory", what);
  } else if (commit == NULL || !hub_is_commit(commit)) {
    status = rr_fail(err, RR_ERR_FORMAT,
                     "%.100s: the hub's answer has no commit; is HF_ENDPOINT a hub?", what);
  } else {
    memcpy(listing.commit, commit, sizeof listing.commit);
    status = read_files(what, json_object_get(answer, "siblings"), listing.files, err);
  }
  json_decref(answer);
  if (status != RR_OK) {
    hub_listing_free(&listing);
    return status;
  }
  *ret_listing = listing;
  return RR_OK;
}

void hub_listing_free(hub_listing *listing) {
  json_decref(listing->files);
  listing->files = NULL;
}

bool hub_listing_has(const hub_listing *listing, const char *file) {
  return json_object_get(listing->files, file) != NULL;
}

/* The length of a module's folder, like "1_Pooling/", that the path begins with; 0 if there is
 * none. */
static size_t module_folder(const char *path) {
  size_t digits = strspn(path, "0123456789");
  size_t length = strcspn(path, "/");
  return digits > 0 && path[digits] == '_' && path[length] == '/' ? length + 1 : 0;
}

void hub_listing_folder(const hub_listing *listing, char ret_folder[HUB_FILE_MAX]) {
  ret_folder[0] = '\0';
  if (hub_listing_has(listing, "config.json")) {
    return;
  }
  const char *file;
  json_t *value;
  json_object_foreach(listing->files, file, value) {
    size_t length = module_folder(file);
    if (length > 0 && length < HUB_FILE_MAX && strstr(file, "_Transformer/config.json") != NULL &&
        strcmp(file + length, "config.json") == 0) {
      (void)snprintf(ret_folder, HUB_FILE_MAX, "%.*s", (int)length, file);
      return;
    }
  }
}

static void add_first(const hub_listing *listing, size_t count, hub_file_names *names) {
  char folder[HUB_FILE_MAX];
  hub_listing_folder(listing, folder);
  bool single = false;
  if (strlen(folder) + sizeof weights < HUB_FILE_MAX) {
    char path[HUB_FILE_MAX + sizeof weights];
    (void)snprintf(path, sizeof path, "%s%s", folder, weights);
    single = hub_listing_has(listing, path);
  }
  const char *file;
  json_t *value;
  json_object_foreach(listing->files, file, value) {
    const char *name = file + module_folder(file);
    for (size_t i = 0; i < count; i++) {
      bool useless = single && small_files[i] == index_of_weights;
      if (strcmp(name, small_files[i]) == 0 && !useless) {
        (void)hub_listing_add(listing, "", "", file, names, NULL);
      }
    }
  }
}

void hub_listing_configurations(const hub_listing *listing, hub_file_names *names) {
  add_first(listing, CONFIGURATIONS, names);
}

void hub_listing_small_files(const hub_listing *listing, hub_file_names *names) {
  add_first(listing, SMALL_FILES, names);
}

rr_status hub_listing_add(const hub_listing *listing, const char *what, const char *folder,
                          const char *name, hub_file_names *names, rr_error *err) {
  char path[2 * HUB_FILE_MAX];
  int length = snprintf(path, sizeof path, "%s%s", folder, name);
  if (length < 0 || length >= HUB_FILE_MAX || !hub_is_file(path)) {
    return rr_fail(err, RR_ERR_FORMAT, "%.60s: \"%.100s\" is no file name", what, name);
  }
  if (!hub_listing_has(listing, path)) {
    return rr_fail(err, RR_ERR_FORMAT, "%.60s: %.100s is needed, but the hub does not list it",
                   what, path);
  }
  if (names->count == HUB_FILES_MAX) {
    return rr_fail(err, RR_ERR_FORMAT, "%.60s: more than %d files", what, HUB_FILES_MAX);
  }
  memcpy(names->names[names->count++], path, (size_t)length + 1);
  return RR_OK;
}

static bool has_in(const hub_listing *listing, const char *folder, const char *name) {
  char path[2 * HUB_FILE_MAX];
  (void)snprintf(path, sizeof path, "%s%s", folder, name);
  return hub_listing_has(listing, path);
}

rr_status hub_listing_check_weights(const hub_listing *listing, const char *what,
                                    const char *folder, bool *ret_sharded, rr_error *err) {
  if (has_in(listing, folder, weights) || has_in(listing, folder, index_of_weights)) {
    *ret_sharded = !has_in(listing, folder, weights);
    return RR_OK;
  }
  rr_weights_seen seen = {.rank = 0};
  char text[RR_WEIGHTS_TEXT_MAX];
  const char *file;
  json_t *value;
  json_object_foreach(listing->files, file, value) {
    size_t size = strlen(folder);
    if (strncmp(file, folder, size) == 0 && hub_is_file(file)) {
      rr_weights_look(&seen, file + size);
    }
  }
  return rr_weights_say(&seen, text)
             ? rr_fail(err, RR_ERR_UNSUPPORTED, "%.100s has no model.safetensors: it %s", what,
                       text)
             : rr_fail(err, RR_ERR_UNSUPPORTED,
                       "%.100s has no model.safetensors, nor weights in another form", what);
}
