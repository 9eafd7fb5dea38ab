#include "core/model/encoder.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/kernel/bf16.h"

enum {
  MAX_TOKENS = 1 << 20,
  ALIGNMENT = 64,
  CLS_GROUP = 8, /* sequences that a [CLS] layer's products of a head take at once */
};

/* H = hidden_size, I = intermediate_size, T = max_tokens, B = RR_GEMM_BLOCK_ROWS in whole
 * tiles. `wide` holds query, key, value
 * and context side by side during attention, in attention's type, and the intermediate activations of a block
 * of rows afterwards: never both. What is added up from layer to layer (hidden, middle) stays float32. */
struct rr_encoder {
  const rr_bert *bert;
  size_t max_tokens;
  float *hidden; /* T x H: a layer's input and, in the end, its output */
  float *middle; /* T x H: between attention and feed-forward */
  void *wide;    /* T x 4 H, or B x I, or a [CLS] layer's (cls_rows) */
  void *scratch; /* one attention head's, or a product's */
  char *memory;  /* all of the above */
};

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static size_t rounded_up(size_t size, size_t to) { return (size + to - 1) / to * to; }

static size_t aligned(size_t bytes) { return rounded_up(bytes, ALIGNMENT); }

static size_t linear_scratch(const rr_linear *linear, size_t tokens) {
  return linear->gemm == NULL ? 0 : linear->gemm->scratch_size(tokens, linear->n, linear->k);
}

static size_t scratch_bytes(const rr_bert *bert, size_t tokens) {
  const rr_config *config = &bert->config;
  size_t bytes = bert->attention->scratch_size(config->positions, config->hidden_size / config->heads);
  if (rr_bert_cls_only(config)) {
    bytes = larger(bytes, bert->cls_attention->scratch_size(config->positions, config->hidden_size));
  }
  for (size_t i = 0; i < config->layers; i++) {
    const rr_layer *layer = &bert->layers[i];
    bytes = larger(bytes, linear_scratch(&layer->qkv, tokens));
    bytes = larger(bytes, linear_scratch(&layer->query, tokens));
    for (size_t h = 0; layer->key_of_head != NULL && h < config->heads; h++) {
      bytes = larger(bytes, linear_scratch(&layer->key_of_head[h], CLS_GROUP));
      bytes = larger(bytes, linear_scratch(&layer->value_of_head[h], CLS_GROUP));
    }
    bytes = larger(bytes, linear_scratch(&layer->attention_output, tokens));
    bytes = larger(bytes, linear_scratch(&layer->intermediate, tokens));
    bytes = larger(bytes, linear_scratch(&layer->output, tokens));
  }
  bytes = larger(bytes, linear_scratch(&bert->pooler, tokens));
  bytes = larger(bytes, linear_scratch(&bert->classifier, tokens));
  return aligned(bytes);
}

static size_t wide_bytes(const rr_bert *bert, size_t tokens) {
  const rr_config *config = &bert->config;
  size_t rows = rounded_up(RR_GEMM_BLOCK_ROWS, bert->layers[0].intermediate.gemm->tile_rows);
  size_t attention = tokens * 4 * config->hidden_size * rr_type_size(bert->attention->type);
  size_t feed_forward = rows * config->intermediate_size * sizeof(float);
  size_t cls = aligned(tokens * config->hidden_size * rr_type_size(bert->cls_attention->type)) +
               (2 * CLS_GROUP * config->heads + 2 * tokens) * config->hidden_size * sizeof(float);
  size_t most = larger(attention, feed_forward);
  most = larger(most, rr_bert_cls_only(config) ? cls : 0);
  return aligned(larger(most, tokens * sizeof(float))); /* the last: logits */
}

