#include "core/model/weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/files/safetensors.h"
#include "core/files/shards.h"

enum {
  NAME_MAX_BYTES = 160,
  STACKED_MAX = 3,       /* layers in one product */
  LINEARS_PER_LAYER = 5, /* at most */
  LINEARS_OF_HEAD = 2
};

/* The weights of a product: tensors of n / count x k, stacked. */
typedef struct source {
  const rr_tensor *tensors[STACKED_MAX];
  size_t count;
} source;

typedef struct loader {
  const rr_safetensors *file;
  rr_bert *bert;
  rr_pack_item *items; /* of all products met so far */
  source *sources;     /* of the same */
  size_t n_items;
  bool few_rows; /* the layer being read has only [CLS] rows to compute */
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

static rr_status out_of_memory(const loader *load) {
  return rr_fail(load->err, RR_ERR_MEMORY, "%s: out of memory", rr_safetensors_path(load->file));
}

/* Memory that stays as long as the weights. */
static void *keep(loader *load, size_t size) {
  void *memory = rr_alloc_aligned(size);
  load->bert->bytes += memory == NULL ? 0 : size;
  return memory;
}

/* A tensor as it is, in memory of its own. */
static rr_status read_plain(loader *load, const char *name, shape want, float **ret_data) {
  const rr_tensor *tensor;
  rr_status status = find_shaped(load, name, want, &tensor);
  if (status != RR_OK) {
    return status;
  }
  float *data = keep(load, elements(want) * sizeof *data);
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
  (void)snprintf(name, sizeof name, "%.140s.weight", prefix);
  rr_status status = read_plain(load, name, want, &to->gamma);
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "%.140s.bias", prefix);
    status = read_plain(load, name, want, &to->beta);
  }
  return status;
}

/* Where a head reads [CLS] rows alone, the last layer has so few rows to compute that no format
 * saves time. */
static rr_format format_of(const loader *load, rr_linear_kind kind) {
  return load->few_rows ? RR_FORMAT_FP32 : load->bert->formats.of[kind];
}

/* Prepares a product of `count` stacked linear layers of n x k each: memory, biases, and what
 * pack_all packs later. */
static rr_status read_linear(loader *load, rr_linear_kind kind, const char *const *prefixes,
                             size_t count, size_t n, size_t k, rr_linear *to) {
  const rr_gemm *gemm = rr_gemm_best(format_of(load, kind));
  char name[NAME_MAX_BYTES];
  source from = {.count = count};
  rr_status status = RR_OK;
  for (size_t i = 0; status == RR_OK && i < count; i++) {
    (void)snprintf(name, sizeof name, "%.140s.weight", prefixes[i]);
    status = find_shaped(load, name, (shape){.rows = n, .cols = k}, &from.tensors[i]);
  }
  if (status != RR_OK) {
    return status;
  }
  to->gemm = gemm;
  to->n = count * n;
  to->k = k;
  to->packed = keep(load, gemm->packed_size(to->n, k));
  to->bias = keep(load, to->n * sizeof *to->bias);
  if (to->packed == NULL || to->bias == NULL) {
    return out_of_memory(load);
  }
  for (size_t i = 0; status == RR_OK && i < count; i++) {
    (void)snprintf(name, sizeof name, "%.140s.bias", prefixes[i]);
    status = read_into(load, name, (shape){.rows = n}, to->bias + i * n);
  }
  load->bert->parameters += to->n * k;
  load->items[load->n_items] = (rr_pack_item){
      .tensor = from.tensors[0]->name, .gemm = gemm, .n = to->n, .k = k, .packed = to->packed};
  load->sources[load->n_items] = from;
  load->n_items++;
  return status;
}

static rr_status pack_all(const loader *load) {
  size_t most = 0;
  for (size_t i = 0; i < load->n_items; i++) {
    size_t size = load->items[i].n * load->items[i].k;
    most = size > most ? size : most;
  }
  float *rows = rr_alloc_aligned(most * sizeof *rows);
  rr_status status = rows != NULL ? RR_OK : out_of_memory(load);
  for (size_t i = 0; status == RR_OK && i < load->n_items; i++) {
    const rr_pack_item *item = &load->items[i];
    const source *from = &load->sources[i];
    size_t part = item->n / from->count * item->k;
    for (size_t t = 0; status == RR_OK && t < from->count; t++) {
      status = rr_safetensors_read(load->file, from->tensors[t], rows + t * part, load->err);
    }
    if (status == RR_OK) {
      item->gemm->pack(item->n, item->k, rows, item->packed);
    }
  }
  rr_free(rows);
  return status;
}

