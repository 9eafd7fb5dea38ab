#include "core/model/weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/model/safetensors.h"
#include "core/model/shards.h"

enum { NAME_MAX_BYTES = 160 };

typedef struct loader {
  const rr_safetensors *file;
  rr_bert *bert;
  rr_error *err;
} loader;

/* A matrix of rows x cols, or a vector of rows if cols is 0. */
typedef struct shape {
  size_t rows;
  size_t cols;
} shape;

static size_t elements(shape s) { return s.cols == 0 ? s.rows : s.rows * s.cols; }

static const rr_tensor *find(const loader *load, const char *name) {
  char prefixed[NAME_MAX_BYTES + sizeof "bert."];
  (void)snprintf(prefixed, sizeof prefixed, "bert.%s", name);
  const rr_tensor *tensor = rr_safetensors_find(load->file, prefixed);
  return tensor != NULL ? tensor : rr_safetensors_find(load->file, name);
}

/* LayerNorm's parameters were called gamma and beta once. */
static const rr_tensor *find_by_old_name(const loader *load, const char *name) {
  static const char *const names[][2] = {{"LayerNorm.weight", "LayerNorm.gamma"},
                                         {"LayerNorm.bias", "LayerNorm.beta"}};
  char old[NAME_MAX_BYTES];
  for (size_t i = 0; i < 2; i++) {
    size_t length = strlen(name);
    size_t tail = strlen(names[i][0]);
    if (length >= tail && strcmp(name + length - tail, names[i][0]) == 0) {
      (void)snprintf(old, sizeof old, "%.*s%s", (int)(length - tail), name, names[i][1]);
      return find(load, old);
    }
  }
  return NULL;
}

/* Looks a tensor up and checks its shape, before anything is allocated for it. */
static rr_status find_shaped(const loader *load, const char *name, shape want,
                             const rr_tensor **ret_tensor) {
  const char *path = rr_safetensors_path(load->file);
  const rr_tensor *tensor = find(load, name);
  if (tensor == NULL) {
    tensor = find_by_old_name(load, name);
  }
  if (tensor == NULL) {
    return rr_fail(load->err, RR_ERR_FORMAT, "%s: tensor %s is missing", path, name);
  }
  if (want.cols == 0 && (tensor->rank != 1 || tensor->shape[0] != want.rows)) {
    return rr_fail(load->err, RR_ERR_FORMAT, "%s: tensor %s should have the shape [%zu]", path,
                   tensor->name, want.rows);
  }
  if (want.cols != 0 &&
      (tensor->rank != 2 || tensor->shape[0] != want.rows || tensor->shape[1] != want.cols)) {
    return rr_fail(load->err, RR_ERR_FORMAT, "%s: tensor %s should have the shape [%zu, %zu]", path,
                   tensor->name, want.rows, want.cols);
  }
  *ret_tensor = tensor;
  return RR_OK;
}

static rr_status read_into(loader *load, const char *name, shape want, float *to) {
  const rr_tensor *tensor;
  rr_status status = find_shaped(load, name, want, &tensor);
  if (status != RR_OK) {
    return status;
  }
  load->bert->parameters += elements(want);
  return rr_safetensors_read(load->file, tensor, to, load->err);
}

static rr_status out_of_memory(loader *load) {
  return rr_fail(load->err, RR_ERR_MEMORY, "%s: out of memory", rr_safetensors_path(load->file));
}

/* A tensor as it is, in memory of its own. */
static rr_status read_plain(loader *load, const char *name, shape want, float **ret_data) {
  const rr_tensor *tensor;
  rr_status status = find_shaped(load, name, want, &tensor);
  if (status != RR_OK) {
    return status;
  }
  float *data = rr_alloc_aligned(elements(want) * sizeof *data);
  if (data == NULL) {
    return out_of_memory(load);
  }
  status = read_into(load, name, want, data);
  if (status != RR_OK) {
    rr_free(data);
    return status;
  }
  *ret_data = data;
  return RR_OK;
}