/* config.h's limits and MAX_TOKENS keep these products below 2^40. */
rr_status rr_encoder_create(const rr_bert *bert, size_t max_tokens, rr_encoder **ret_encoder,
                            rr_error *err) {
  if (max_tokens == 0 || max_tokens > MAX_TOKENS) {
    return rr_fail(err, RR_ERR_INPUT, "a micro-batch must have 1 to %d tokens", MAX_TOKENS);
  }
  size_t hidden = aligned(max_tokens * bert->config.hidden_size * sizeof(float));
  size_t wide = wide_bytes(bert, max_tokens);
  rr_encoder *encoder = rr_calloc(1, sizeof *encoder);
  char *memory = rr_alloc_aligned(2 * hidden + wide + scratch_bytes(bert, max_tokens));
  if (encoder == NULL || memory == NULL) {
    rr_free(memory);
    rr_free(encoder);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a workspace of %zu tokens", max_tokens);
  }
  *encoder = (rr_encoder){
      .bert = bert,
      .max_tokens = max_tokens,
      .hidden = (float *)(void *)memory,
      .middle = (float *)(void *)(memory + hidden),
      .wide = memory + 2 * hidden,
      .scratch = memory + 2 * hidden + wide,
      .memory = memory,
  };
  *ret_encoder = encoder;
  return RR_OK;
}

void rr_encoder_destroy(rr_encoder *encoder) {
  if (encoder == NULL) {
    return;
  }
  rr_free(encoder->memory);
  rr_free(encoder);
}

size_t rr_encoder_max_tokens(const rr_encoder *encoder) { return encoder->max_tokens; }

static rr_status check_input(const rr_config *config, const rr_encoder_input *input, rr_error *err) {
  if (input->length == 0 || input->length > config->positions) {
    return rr_fail(err, RR_ERR_INPUT, "a sequence of %zu tokens; 1 to %u are possible", input->length,
                   config->positions);
  }
  for (size_t i = 0; i < input->length; i++) {
    if (input->ids[i] < 0 || (uint32_t)input->ids[i] >= config->vocabulary_size) {
      return rr_fail(err, RR_ERR_INPUT, "token id %d is not below the vocabulary's %u",
                     (int)input->ids[i], config->vocabulary_size);
    }
    if (input->type_ids[i] >= config->types) {
      return rr_fail(err, RR_ERR_INPUT, "token type %d is not below the model's %u",
                     (int)input->type_ids[i], config->types);
    }
  }
  return RR_OK;
}

static rr_norm norm_of(const rr_encoder *encoder, const rr_norm_weights *weights) {
  return (rr_norm){.gamma = weights->gamma,
                   .beta = weights->beta,
                   .epsilon = encoder->bert->config.norm_epsilon};
}

/* A dense matrix of activations. */
typedef struct matrix {
  void *data;
  rr_type type;
  size_t ld;
} matrix;

static matrix floats(float *data, size_t ld) { return (matrix){data, RR_TYPE_FP32, ld}; }

/* From row `row` and column `col` on. */
static void *at(const matrix *m, size_t row, size_t col) {
  return (char *)m->data + (row * m->ld + col) * rr_type_size(m->type);
}

static rr_gemm_args product(rr_encoder *encoder, const rr_linear *linear, size_t rows, const matrix *x,
                            const matrix *out) {
  return (rr_gemm_args){
      .m = rows,
      .n = linear->n,
      .k = linear->k,
      .x_type = x->type,
      .x = x->data,
      .ldx = x->ld,
      .packed = linear->packed,
      .bias = linear->bias,
      .out_type = out->type,
      .out = out->data,
      .ld_out = out->ld,
      .rowops = encoder->bert->rowops,
      .scratch = encoder->scratch,
  };
}

/* out (rows x linear->n) = activation(x w^T + bias). */
static void apply(rr_encoder *encoder, const rr_linear *linear, rr_activation activation, size_t rows,
                  const matrix *x, const matrix *out) {
  rr_gemm_args args = product(encoder, linear, rows, x, out);
  args.activation = activation;
  linear->gemm->run(&args);
}

/* out (rows x H) = norm(x w^T + bias + residual); residual is dense. */
static void apply_norm(rr_encoder *encoder, const rr_linear *linear, const rr_norm_weights *weights,
                       size_t rows, const matrix *x, const float *residual, float *out) {
  rr_norm norm = norm_of(encoder, weights);
  matrix to = floats(out, linear->n);
  rr_gemm_args args = product(encoder, linear, rows, x, &to);
  args.norm = &norm;
  args.residual = residual;
  args.ld_residual = linear->n;
  linear->gemm->run(&args);
}

