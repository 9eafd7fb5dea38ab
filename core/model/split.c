#include "core/model/split.h"

#include <string.h>

static const double weight_max = 1000.0;

static const char prefix[] = "split_";
static const char *const members[] = {"split_layers", "split_positions", "split_head",
                                      "split_residual", "split_residual_weight"};

static bool is_known(const char *key) {
  for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
    if (strcmp(key, members[i]) == 0) {
      return true;
    }
  }
  return false;
}

/* A member that would do nothing is a mistake. */
static rr_status check_members(const char *path, const json_t *object, rr_error *err) {
  bool split = json_object_get(object, "split_layers") != NULL;
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)object, key, value) {
    if (strncmp(key, prefix, strlen(prefix)) != 0) {
      continue;
    }
    if (!is_known(key)) {
      return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: %.60s is not supported", path, key);
    }
    if (!split) {
      return rr_fail(err, RR_ERR_FORMAT, "%s: %s without split_layers", path, key);
    }
  }
  return RR_OK;
}

/* The index of a member's value among `count` names; 0, the default, if it is absent. */
static rr_status read_name(const char *path, const json_t *object, const char *key,
                           const char *const *names, size_t count, size_t *ret_index,
                           rr_error *err) {
  const json_t *value = json_object_get(object, key);
  const char *name = value == NULL ? names[0] : json_string_value(value);
  if (value != NULL && name != NULL && strlen(name) != json_string_length(value)) {
    name = NULL; /* there is a NUL in it */
  }
  for (size_t i = 0; name != NULL && i < count; i++) {
    if (strcmp(name, names[i]) == 0) {
      *ret_index = i;
      return RR_OK;
    }
  }
  return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: %s %.60s is not supported", path, key,
                 name == NULL ? "that is no plain string" : name);
}

static rr_status read_weight(const char *path, const json_t *object, rr_split *split,
                             rr_error *err) {
  const json_t *value = json_object_get(object, "split_residual_weight");
  if (value == NULL) {
    split->weight = 1.0f;
    return RR_OK;
  }
  if (split->residual == RR_SPLIT_NO_RESIDUAL) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: split_residual_weight without split_residual", path);
  }
  double weight = json_number_value(value);
  if (!json_is_number(value) || !(weight >= -weight_max && weight <= weight_max)) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%s: split_residual_weight must be a number from -%.0f to %.0f", path,
                   weight_max, weight_max);
  }
  split->weight = (float)weight;
  return RR_OK;
}

rr_status rr_split_read(const char *path, const json_t *object, rr_config *config, rr_error *err) {
  static const char *const positions[] = {"restart", "joint"};
  static const char *const heads[] = {"cls", "mean"};
  static const char *const residuals[] = {
      [RR_SPLIT_NO_RESIDUAL] = "none", [RR_SPLIT_COSINE] = "cosine", [RR_SPLIT_MAXSIM] = "maxsim"};
  const json_t *layers = json_object_get(object, "split_layers");
  rr_status status = check_members(path, object, err);
  if (status != RR_OK || layers == NULL) {
    return status;
  }
  if (!json_is_integer(layers) || json_integer_value(layers) < 1 ||
      json_integer_value(layers) >= config->layers) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%s: split_layers must be an integer from 1 to %u: below num_hidden_layers",
                   path, config->layers - 1);
  }
  rr_split split = {.layers = (uint32_t)json_integer_value(layers)};
  size_t position = 0;
  size_t head = 0;
  size_t residual = 0;
  status = read_name(path, object, "split_positions", positions, 2, &position, err);
  if (status == RR_OK) {
    status = read_name(path, object, "split_head", heads, 2, &head, err);
  }
  if (status == RR_OK) {
    status = read_name(path, object, "split_residual", residuals, 3, &residual, err);
  }
  if (status == RR_OK) {
    split.joint_positions = position == 1;
    split.mean_head = head == 1;
    split.residual = (rr_split_residual)residual;
    status = read_weight(path, object, &split, err);
  }
  if (status == RR_OK) {
    config->split = split;
  }
  return status;
}