static rr_status pack_or_read_packs(const loader *load, rr_packs_report *ret_packs) {
  if (ret_packs == NULL) {
    return pack_all(load);
  }
  rr_packs_report report = {.text = ""};
  rr_packs *packs =
      rr_packs_create(load->bert->config.folder, load->file, load->items, load->n_items, &report);
  rr_status status = RR_OK;
  if (packs == NULL || !rr_packs_read(packs, &report)) {
    status = pack_all(load);
    if (packs != NULL && status == RR_OK) {
      rr_packs_write(packs, &report);
    }
  }
  rr_packs_destroy(packs);
  if (status == RR_OK) {
    *ret_packs = report;
  }
  return status;
}

static rr_status read_one(loader *load, rr_linear_kind kind, const char *prefix, size_t n, size_t k,
                          rr_linear *to) {
  return read_linear(load, kind, &prefix, 1, n, k, to);
}

/* n x k values at `rows`, `step` floats from one row to the next and `apart` from one value to the
 * next. */
typedef struct slice {
  const float *rows;
  size_t step;
  size_t apart;
  const float *bias; /* n, or NULL: zeros */
} slice;

/* In float32: a product of few rows costs little time and would only lose. */
static rr_status pack_slice(loader *load, const slice *from, size_t n, size_t k, rr_linear *to) {
  const rr_gemm *gemm = rr_gemm_best(RR_FORMAT_FP32);
  *to = (rr_linear){.gemm = gemm, .n = n, .k = k};
  float *rows = rr_alloc_aligned(n * k * sizeof *rows);
  to->packed = keep(load, gemm->packed_size(n, k));
  to->bias = keep(load, n * sizeof *to->bias);
  if (rows == NULL || to->packed == NULL || to->bias == NULL) {
    rr_free(rows);
    return out_of_memory(load);
  }
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < k; j++) {
      rows[i * k + j] = from->rows[i * from->step + j * from->apart];
    }
    to->bias[i] = from->bias == NULL ? 0.0f : from->bias[i];
  }
  gemm->pack(n, k, rows, to->packed);
  rr_free(rows);
  return RR_OK;
}

/* w is H x H and bias H, of keys or of values: a linear layer for each head of them. */
static rr_status pack_heads(loader *load, const float *w, const float *bias, bool keys,
                            rr_linear *to) {
  const rr_config *config = &load->bert->config;
  size_t hidden = config->hidden_size;
  size_t head_size = hidden / config->heads;
  rr_status status = RR_OK;
  for (size_t head = 0; status == RR_OK && head < config->heads; head++) {
    const float *rows = w + head * head_size * hidden;
    slice from =
        keys ? (slice){rows, 1, hidden, NULL} : (slice){rows, hidden, 1, bias + head * head_size};
    status = keys ? pack_slice(load, &from, hidden, head_size, &to[head])
                  : pack_slice(load, &from, head_size, hidden, &to[head]);
  }
  return status;
}

static rr_status read_heads(loader *load, const char *prefix, bool keys, rr_linear **ret_heads) {
  size_t hidden = load->bert->config.hidden_size;
  char name[NAME_MAX_BYTES];
  float *w = NULL;
  float *bias = NULL;
  rr_linear *heads = rr_calloc(load->bert->config.heads, sizeof *heads);
  if (heads == NULL) {
    return out_of_memory(load);
  }
  *ret_heads = heads; /* freed with the layer, however this ends */
  (void)snprintf(name, sizeof name, "%.140s.weight", prefix);
  rr_status status = read_plain(load, name, (shape){.rows = hidden, .cols = hidden}, &w);
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "%.140s.bias", prefix);
    status = read_plain(load, name, (shape){.rows = hidden}, &bias);
  }
  if (status == RR_OK) {
    status = pack_heads(load, w, bias, keys, heads);
    load->bert->bytes -=
        elements((shape){.rows = hidden, .cols = hidden}) * sizeof *w + hidden * sizeof *bias;
  }
  rr_free(bias);
  rr_free(w);
  return status;
}

static rr_status read_attention(loader *load, size_t index, rr_layer *to) {
  static const char *const parts[] = {"query", "key", "value"};
  char names[3][NAME_MAX_BYTES];
  const char *prefixes[3];
  for (size_t i = 0; i < 3; i++) {
    (void)snprintf(names[i], sizeof names[i], "encoder.layer.%zu.attention.self.%s", index,
                   parts[i]);
    prefixes[i] = names[i];
  }
  size_t hidden = load->bert->config.hidden_size;
  if (!load->few_rows) {
    return read_linear(load, RR_LINEAR_QKV, prefixes, 3, hidden, hidden, &to->qkv);
  }
  rr_status status = read_linear(load, RR_LINEAR_QKV, prefixes, 1, hidden, hidden, &to->query);
  if (status == RR_OK) {
    status = read_heads(load, names[1], true, &to->key_of_head);
  }
  if (status == RR_OK) {
    status = read_heads(load, names[2], false, &to->value_of_head);
  }
  return status;
}