static void embed(rr_encoder *encoder, const rr_encoder_input *inputs, size_t n) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  float *out = encoder->hidden;
  for (size_t i = 0; i < n; i++) {
    rr_embed_args args = {
        .length = inputs[i].length,
        .cols = hidden,
        .ids = inputs[i].ids,
        .type_ids = inputs[i].type_ids,
        .word = bert->word,
        .position = bert->position,
        .type = bert->type,
        .norm = norm_of(encoder, &bert->embedding_norm),
        .out = out,
        .ld_out = hidden,
    };
    bert->rowops->embed(&args);
    out += inputs[i].length * hidden;
  }
}

/* Where a layer's queries, keys and values lie. */
typedef struct attention_rows {
  matrix q;
  matrix k;
  matrix v;
  matrix context;
} attention_rows;

static void attend(rr_encoder *encoder, const rr_encoder_input *inputs, size_t n,
                   const attention_rows *rows) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  size_t head_size = hidden / bert->config.heads;
  size_t first = 0;
  for (size_t i = 0; i < n; i++) {
    for (size_t col = 0; col < hidden; col += head_size) {
      rr_attention_args args = {
          .queries = inputs[i].length,
          .keys = inputs[i].length,
          .head_size = head_size,
          .q = at(&rows->q, first, col),
          .ldq = rows->q.ld,
          .k = at(&rows->k, first, col),
          .ldk = rows->k.ld,
          .v = at(&rows->v, first, col),
          .ldv = rows->v.ld,
          .scale = 1.0f / sqrtf((float)head_size),
          .out = at(&rows->context, first, col),
          .ld_out = rows->context.ld,
          .scratch = encoder->scratch,
      };
      bert->attention->run(&args);
    }
    first += inputs[i].length;
  }
}

/* hidden (rows x H) = norm(middle + feed-forward(middle)), in blocks whose intermediate activations stay
 * in cache. They are rounded to bfloat16 where what reads them is no more exact. */
static void feed_forward(rr_encoder *encoder, const rr_layer *layer, size_t rows) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  size_t blocks = (rows + RR_GEMM_BLOCK_ROWS - 1) / RR_GEMM_BLOCK_ROWS;
  size_t block = rounded_up((rows + blocks - 1) / blocks, layer->intermediate.gemm->tile_rows);
  matrix wide = {.data = encoder->wide,
                 .type = layer->output.gemm->format == RR_FORMAT_FP32 ? RR_TYPE_FP32 : RR_TYPE_BF16,
                 .ld = layer->intermediate.n};
  for (size_t first = 0; first < rows; first += block) {
    size_t here = rows - first < block ? rows - first : block;
    matrix middle = floats(encoder->middle + first * hidden, hidden);
    apply(encoder, &layer->intermediate, bert->config.activation, here, &middle, &wide);
    apply_norm(encoder, &layer->output, &layer->output_norm, here, &wide, middle.data,
               encoder->hidden + first * hidden);
  }
}

static void run_layer(rr_encoder *encoder, const rr_layer *layer, const rr_encoder_input *inputs,
                      size_t n, size_t tokens) {
  size_t hidden = encoder->bert->config.hidden_size;
  rr_type type = encoder->bert->attention->type;
  matrix x = floats(encoder->hidden, hidden);
  matrix qkv = {encoder->wide, type, 3 * hidden};
  attention_rows rows = {
      .q = qkv,
      .k = {at(&qkv, 0, hidden), type, qkv.ld},
      .v = {at(&qkv, 0, 2 * hidden), type, qkv.ld},
      .context = {at(&qkv, tokens, 0), type, hidden},
  };
  apply(encoder, &layer->qkv, RR_ACTIVATION_NONE, tokens, &x, &qkv);
  attend(encoder, inputs, n, &rows);
  apply_norm(encoder, &layer->attention_output, &layer->attention_norm, tokens, &rows.context,
             encoder->hidden, encoder->middle);
  feed_forward(encoder, layer, tokens);
}

