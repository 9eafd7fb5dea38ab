#include "core/files/shards.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/files/folder.h"

enum {
  INDEX_BYTES_MAX = 32 << 20,
  INDEX_TENSORS_MAX = 200000,
  SHARDS_MAX = 1024,
  SHARD_NAME_MAX = 200,
};

/* A name without folders, so that it cannot leave the directory. */
static bool is_shard_name(const json_t *json) {
  static const char ending[] = ".safetensors";
  const char *name = json_string_value(json);
  size_t tail = sizeof ending - 1;
  size_t length = name == NULL ? 0 : strlen(name);
  return length > tail && length <= SHARD_NAME_MAX && length == json_string_length(json) &&
         name[0] != '.' && strcmp(name + length - tail, ending) == 0 &&
         strpbrk(name, "/\\") == NULL;
}

/* The index as JSON, of which *ret_map, checked, is a part. */
static rr_status load_index(const char *path, json_t **ret_index, json_t **ret_map, rr_error *err) {
  json_t *index;
  rr_status status = rr_json_load(path, INDEX_BYTES_MAX, &index, err);
  if (status != RR_OK) {
    return status;
  }
  json_t *map = json_object_get(index, "weight_map");
  size_t count = json_object_size(map);
  if (!json_is_object(map) || count == 0 || count > INDEX_TENSORS_MAX) {
    status = rr_fail(err, RR_ERR_FORMAT, "%s: weight_map must be an object of 1 to %d tensors",
                     path, INDEX_TENSORS_MAX);
  }
  const char *tensor;
  json_t *file;
  json_object_foreach(map, tensor, file) {
    if (status == RR_OK && !is_shard_name(file)) {
      status =
          rr_fail(err, RR_ERR_FORMAT, "%s: tensor %.60s: \"%.60s\" is no name of a shard", path,
                  tensor, json_is_string(file) ? json_string_value(file) : "(no string)");
    }
  }
  if (status != RR_OK) {
    json_decref(index);
    return status;
  }
  *ret_index = index;
  *ret_map = map;
  return RR_OK;
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The map's files, sorted, each once; they live as long as the map. */
static rr_status distinct_files(const char *path, json_t *map, rr_arena *arena,
                                const char ***ret_names, size_t *ret_count, rr_error *err) {
  const char **names = rr_arena_calloc(arena, json_object_size(map), sizeof *names);
  if (names == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", path);
  }
  size_t n = 0;
  const char *tensor;
  json_t *file;
  json_object_foreach(map, tensor, file) { names[n++] = json_string_value(file); }
  qsort(names, n, sizeof *names, by_text);
  size_t count = 1;
  for (size_t i = 1; i < n; i++) {
    if (strcmp(names[i], names[count - 1]) != 0) {
      names[count++] = names[i];
    }
  }
  if (count > SHARDS_MAX) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: names %zu shards; at most %d are read", path, count,
                   SHARDS_MAX);
  }
  *ret_names = names;
  *ret_count = count;
  return RR_OK;
}

rr_status rr_shards_of_index(const char *path, rr_arena *arena, const char *const **ret_names,
                             size_t *ret_count, rr_error *err) {
  json_t *index;
  json_t *map;
  const char **names;
  size_t count;
  rr_status status = load_index(path, &index, &map, err);
  if (status != RR_OK) {
    return status;
  }
  status = distinct_files(path, map, arena, &names, &count, err);
  for (size_t i = 0; status == RR_OK && i < count; i++) {
    names[i] = rr_arena_strndup(arena, names[i], strlen(names[i]));
    if (names[i] == NULL) {
      status = rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", path);
    }
  }
  json_decref(index);
  if (status == RR_OK) {
    *ret_names = names;
    *ret_count = count;
  }
  return status;
}

/* What is open of a sharded model, until it is joined. */
typedef struct shard_set {
  const char *path; /* of the index */
  const char **names;
  size_t count;
  rr_safetensors **files; /* count, opened in order */
  rr_tensor *tensors;
  size_t n_tensors;
} shard_set;

static rr_status open_files(const char *directory, shard_set *set, rr_error *err) {
  set->files = rr_calloc(set->count, sizeof(rr_safetensors *));
  if (set->files == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", set->path);
  }
  for (size_t i = 0; i < set->count; i++) {
    char path[RR_PATH_MAX];
    rr_status status = rr_path_join(directory, set->names[i], path, err);
    if (status == RR_OK) {
      status = rr_safetensors_open(path, &set->files[i], err);
    }
    if (status != RR_OK) {
      return status;
    }
  }
  return RR_OK;
}

static rr_status collect_tensors(json_t *map, shard_set *set, rr_error *err) {
  set->tensors = rr_calloc(json_object_size(map), sizeof *set->tensors);
  if (set->tensors == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", set->path);
  }
  const char *name;
  json_t *file;
  json_object_foreach(map, name, file) {
    const char *shard = json_string_value(file);
    const char **at = bsearch(&shard, set->names, set->count, sizeof *set->names, by_text);
    const rr_tensor *tensor = rr_safetensors_find(set->files[at - set->names], name);
    if (tensor == NULL) {
      return rr_fail(err, RR_ERR_FORMAT, "%s: tensor %.60s is not in %.80s", set->path, name,
                     shard);
    }
    rr_tensor *to = &set->tensors[set->n_tensors++];
    *to = *tensor;
    to->shard = (size_t)(at - set->names);
  }
  return RR_OK;
}

static void close_set(shard_set *set) {
  for (size_t i = 0; set->files != NULL && i < set->count; i++) {
    rr_safetensors_close(set->files[i]);
  }
  rr_free(set->files);
  rr_free(set->tensors);
}

static rr_status open_sharded(const char *directory, const char *path, rr_safetensors **ret_file,
                              rr_error *err) {
  json_t *index;
  json_t *map;
  rr_status status = load_index(path, &index, &map, err);
  if (status != RR_OK) {
    return status;
  }
  rr_arena arena;
  rr_arena_init(&arena, INDEX_BYTES_MAX);
  shard_set set = {.path = path};
  status = distinct_files(path, map, &arena, &set.names, &set.count, err);
  if (status == RR_OK) {
    status = open_files(directory, &set, err);
  }
  if (status == RR_OK) {
    status = collect_tensors(map, &set, err);
  }
  if (status == RR_OK) {
    status =
        rr_safetensors_join(path, set.files, set.count, set.tensors, set.n_tensors, ret_file, err);
  }
  if (status != RR_OK) {
    close_set(&set);
  }
  rr_arena_finish(&arena);
  json_decref(index);
  return status;
}

/* Anything that is no regular file counts as there: opening it says what it is. */
static bool is_there(const char *directory, const char *name) {
  char path[RR_PATH_MAX];
  bool there = true;
  return rr_path_join(directory, name, path, NULL) == RR_OK &&
         (rr_file_find(path, &there, NULL) != RR_OK || there);
}

rr_status rr_weights_open(const char *directory, rr_safetensors **ret_file, rr_error *err) {
  static const char single[] = "model.safetensors";
  static const char index[] = "model.safetensors.index.json";
  bool sharded = !is_there(directory, single) && is_there(directory, index);
  char path[RR_PATH_MAX];
  rr_status status = rr_path_join(directory, sharded ? index : single, path, err);
  if (status != RR_OK) {
    return status;
  }
  if (sharded) {
    return open_sharded(directory, path, ret_file, err);
  }
  if (!is_there(directory, single)) {
    return rr_folder_lacks(directory, single, err);
  }
  return rr_safetensors_open(path, ret_file, err);
}