static rr_status read_norm(loader *load, const char *prefix, rr_norm_weights *to) {
  char name[NAME_MAX_BYTES];
  shape want = {.rows = load->bert->config.hidden_size};
  (void)snprintf(name, sizeof name, "%s.weight", prefix);
  rr_status status = read_plain(load, name, want, &to->gamma);
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "%s.bias", prefix);
    status = read_plain(load, name, want, &to->beta);
  }
  return status;
}

/* Stacks `count` linear layers of n x k each into one of (count n) x k and packs it. */
static rr_status read_linear(loader *load, rr_linear_kind kind, const char *const *prefixes,
                             size_t count, size_t n, size_t k, rr_linear *to) {
  const rr_gemm *gemm = rr_gemm_best(load->bert->formats.of[kind]);
  char name[NAME_MAX_BYTES];
  const rr_tensor *first;
  (void)snprintf(name, sizeof name, "%s.weight", prefixes[0]);
  rr_status status = find_shaped(load, name, (shape){.rows = n, .cols = k}, &first);
  if (status != RR_OK) {
    return status;
  }
  to->gemm = gemm;
  to->n = count * n;
  to->k = k;
  float *rows = rr_alloc_aligned(to->n * k * sizeof *rows);
  to->packed = rr_alloc_aligned(gemm->packed_size(to->n, k));
  to->bias = rr_alloc_aligned(to->n * sizeof *to->bias);
  if (rows == NULL || to->packed == NULL || to->bias == NULL) {
    status = out_of_memory(load);
  }
  for (size_t i = 0; status == RR_OK && i < count; i++) {
    (void)snprintf(name, sizeof name, "%s.weight", prefixes[i]);
    status = read_into(load, name, (shape){.rows = n, .cols = k}, rows + i * n * k);
    if (status == RR_OK) {
      (void)snprintf(name, sizeof name, "%s.bias", prefixes[i]);
      status = read_into(load, name, (shape){.rows = n}, to->bias + i * n);
    }
  }
  if (status == RR_OK) {
    gemm->pack(to->n, k, rows, to->packed);
  }
  rr_free(rows);
  return status;
}

static rr_status read_one(loader *load, rr_linear_kind kind, const char *prefix, size_t n, size_t k,
                          rr_linear *to) {
  return read_linear(load, kind, &prefix, 1, n, k, to);
}

static rr_status read_attention(loader *load, size_t index, rr_layer *to) {
  static const char *const parts[] = {"query", "key", "value"};
  char names[3][NAME_MAX_BYTES];
  const char *prefixes[3];
  for (size_t i = 0; i < 3; i++) {
    (void)snprintf(names[i], sizeof names[i], "encoder.layer.%zu.attention.self.%s", index, parts[i]);
    prefixes[i] = names[i];
  }
  const rr_config *config = &load->bert->config;
  size_t hidden = config->hidden_size;
  if (index + 1 < config->layers || !rr_bert_cls_only(config)) {
    return read_linear(load, RR_LINEAR_QKV, prefixes, 3, hidden, hidden, &to->qkv);
  }
  rr_status status = read_linear(load, RR_LINEAR_QKV, prefixes, 1, hidden, hidden, &to->query);
  if (status == RR_OK) {
    status = read_linear(load, RR_LINEAR_QKV, prefixes + 1, 2, hidden, hidden, &to->key_value);
  }
  return status;
}

static rr_status read_layer(loader *load, size_t index, rr_layer *to) {
  size_t hidden = load->bert->config.hidden_size;
  size_t wide = load->bert->config.intermediate_size;
  char name[NAME_MAX_BYTES];
  rr_status status = read_attention(load, index, to);
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "encoder.layer.%zu.attention.output.dense", index);
    status = read_one(load, RR_LINEAR_ATTENTION_OUTPUT, name, hidden, hidden, &to->attention_output);
  }
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "encoder.layer.%zu.attention.output.LayerNorm", index);
    status = read_norm(load, name, &to->attention_norm);
  }
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "encoder.layer.%zu.intermediate.dense", index);
    status = read_one(load, RR_LINEAR_INTERMEDIATE, name, wide, hidden, &to->intermediate);
  }
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "encoder.layer.%zu.output.dense", index);
    status = read_one(load, RR_LINEAR_OUTPUT, name, hidden, wide, &to->output);
  }
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "encoder.layer.%zu.output.LayerNorm", index);
    status = read_norm(load, name, &to->output_norm);
  }
  return status;
}

