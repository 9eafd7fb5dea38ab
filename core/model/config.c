#include "core/model/config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "core/files/folder.h"
#include "core/files/pipeline.h"
#include "core/model/colbert.h"
#include "core/model/split.h"

enum { CONFIG_BYTES_MAX = 4 << 20 };

/* Where a value comes from, for messages. */
typedef struct source {
  const char *path;
  const json_t *object;
} source;

/* By well-known names: a class alone tells few users what to take. */
static const char served[] = "BERT with WordPiece: BertForSequenceClassification as "
                             "cross-encoder/ms-marco-MiniLM-L6-v2 is, BertModel as "
                             "BAAI/bge-small-en-v1.5 and sentence-transformers/all-MiniLM-L6-v2 "
                             "are, HF_ColBERT as colbert-ir/colbertv2.0 is";

/* An integer from 1 to max. Where `fallback` is not 0 the key may be absent. */
static rr_status read_size(const source *from, const char *key, uint32_t max, uint32_t fallback,
                           uint32_t *ret_size, rr_error *err) {
  const json_t *value = json_object_get(from->object, key);
  if (value == NULL && fallback != 0) {
    *ret_size = fallback;
    return RR_OK;
  }
  if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > max) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: %s must be an integer from 1 to %u", from->path, key,
                   max);
  }
  *ret_size = (uint32_t)json_integer_value(value);
  return RR_OK;
}

/* The limits keep every product of two sizes below 2^32 and every buffer's size far from
 * overflow. */
static rr_status read_sizes(const source *from, rr_config *config, rr_error *err) {
  const struct {
    const char *key;
    uint32_t max;
    uint32_t fallback;
    uint32_t *to;
  } sizes[] = {
      {"hidden_size", 1 << 14, 0, &config->hidden_size},
      {"num_hidden_layers", 1 << 10, 0, &config->layers},
      {"num_attention_heads", 1 << 10, 0, &config->heads},
      {"intermediate_size", 1 << 16, 0, &config->intermediate_size},
      {"max_position_embeddings", 1 << 16, 0, &config->positions},
      {"vocab_size", 1 << 24, 0, &config->vocabulary_size},
      {"type_vocab_size", 256, 2, &config->types},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    rr_status status =
        read_size(from, sizes[i].key, sizes[i].max, sizes[i].fallback, sizes[i].to, err);
    if (status != RR_OK) {
      return status;
    }
  }
  if (config->hidden_size % config->heads != 0) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%s: hidden_size %u is no multiple of num_attention_heads %u", from->path,
                   config->hidden_size, config->heads);
  }
  return RR_OK;
}

/* A configuration that names no architecture: of what, then? */
static rr_status lacks_architecture(const source *from, rr_error *err) {
  const char *type = json_string_value(json_object_get(from->object, "model_type"));
  bool pooling = json_object_get(from->object, "word_embedding_dimension") != NULL;
  if (type != NULL && strcmp(type, "bert") == 0) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%s: architectures must name one architecture: "
                   "[\"BertForSequenceClassification\"] for a cross-encoder, "
                   "[\"BertModel\"] for a bi-encoder",
                   from->path);
  }
  if (type != NULL) {
    return rr_fail(err, RR_ERR_UNSUPPORTED,
                   "%s: model_type %.60s is not supported, and architectures must name one "
                   "architecture; served is %s",
                   from->path, type, served);
  }
  return rr_fail(err, RR_ERR_FORMAT,
                 "%s: architectures must name one architecture, and there is no model_type: %s",
                 from->path,
                 pooling ? "it is the configuration of a pooling module; name the folder above"
                         : "this is no transformer's config.json; take that of the model");
}