static rr_status read_layer(loader *load, size_t index, rr_layer *to) {
  size_t hidden = load->bert->config.hidden_size;
  size_t wide = load->bert->config.intermediate_size;
  char name[NAME_MAX_BYTES];
  load->few_rows = index + 1 == load->bert->config.layers && rr_bert_cls_only(&load->bert->config);
  rr_status status = read_attention(load, index, to);
  if (status == RR_OK) {
    (void)snprintf(name, sizeof name, "encoder.layer.%zu.attention.output.dense", index);
    status =
        read_one(load, RR_LINEAR_ATTENTION_OUTPUT, name, hidden, hidden, &to->attention_output);
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

/* In float32: it is small beside the layers, and what it makes is stored. */
static rr_status read_projection(loader *load, rr_linear *to) {
  shape want = {.rows = load->bert->config.colbert.dim, .cols = load->bert->config.hidden_size};
  float *w = NULL;
  rr_status status = read_plain(load, "linear.weight", want, &w);
  if (status == RR_OK) {
    const slice all = {.rows = w, .step = want.cols, .apart = 1};
    status = pack_slice(load, &all, want.rows, want.cols, to);
  }
  rr_free(w);
  return status;
}

static rr_status read_all(loader *load) {
  rr_bert *bert = load->bert;
  size_t hidden = bert->config.hidden_size;
  rr_status status = read_embeddings(load);
  for (size_t i = 0; status == RR_OK && i < bert->config.layers; i++) {
    status = read_layer(load, i, &bert->layers[i]);
  }
  if (status == RR_OK && bert->config.head == RR_HEAD_CLASSIFIER) {
    if (!bert->config.split.mean_head) {
      status = read_one(load, RR_LINEAR_HEAD, "pooler.dense", hidden, hidden, &bert->pooler);
    }
    if (status == RR_OK) {
      status = read_one(load, RR_LINEAR_HEAD, "classifier", 1, hidden, &bert->classifier);
    }
  }
  if (status == RR_OK && bert->config.head == RR_HEAD_TOKENS) {
    status = read_projection(load, &bert->projection);
  }
  return status;
}

bool rr_bert_cls_only(const rr_config *config) {
  bool cls = (config->head == RR_HEAD_CLASSIFIER && !config->split.mean_head) ||
             config->head == RR_HEAD_CLS;
  return cls && !config->token_vectors;
}

/* Reads the open file into bert. */
static rr_status load_weights(const rr_safetensors *file, rr_bert *bert, rr_packs_report *ret_packs,
                              rr_error *err) {
  size_t linears = (size_t)bert->config.layers * LINEARS_PER_LAYER + LINEARS_OF_HEAD;
  loader load = {.file = file,
                 .bert = bert,
                 .items = rr_calloc(linears, sizeof *load.items),
                 .sources = rr_calloc(linears, sizeof *load.sources),
                 .err = err};
  rr_status status =
      load.items != NULL && load.sources != NULL ? read_all(&load) : out_of_memory(&load);
  if (status == RR_OK) {
    status = pack_or_read_packs(&load, ret_packs);
  }
  rr_free(load.sources);
  rr_free(load.items);
  return status;
}

rr_status rr_bert_load(const rr_config *config, const rr_formats *formats, const rr_rowops *rowops,
                       rr_packs_report *ret_packs, rr_bert **ret_bert, rr_error *err) {
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
  /* Where products are reduced, so are attention's; it costs them no more than they have lost. */
  bool reduced = formats->of[RR_LINEAR_QKV] != RR_FORMAT_FP32 &&
                 formats->of[RR_LINEAR_ATTENTION_OUTPUT] != RR_FORMAT_FP32;
  bert->attention = rr_attention_best(reduced, config->hidden_size / config->heads);
  bert->cls_attention = rr_attention_best(reduced, config->hidden_size);
  bert->maxsim = config->token_vectors ? rr_maxsim_best(formats->of[RR_LINEAR_QKV]) : NULL;
  bert->seam = config->split.residual == RR_SPLIT_MAXSIM ? rr_maxsim_best(RR_FORMAT_FP32) : NULL;
  bert->token_dim = config->head == RR_HEAD_TOKENS ? config->colbert.dim : config->hidden_size;
  bert->layers = layers;
  status = load_weights(file, bert, ret_packs, err);
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

static void free_heads(rr_linear *heads, size_t count) {
  for (size_t i = 0; heads != NULL && i < count; i++) {
    free_linear(&heads[i]);
  }
  rr_free(heads);
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
    free_heads(layer->key_of_head, bert->config.heads);
    free_heads(layer->value_of_head, bert->config.heads);
    free_linear(&layer->attention_output);
    free_norm(&layer->attention_norm);
    free_linear(&layer->intermediate);
    free_linear(&layer->output);
    free_norm(&layer->output_norm);
  }
  rr_free(bert->layers);
  free_linear(&bert->projection);
  free_linear(&bert->classifier);
  free_linear(&bert->pooler);
  free_norm(&bert->embedding_norm);
  rr_free(bert->type);
  rr_free(bert->position);
  rr_free(bert->word);
  rr_free(bert);
}