static rr_status read_embeddings(loader *load) {
  rr_bert *bert = load->bert;
  const rr_config *config = &bert->config;
  const struct {
    const char *name;
    size_t rows;
    float **to;
  } tables[] = {
      {"embeddings.word_embeddings.weight", config->vocabulary_size, &bert->word},
      {"embeddings.position_embeddings.weight", config->positions, &bert->position},
      {"embeddings.token_type_embeddings.weight", config->types, &bert->type},
  };
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    shape want = {.rows = tables[i].rows, .cols = config->hidden_size};
    rr_status status = read_plain(load, tables[i].name, want, tables[i].to);
    if (status != RR_OK) {
      return status;
    }
  }
  return read_norm(load, "embeddings.LayerNorm", &bert->embedding_norm);
}

static rr_status read_all(loader *load) {
  rr_bert *bert = load->bert;
  size_t hidden = bert->config.hidden_size;
  rr_status status = read_embeddings(load);
  for (size_t i = 0; status == RR_OK && i < bert->config.layers; i++) {
    status = read_layer(load, i, &bert->layers[i]);
  }
  if (status == RR_OK && bert->config.head == RR_HEAD_CLASSIFIER) {
    status = read_one(load, RR_LINEAR_HEAD, "pooler.dense", hidden, hidden, &bert->pooler);
    if (status == RR_OK) {
      status = read_one(load, RR_LINEAR_HEAD, "classifier", 1, hidden, &bert->classifier);
    }
  }
  return status;
}

bool rr_bert_cls_only(const rr_config *config) { return config->head != RR_HEAD_MEAN; }

rr_status rr_bert_load(const rr_config *config, const rr_formats *formats, const rr_rowops *rowops,
                       rr_bert **ret_bert, rr_error *err) {
  rr_safetensors *file = NULL;
  rr_status status = rr_weights_open(config->folder, &file, err);
  if (status != RR_OK) {
    return status;
  }
  rr_bert *bert = rr_calloc(1, sizeof *bert);
  rr_layer *layers = rr_calloc(config->layers, sizeof *layers);
  if (bert == NULL || layers == NULL) {
    rr_free(layers);
    rr_free(bert);
    rr_safetensors_close(file);
    return rr_fail(err, RR_ERR_MEMORY, "%s: out of memory", config->folder);
  }
  bert->config = *config;
  bert->formats = *formats;
  bert->rowops = rowops;
  bert->layers = layers;
  loader load = {.file = file, .bert = bert, .err = err};
  status = read_all(&load);
  rr_safetensors_close(file);
  if (status != RR_OK) {
    rr_bert_destroy(bert);
    return status;
  }
  *ret_bert = bert;
  return RR_OK;
}

static void free_linear(rr_linear *linear) {
  rr_free(linear->packed);
  rr_free(linear->bias);
}

static void free_norm(rr_norm_weights *norm) {
  rr_free(norm->gamma);
  rr_free(norm->beta);
}

void rr_bert_destroy(rr_bert *bert) {
  if (bert == NULL) {
    return;
  }
  for (size_t i = 0; i < bert->config.layers; i++) {
    rr_layer *layer = &bert->layers[i];
    free_linear(&layer->qkv);
    free_linear(&layer->query);
    free_linear(&layer->key_value);
    free_linear(&layer->attention_output);
    free_norm(&layer->attention_norm);
    free_linear(&layer->intermediate);
    free_linear(&layer->output);
    free_norm(&layer->output_norm);
  }
  rr_free(bert->layers);
  free_linear(&bert->classifier);
  free_linear(&bert->pooler);
  free_norm(&bert->embedding_norm);
  rr_free(bert->type);
  rr_free(bert->position);
  rr_free(bert->word);
  rr_free(bert);
}