static rr_status read_architecture(const source *from, rr_config *config, rr_error *err) {
  static const struct {
    const char *name;
    rr_head head;
  } known[] = {{"BertForSequenceClassification", RR_HEAD_CLASSIFIER},
               {"BertModel", RR_HEAD_MEAN},
               {"HF_ColBERT", RR_HEAD_TOKENS}};
  const json_t *names = json_object_get(from->object, "architectures");
  const char *name = json_string_value(json_array_get(names, 0));
  if (name == NULL || json_array_size(names) != 1) {
    return lacks_architecture(from, err);
  }
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(name, known[i].name) == 0) {
      config->head = known[i].head;
      return RR_OK;
    }
  }
  return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: architecture %.80s is not supported; served is %s",
                 from->path, name, served);
}

static rr_status read_activation(const source *from, rr_config *config, rr_error *err) {
  static const struct {
    const char *name;
    rr_activation activation;
  } known[] = {
      {"gelu", RR_ACTIVATION_GELU_ERF},
      {"gelu_new", RR_ACTIVATION_GELU_TANH},
      {"gelu_pytorch_tanh", RR_ACTIVATION_GELU_TANH},
      {"relu", RR_ACTIVATION_RELU},
  };
  const json_t *value = json_object_get(from->object, "hidden_act");
  const char *name = value == NULL ? "gelu" : json_string_value(value);
  for (size_t i = 0; name != NULL && i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(name, known[i].name) == 0) {
      config->activation = known[i].activation;
      return RR_OK;
    }
  }
  return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: hidden_act %.60s is not supported", from->path,
                 name == NULL ? "of another type than string" : name);
}

static rr_status read_rest(const source *from, rr_config *config, rr_error *err) {
  const json_t *epsilon = json_object_get(from->object, "layer_norm_eps");
  double value = epsilon == NULL ? 1e-12 : json_number_value(epsilon);
  if ((epsilon != NULL && !json_is_number(epsilon)) || !(value > 0.0) || !(value < 1.0)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: layer_norm_eps must be a number between 0 and 1",
                   from->path);
  }
  config->norm_epsilon = (float)value;
  const json_t *positions = json_object_get(from->object, "position_embedding_type");
  if (positions != NULL &&
      (!json_is_string(positions) || strcmp(json_string_value(positions), "absolute") != 0)) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: position_embedding_type %.60s is not supported",
                   from->path, json_is_string(positions) ? json_string_value(positions) : "");
  }
  if (json_is_true(json_object_get(from->object, "is_decoder"))) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: is_decoder is not supported", from->path);
  }
  return RR_OK;
}

/* The number of labels is id2label's size; without it num_labels, else 2, as transformers has
 * it. */
static rr_status read_label(const source *from, rr_config *config, rr_error *err) {
  const json_t *labels = json_object_get(from->object, "id2label");
  const json_t *number = json_object_get(from->object, "num_labels");
  size_t count = 2;
  if (json_is_object(labels)) {
    count = json_object_size(labels);
  } else if (json_is_integer(number) && json_integer_value(number) >= 0) {
    count = (size_t)json_integer_value(number);
  } else if (labels != NULL || number != NULL) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: id2label must be an object, num_labels an integer",
                   from->path);
  }
  if (count != 1) {
    return rr_fail(err, RR_ERR_UNSUPPORTED,
                   "%s: model has %zu labels; a reranker needs exactly one", from->path, count);
  }
  const char *label = json_string_value(json_object_get(labels, "0"));
  int length =
      snprintf(config->label, sizeof config->label, "%s", label == NULL ? "LABEL_0" : label);
  if (length < 0 || (size_t)length >= sizeof config->label) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: the label is over %d bytes", from->path,
                   RR_LABEL_MAX - 1);
  }
  return RR_OK;
}

/* Split layers make a cross-encoder of a BertModel: there is a classifier beside it. */
static rr_status read_split(const source *from, rr_config *config, rr_error *err) {
  rr_status status = rr_split_read(from->path, from->object, config, err);
  if (status != RR_OK || config->split.layers == 0) {
    return status;
  }
  if (config->head == RR_HEAD_TOKENS) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: split_layers of a ColBERT are not supported",
                   from->path);
  }
  config->head = RR_HEAD_CLASSIFIER;
  return RR_OK;
}