/* Where the pieces of a [CLS] layer's attention lie: CLS_GROUP sequences' queries and contexts of all heads,
 * each of H values, side by side. */
typedef struct cls_rows {
  matrix x;       /* T x H: the layer's input in attention's type */
  matrix spread;  /* CLS_GROUP x (heads H): queries taken to where the tokens are, then in attention's type */
  matrix pooled;  /* CLS_GROUP x (heads H): the tokens' weighted sums */
  matrix query;   /* n x H */
  matrix context; /* n x H */
} cls_rows;

static cls_rows arrange_cls(const rr_encoder *encoder, size_t n, size_t tokens) {
  size_t hidden = encoder->bert->config.hidden_size;
  size_t spread = encoder->bert->config.heads * hidden;
  rr_type type = encoder->bert->cls_attention->type;
  cls_rows r = {.x = {encoder->hidden, type, hidden}};
  char *next = encoder->wide;
  if (type == RR_TYPE_BF16) {
    r.x.data = next;
    next += aligned(tokens * hidden * sizeof(uint16_t));
  }
  r.spread = floats((float *)(void *)next, spread);
  r.pooled = floats(at(&r.spread, CLS_GROUP, 0), spread);
  r.query = floats(at(&r.pooled, CLS_GROUP, 0), hidden);
  r.context = floats(at(&r.query, n, 0), hidden);
  return r;
}

/* The context of one sequence's query by all heads: row `row` of the group. Attention reads a row of the spread
 * queries as so many queries, and the tokens as keys and as values. */
static void attend_cls(rr_encoder *encoder, const cls_rows *r, size_t row, size_t first, size_t length) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  size_t heads = bert->config.heads;
  bool reduced = bert->cls_attention->type == RR_TYPE_BF16;
  float *spread = at(&r->spread, row, 0);
  float *pooled = at(&r->pooled, row, 0);
  uint16_t *halves = (uint16_t *)pooled; /* on their way in, of the queries; on their way out, in the spread's */
  if (reduced) {
    bert->rowops->round(heads, hidden, spread, hidden, halves, hidden);
  }
  rr_attention_args args = {
      .queries = heads,
      .keys = length,
      .head_size = hidden,
      .q = reduced ? (const void *)halves : spread,
      .ldq = hidden,
      .k = at(&r->x, first, 0),
      .ldk = hidden,
      .v = at(&r->x, first, 0),
      .ldv = hidden,
      .scale = 1.0f / sqrtf((float)(hidden / heads)),
      .out = reduced ? (void *)spread : pooled,
      .ld_out = hidden,
      .scratch = encoder->scratch,
  };
  bert->cls_attention->run(&args);
  if (reduced) {
    rr_bf16_expand(heads * hidden, (const uint16_t *)spread, pooled);
  }
}

/* One head of a group's sequences: `from` has `step` columns a head, `to` its own. */
static void apply_head(rr_encoder *encoder, const rr_linear *linear, size_t rows, const matrix *from,
                       size_t from_col, const matrix *to, size_t to_col) {
  matrix x = {at(from, 0, from_col), from->type, from->ld};
  matrix out = {at(to, 0, to_col), to->type, to->ld};
  apply(encoder, linear, RR_ACTIVATION_NONE, rows, &x, &out);
}

static void attend_cls_group(rr_encoder *encoder, const rr_layer *layer, const cls_rows *r,
                             const rr_encoder_input *inputs, size_t first, size_t count, size_t token) {
  size_t hidden = encoder->bert->config.hidden_size;
  size_t heads = encoder->bert->config.heads;
  size_t head_size = hidden / heads;
  matrix query = floats(at(&r->query, first, 0), hidden);
  matrix context = floats(at(&r->context, first, 0), hidden);
  for (size_t h = 0; h < heads; h++) {
    apply_head(encoder, &layer->key_of_head[h], count, &query, h * head_size, &r->spread, h * hidden);
  }
  for (size_t i = 0; i < count; i++) {
    attend_cls(encoder, r, i, token, inputs[first + i].length);
    token += inputs[first + i].length;
  }
  for (size_t h = 0; h < heads; h++) {
    apply_head(encoder, &layer->value_of_head[h], count, &r->pooled, h * hidden, &context, h * head_size);
  }
}

