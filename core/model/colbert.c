#include "core/model/colbert.h"

#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/files/shards.h"

enum { METADATA_BYTES_MAX = 1 << 20, DIM_MAX = 1 << 14 };

/* A key may be absent or null: then what is there stays. */
static const json_t *member(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_null(value) ? NULL : value;
}

static rr_status read_length(const char *path, const json_t *object, const char *key, uint32_t max,
                             uint32_t *length, rr_error *err) {
  const json_t *value = member(object, key);
  if (value == NULL) {
    return RR_OK;
  }
  if (!json_is_integer(value) || json_integer_value(value) < 4 || json_integer_value(value) > max) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: %s must be an integer from 4 to %u", path, key, max);
  }
  *length = (uint32_t)json_integer_value(value);
  return RR_OK;
}

static rr_status read_flag(const char *path, const json_t *object, const char *key, bool *flag,
                           rr_error *err) {
  const json_t *value = member(object, key);
  if (value != NULL && !json_is_boolean(value)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: %s must be true or false", path, key);
  }
  *flag = value == NULL ? *flag : json_is_true(value);
  return RR_OK;
}

static rr_status read_marker(const char *path, const json_t *object, const char *key,
                             char marker[RR_MARKER_MAX], rr_error *err) {
  const json_t *value = member(object, key);
  if (value == NULL) {
    return RR_OK;
  }
  const char *text = json_string_value(value);
  if (text == NULL || text[0] == '\0' || json_string_length(value) >= RR_MARKER_MAX) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: %s must be a token of at most %d bytes", path, key,
                   RR_MARKER_MAX - 1);
  }
  (void)snprintf(marker, RR_MARKER_MAX, "%s", text);
  return RR_OK;
}

static rr_status read_members(const char *path, const json_t *json, uint32_t positions,
                              rr_colbert *to, rr_error *err) {
  if (!json_is_object(json)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: must be an object", path);
  }
  const json_t *similarity = member(json, "similarity");
  if (similarity != NULL &&
      (!json_is_string(similarity) || strcmp(json_string_value(similarity), "cosine") != 0)) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: only the similarity \"cosine\" is supported",
                   path);
  }
  rr_status status = read_length(path, json, "query_maxlen", positions, &to->query_length, err);
  if (status == RR_OK) {
    status = read_length(path, json, "doc_maxlen", UINT32_MAX, &to->document_length, err);
  }
  if (status == RR_OK) {
    status = read_flag(path, json, "attend_to_mask_tokens", &to->attend_to_masks, err);
  }
  if (status == RR_OK) {
    status = read_flag(path, json, "mask_punctuation", &to->skip_punctuation, err);
  }
  if (status == RR_OK) {
    status = read_marker(path, json, "query_token_id", to->query_marker, err);
  }
  if (status == RR_OK) {
    status = read_marker(path, json, "doc_token_id", to->document_marker, err);
  }
  return status;
}

static rr_status read_metadata(const rr_config *config, rr_colbert *to, rr_error *err) {
  char path[RR_PATH_MAX];
  rr_status status = rr_path_join(config->folder, "artifact.metadata", path, err);
  bool there = false;
  if (status == RR_OK) {
    status = rr_file_find(path, &there, err);
  }
  if (status != RR_OK || !there) {
    return status;
  }
  json_t *json;
  status = rr_json_load(path, METADATA_BYTES_MAX, &json, err);
  if (status == RR_OK) {
    status = read_members(path, json, config->positions, to, err);
    json_decref(json);
  }
  return status;
}

/* Rows of linear.weight; 0 if there is none. */
static rr_status read_dim(const rr_config *config, const rr_safetensors *weights, uint32_t *ret_dim,
                          rr_error *err) {
  const rr_tensor *linear = rr_safetensors_find(weights, "linear.weight");
  *ret_dim = 0;
  if (linear == NULL) {
    return RR_OK;
  }
  if (linear->rank != 2 || linear->shape[0] == 0 || linear->shape[0] > DIM_MAX ||
      linear->shape[1] != config->hidden_size ||
      rr_safetensors_find(weights, "linear.bias") != NULL) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%s: linear.weight should have the shape [1 to %d, %u], and no bias",
                   rr_safetensors_path(weights), DIM_MAX, config->hidden_size);
  }
  *ret_dim = (uint32_t)linear->shape[0];
  return RR_OK;
}

rr_status rr_colbert_load(rr_config *config, rr_error *err) {
  bool named = config->head == RR_HEAD_TOKENS;
  rr_safetensors *weights = NULL;
  rr_status status = rr_weights_open(config->folder, &weights, named ? err : NULL);
  if (status != RR_OK) {
    return named ? status : RR_OK; /* what is wrong with the weights, loading them tells */
  }
  rr_colbert colbert = {.query_length = config->positions < 32 ? config->positions : 32,
                        .document_length = 220,
                        .skip_punctuation = true,
                        .query_marker = "[unused0]",
                        .document_marker = "[unused1]"};
  status = read_dim(config, weights, &colbert.dim, err);
  if (status == RR_OK && named && colbert.dim == 0) {
    status = rr_fail(err, RR_ERR_FORMAT, "%s: tensor linear.weight is missing",
                     rr_safetensors_path(weights));
  }
  rr_safetensors_close(weights);
  if (status != RR_OK || colbert.dim == 0) {
    return status;
  }
  status = read_metadata(config, &colbert, err);
  if (status == RR_OK) {
    uint32_t most = config->max_input_length;
    colbert.document_length = colbert.document_length < most ? colbert.document_length : most;
    config->head = RR_HEAD_TOKENS;
    config->token_vectors = true;
    config->colbert = colbert;
    config->max_input_length = colbert.document_length;
  }
  return status;
}
