#include "core/files/pipeline.h"

#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"

enum { CONFIG_BYTES_MAX = 1 << 20, MODULES_MAX = 16 };

typedef enum module_kind { MODULE_TRANSFORMER, MODULE_POOLING, MODULE_NORMALIZE } module_kind;

/* True for a relative path that never climbs. */
static bool stays_below(const json_t *path) {
  const char *at = json_string_value(path);
  if (at == NULL || at[0] == '/' || strlen(at) != json_string_length(path)) {
    return false;
  }
  while (*at != '\0') {
    size_t length = strcspn(at, "/\\");
    if (length == 2 && strncmp(at, "..", 2) == 0) {
      return false;
    }
    at += length + (at[length] != '\0');
  }
  return true;
}

/* Modules are named by their class: "sentence_transformers.models.Pooling". */
static bool kind_of_module(const char *type, module_kind *ret_kind) {
  static const char *const names[] = {"Transformer", "Pooling", "Normalize"};
  const char *dot = strrchr(type, '.');
  const char *class = dot == NULL ? type : dot + 1;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(class, names[i]) == 0) {
      *ret_kind = (module_kind)i;
      return true;
    }
  }
  return false;
}

static rr_status pooling_of_name(const char *path, const char *name,
                                 rr_pipeline_pooling *ret_pooling, rr_error *err) {
  if (strcmp(name, "mean") == 0) {
    *ret_pooling = RR_PIPELINE_MEAN;
  } else if (strcmp(name, "cls") == 0) {
    *ret_pooling = RR_PIPELINE_CLS;
  } else {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: pooling mode \"%.60s\" is not supported", path,
                   name);
  }
  return RR_OK;
}

/* The older form: one boolean a mode. No mode at all means mean, as the library itself has it. */
static rr_status pooling_of_flags(const char *path, const json_t *config,
                                  rr_pipeline_pooling *ret_pooling, rr_error *err) {
  static const char *const modes[][2] = {{"pooling_mode_mean_tokens", "mean"},
                                         {"pooling_mode_cls_token", "cls"}};
  const char *chosen = NULL;
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)config, key, value) {
    if (strncmp(key, "pooling_mode_", strlen("pooling_mode_")) != 0 || !json_is_true(value)) {
      continue;
    }
    if (chosen != NULL) {
      return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: more than one pooling mode is not supported",
                     path);
    }
    chosen = key;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
      chosen = strcmp(key, modes[i][0]) == 0 ? modes[i][1] : chosen;
    }
  }
  return pooling_of_name(path, chosen == NULL ? "mean" : chosen, ret_pooling, err);
}

static rr_status load_pooling(const char *folder, rr_pipeline_pooling *ret_pooling, rr_error *err) {
  char path[RR_PATH_MAX];
  json_t *config;
  rr_status status = rr_path_join(folder, "config.json", path, err);
  if (status == RR_OK) {
    status = rr_json_load(path, CONFIG_BYTES_MAX, &config, err);
  }
  if (status != RR_OK) {
    return status;
  }
  const json_t *mode = json_object_get(config, "pooling_mode");
  if (json_is_array(mode) && json_array_size(mode) == 1) {
    mode = json_array_get(mode, 0);
  }
  if (!json_is_object(config)) {
    status = rr_fail(err, RR_ERR_FORMAT, "%s: must be an object", path);
  } else if (json_is_string(mode)) {
    status = pooling_of_name(path, json_string_value(mode), ret_pooling, err);
  } else if (json_is_array(mode)) {
    status =
        rr_fail(err, RR_ERR_UNSUPPORTED, "%s: more than one pooling mode is not supported", path);
  } else if (mode != NULL) {
    status = rr_fail(err, RR_ERR_FORMAT, "%s: pooling_mode must be a string", path);
  } else {
    status = pooling_of_flags(path, config, ret_pooling, err);
  }
  json_decref(config);
  return status;
}

static rr_status load_module(const char *directory, const char *path, const json_t *module,
                             size_t index, module_kind *ret_kind, rr_pipeline *pipeline,
                             rr_error *err) {
  const char *type = json_string_value(json_object_get(module, "type"));
  const json_t *place = json_object_get(module, "path");
  if (type == NULL || !json_is_string(place)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: module %zu: type and path must be strings", path,
                   index);
  }
  if (!stays_below(place)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: module %zu: path \"%.60s\" leaves the directory", path,
                   index, json_string_value(place));
  }
  if (!kind_of_module(type, ret_kind)) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: module \"%.100s\" is not supported", path, type);
  }
  char folder[RR_PATH_MAX];
  rr_status status = rr_path_join(directory, json_string_value(place), folder, err);
  if (status == RR_OK && *ret_kind == MODULE_TRANSFORMER) {
    memcpy(pipeline->folder, folder, sizeof folder);
  } else if (status == RR_OK && *ret_kind == MODULE_POOLING) {
    status = load_pooling(folder, &pipeline->pooling, err);
  }
  return status;
}

static rr_status load_modules(const char *directory, const char *path, const json_t *modules,
                              rr_pipeline *pipeline, rr_error *err) {
  size_t count = json_array_size(modules); /* 0 if it is no array */
  if (count == 0 || count > MODULES_MAX) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: must be an array of 1 to %d modules", path,
                   MODULES_MAX);
  }
  module_kind before = MODULE_TRANSFORMER;
  for (size_t i = 0; i < count; i++) {
    module_kind kind = MODULE_TRANSFORMER; /* set by load_module, which GCC 14 does not see */
    const json_t *module = json_array_get(modules, i);
    rr_status status = load_module(directory, path, module, i, &kind, pipeline, err);
    if (status != RR_OK) {
      return status;
    }
    if (i == 0 ? kind != MODULE_TRANSFORMER : kind <= before) {
      return rr_fail(err, RR_ERR_UNSUPPORTED,
                     "%s: modules must be Transformer, Pooling and Normalize, in this order", path);
    }
    before = kind;
  }
  return RR_OK;
}

/* A ColBERT may bring modules for another library; artifact.metadata says all that they do. */
static rr_status find_metadata(const char *directory, bool *ret_there, rr_error *err) {
  char path[RR_PATH_MAX];
  rr_status status = rr_path_join(directory, "artifact.metadata", path, err);
  return status == RR_OK ? rr_file_find(path, ret_there, err) : status;
}

rr_status rr_pipeline_load(const char *directory, rr_pipeline *ret_pipeline, rr_error *err) {
  rr_pipeline pipeline = {.pooling = RR_PIPELINE_NO_POOLING};
  char path[RR_PATH_MAX];
  rr_status status = rr_path_join(directory, "", pipeline.folder, err);
  if (status == RR_OK) {
    status = rr_path_join(directory, "modules.json", path, err);
  }
  bool modular = false;
  bool colbert = false;
  if (status == RR_OK) {
    status = rr_file_find(path, &modular, err);
  }
  if (status == RR_OK) {
    status = find_metadata(directory, &colbert, err);
  }
  if (status != RR_OK) {
    return status;
  }
  if (modular && !colbert) {
    json_t *modules;
    status = rr_json_load(path, CONFIG_BYTES_MAX, &modules, err);
    if (status != RR_OK) {
      return status;
    }
    status = load_modules(directory, path, modules, &pipeline, err);
    json_decref(modules);
    if (status != RR_OK) {
      return status;
    }
  }
  *ret_pipeline = pipeline;
  return RR_OK;
}