/* A layer of which only the [CLS] rows are wanted: hidden becomes n x H. Attention meets the tokens
 * themselves instead of their keys and values (weights.h: rr_layer). */
static void run_cls_layer(rr_encoder *encoder, const rr_layer *layer, const rr_encoder_input *inputs,
                          size_t n, size_t tokens) {
  size_t hidden = encoder->bert->config.hidden_size;
  cls_rows r = arrange_cls(encoder, n, tokens);
  if (r.x.type == RR_TYPE_BF16) {
    encoder->bert->rowops->round(tokens, hidden, encoder->hidden, hidden, r.x.data, hidden);
  }
  matrix cls = floats(encoder->middle, hidden); /* n x H */
  size_t token = 0;
  for (size_t i = 0; i < n; i++) {
    memcpy(at(&cls, i, 0), encoder->hidden + token * hidden, hidden * sizeof(float));
    token += inputs[i].length;
  }
  apply(encoder, &layer->query, RR_ACTIVATION_NONE, n, &cls, &r.query);
  token = 0;
  for (size_t first = 0; first < n; first += CLS_GROUP) {
    size_t count = n - first < CLS_GROUP ? n - first : CLS_GROUP;
    attend_cls_group(encoder, layer, &r, inputs, first, count, token);
    for (size_t i = 0; i < count; i++) {
      token += inputs[first + i].length;
    }
  }
  memcpy(encoder->hidden, encoder->middle, n * hidden * sizeof(float));
  apply_norm(encoder, &layer->attention_output, &layer->attention_norm, n, &r.context, encoder->hidden,
             encoder->middle);
  feed_forward(encoder, layer, n);
}

static void write_outputs(rr_encoder *encoder, const rr_encoder_input *inputs, size_t n) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  if (bert->config.head == RR_HEAD_CLASSIFIER) {
    float *logits = encoder->wide; /* n */
    matrix cls = floats(encoder->hidden, hidden);
    matrix pooled = floats(encoder->middle, hidden);
    matrix out = floats(logits, 1);
    apply(encoder, &bert->pooler, RR_ACTIVATION_TANH, n, &cls, &pooled);
    apply(encoder, &bert->classifier, RR_ACTIVATION_NONE, n, &pooled, &out);
    for (size_t i = 0; i < n; i++) {
      inputs[i].output[0] = logits[i];
    }
    return;
  }
  const float *row = encoder->hidden;
  for (size_t i = 0; i < n; i++) {
    if (bert->config.head == RR_HEAD_MEAN) {
      bert->rowops->mean(inputs[i].length, hidden, row, hidden, inputs[i].output);
      bert->rowops->unit(hidden, inputs[i].output, inputs[i].output);
      row += inputs[i].length * hidden;
    } else {
      bert->rowops->unit(hidden, row, inputs[i].output);
      row += hidden;
    }
  }
}

rr_status rr_encoder_forward(rr_encoder *encoder, const rr_encoder_input *inputs, size_t n,
                             rr_error *err) {
  const rr_config *config = &encoder->bert->config;
  size_t tokens = 0;
  for (size_t i = 0; i < n; i++) {
    rr_status status = check_input(config, &inputs[i], err);
    if (status != RR_OK) {
      return status;
    }
    if (inputs[i].length > encoder->max_tokens - tokens) {
      return rr_fail(err, RR_ERR_INPUT, "the micro-batch has more than %zu tokens",
                     encoder->max_tokens);
    }
    tokens += inputs[i].length;
  }
  if (n == 0) {
    return RR_OK;
  }
  embed(encoder, inputs, n);
  size_t whole = config->layers - (rr_bert_cls_only(config) ? 1 : 0);
  for (size_t i = 0; i < whole; i++) {
    run_layer(encoder, &encoder->bert->layers[i], inputs, n, tokens);
  }
  if (whole < config->layers) {
    run_cls_layer(encoder, &encoder->bert->layers[whole], inputs, n, tokens);
  }
  write_outputs(encoder, inputs, n);
  return RR_OK;
}