static rr_status read_config(const source *from, rr_config *config, rr_error *err) {
  if (!json_is_object(from->object)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: must be an object", from->path);
  }
  rr_status status = read_architecture(from, config, err);
  if (status == RR_OK) {
    status = read_sizes(from, config, err);
  }
  if (status == RR_OK) {
    status = read_activation(from, config, err);
  }
  if (status == RR_OK) {
    status = read_rest(from, config, err);
  }
  if (status == RR_OK) {
    status = read_split(from, config, err);
  }
  if (status == RR_OK && config->head == RR_HEAD_CLASSIFIER) {
    status = read_label(from, config, err);
  }
  return status;
}

/* sentence_bert_config.json may ask for shorter inputs than the position table allows. */
static rr_status read_max_length(rr_config *config, rr_error *err) {
  config->max_input_length = config->positions;
  char path[RR_PATH_MAX];
  rr_status status = rr_path_join(config->folder, "sentence_bert_config.json", path, err);
  bool there = false;
  if (status == RR_OK) {
    status = rr_file_find(path, &there, err);
  }
  if (status != RR_OK || !there) {
    return status;
  }
  json_t *json;
  status = rr_json_load(path, CONFIG_BYTES_MAX, &json, err);
  if (status != RR_OK) {
    return status;
  }
  source from = {.path = path, .object = json};
  const json_t *value = json_object_get(json, "max_seq_length");
  uint32_t length = config->positions;
  if (!json_is_object(json)) {
    status = rr_fail(err, RR_ERR_FORMAT, "%s: must be an object", path);
  } else if (value != NULL && !json_is_null(value)) {
    status = read_size(&from, "max_seq_length", INT32_MAX, 0, &length, err);
  }
  json_decref(json);
  if (status == RR_OK && length < config->positions) {
    config->max_input_length = length;
  }
  return status;
}

static rr_status load(const char *directory, bool with_weights, rr_config *ret_config,
                      rr_error *err) {
  rr_pipeline pipeline;
  rr_config config = {.label = ""};
  char path[RR_PATH_MAX];
  json_t *json;
  rr_status status = rr_folder_check(directory, err);
  if (status == RR_OK) {
    status = rr_pipeline_load(directory, &pipeline, err);
  }
  if (status != RR_OK) {
    return status;
  }
  memcpy(config.folder, pipeline.folder, sizeof config.folder);
  status = rr_path_join(config.folder, "config.json", path, err);
  bool there = false;
  if (status == RR_OK) {
    status = rr_file_find(path, &there, err);
  }
  if (status == RR_OK) {
    status = there ? rr_json_load(path, CONFIG_BYTES_MAX, &json, err)
                   : rr_folder_lacks(config.folder, "config.json", err);
  }
  if (status != RR_OK) {
    return status;
  }
  source from = {.path = path, .object = json};
  status = read_config(&from, &config, err);
  json_decref(json);
  if (status == RR_OK) {
    status = read_max_length(&config, err);
  }
  if (status != RR_OK) {
    return status;
  }
  if (config.head == RR_HEAD_MEAN && pipeline.pooling != RR_PIPELINE_NO_POOLING) {
    config.head = pipeline.pooling == RR_PIPELINE_CLS ? RR_HEAD_CLS : RR_HEAD_MEAN;
  } else if (with_weights && config.head != RR_HEAD_CLASSIFIER) {
    status = rr_colbert_load(&config, err);
  }
  if (status != RR_OK) {
    return status;
  }
  *ret_config = config;
  return RR_OK;
}

rr_status rr_config_load(const char *directory, rr_config *ret_config, rr_error *err) {
  return load(directory, true, ret_config, err);
}

rr_status rr_config_peek(const char *directory, rr_config *ret_config, rr_error *err) {
  return load(directory, false, ret_config, err);
}
