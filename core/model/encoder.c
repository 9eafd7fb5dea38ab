#include "core/model/encoder.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/alloc.h"

enum { MAX_TOKENS = 1 << 20, ALIGNMENT_FLOATS = 16 };

/* H = hidden_size, I = intermediate_size, T = max_tokens. `wide` holds query, key, value and context
 * side by side during attention and the intermediate activations afterwards: never both. */
struct rr_encoder {
  const rr_bert *bert;
  size_t max_tokens;
  float *hidden;  /* T x H: a layer's input and, in the end, its output */
  float *middle;  /* T x H: between attention and feed-forward */
  float *wide;    /* T x max(4 H, I) */
  float *scratch; /* one attention head's, or a product's */
  float *memory;  /* all of the above */
};

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static size_t aligned(size_t floats) {
  return (floats + ALIGNMENT_FLOATS - 1) / ALIGNMENT_FLOATS * ALIGNMENT_FLOATS;
}

static size_t linear_scratch(const rr_linear *linear, size_t tokens) {
  return linear->gemm == NULL ? 0 : linear->gemm->scratch_size(tokens, linear->n, linear->k);
}

static size_t scratch_floats(const rr_bert *bert, size_t tokens) {
  const rr_config *config = &bert->config;
  size_t bytes =
      sizeof(float) * rr_attention_scratch(config->positions, config->hidden_size / config->heads);
  for (size_t i = 0; i < config->layers; i++) {
    const rr_layer *layer = &bert->layers[i];
    bytes = larger(bytes, linear_scratch(&layer->qkv, tokens));
    bytes = larger(bytes, linear_scratch(&layer->query, tokens));
    bytes = larger(bytes, linear_scratch(&layer->key_value, tokens));
    bytes = larger(bytes, linear_scratch(&layer->attention_output, tokens));
    bytes = larger(bytes, linear_scratch(&layer->intermediate, tokens));
    bytes = larger(bytes, linear_scratch(&layer->output, tokens));
  }
  bytes = larger(bytes, linear_scratch(&bert->pooler, tokens));
  bytes = larger(bytes, linear_scratch(&bert->classifier, tokens));
  return aligned((bytes + sizeof(float) - 1) / sizeof(float));
}

/* config.h's limits and MAX_TOKENS keep these products below 2^40. */
rr_status rr_encoder_create(const rr_bert *bert, size_t max_tokens, rr_encoder **ret_encoder,
                            rr_error *err) {
  if (max_tokens == 0 || max_tokens > MAX_TOKENS) {
    return rr_fail(err, RR_ERR_INPUT, "a micro-batch must have 1 to %d tokens", MAX_TOKENS);
  }
  size_t hidden = aligned(max_tokens * bert->config.hidden_size);
  size_t wide = aligned(max_tokens *
                        larger(4 * (size_t)bert->config.hidden_size, bert->config.intermediate_size));
  size_t floats = 2 * hidden + wide + scratch_floats(bert, max_tokens);
  rr_encoder *encoder = rr_calloc(1, sizeof *encoder);
  float *memory = rr_alloc_aligned(floats * sizeof *memory);
  if (encoder == NULL || memory == NULL) {
    rr_free(memory);
    rr_free(encoder);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a workspace of %zu tokens", max_tokens);
  }
  *encoder = (rr_encoder){
      .bert = bert,
      .max_tokens = max_tokens,
      .hidden = memory,
      .middle = memory + hidden,
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

/* out (rows x linear->n) = activation(x w^T + bias). */
static void apply(rr_encoder *encoder, const rr_linear *linear, rr_activation activation, size_t rows,
                  const float *x, size_t ldx, float *out) {
  rr_gemm_args args = {
      .m = rows,
      .n = linear->n,
      .k = linear->k,
      .x = x,
      .ldx = ldx,
      .packed = linear->packed,
      .bias = linear->bias,
      .activation = activation,
      .out = out,
      .ld_out = linear->n,
      .rowops = encoder->bert->rowops,
      .scratch = encoder->scratch,
  };
  linear->gemm->run(&args);
}

/* out (rows x H) = norm(x w^T + bias + residual); residual is dense. */
static void apply_norm(rr_encoder *encoder, const rr_linear *linear, const rr_norm_weights *weights,
                       size_t rows, const float *x, const float *residual, float *out) {
  rr_norm norm = norm_of(encoder, weights);
  rr_gemm_args args = {
      .m = rows,
      .n = linear->n,
      .k = linear->k,
      .x = x,
      .ldx = linear->k,
      .packed = linear->packed,
      .bias = linear->bias,
      .norm = &norm,
      .residual = residual,
      .ld_residual = linear->n,
      .out = out,
      .ld_out = linear->n,
      .rowops = encoder->bert->rowops,
      .scratch = encoder->scratch,
  };
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

/* Where a layer's queries, keys and values lie; a sequence has `length` keys and either as many
 * queries or one. */
typedef struct attention_rows {
  const float *q;
  size_t ldq;
  const float *k;
  const float *v;
  size_t ld_kv;
  bool one_query;
  float *context; /* one row of H a query */
} attention_rows;

static void attend(rr_encoder *encoder, const rr_encoder_input *inputs, size_t n,
                   const attention_rows *rows) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  size_t head_size = hidden / bert->config.heads;
  size_t query = 0;
  size_t key = 0;
  for (size_t i = 0; i < n; i++) {
    size_t queries = rows->one_query ? 1 : inputs[i].length;
    for (size_t at = 0; at < hidden; at += head_size) {
      rr_attention_args args = {
          .queries = queries,
          .keys = inputs[i].length,
          .head_size = head_size,
          .q = rows->q + query * rows->ldq + at,
          .ldq = rows->ldq,
          .k = rows->k + key * rows->ld_kv + at,
          .ldk = rows->ld_kv,
          .v = rows->v + key * rows->ld_kv + at,
          .ldv = rows->ld_kv,
          .scale = 1.0f / sqrtf((float)head_size),
          .out = rows->context + query * hidden + at,
          .ld_out = hidden,
          .scratch = encoder->scratch,
      };
      bert->rowops->attention(&args);
    }
    query += queries;
    key += inputs[i].length;
  }
}

/* hidden (rows x H) = norm(middle + feed-forward(middle)), in blocks whose intermediate activations stay
 * in cache. */
static void feed_forward(rr_encoder *encoder, const rr_layer *layer, size_t rows) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  size_t blocks = (rows + RR_GEMM_BLOCK_ROWS - 1) / RR_GEMM_BLOCK_ROWS;
  size_t block = (rows + blocks - 1) / blocks;
  for (size_t first = 0; first < rows; first += block) {
    size_t here = rows - first < block ? rows - first : block;
    const float *middle = encoder->middle + first * hidden;
    apply(encoder, &layer->intermediate, bert->config.activation, here, middle, hidden, encoder->wide);
    apply_norm(encoder, &layer->output, &layer->output_norm, here, encoder->wide, middle,
               encoder->hidden + first * hidden);
  }
}

static void run_layer(rr_encoder *encoder, const rr_layer *layer, const rr_encoder_input *inputs,
                      size_t n, size_t tokens) {
  size_t hidden = encoder->bert->config.hidden_size;
  float *qkv = encoder->wide;
  float *context = encoder->wide + tokens * 3 * hidden;
  apply(encoder, &layer->qkv, RR_ACTIVATION_NONE, tokens, encoder->hidden, hidden, qkv);
  attention_rows rows = {
      .q = qkv,
      .ldq = 3 * hidden,
      .k = qkv + hidden,
      .v = qkv + 2 * hidden,
      .ld_kv = 3 * hidden,
      .context = context,
  };
  attend(encoder, inputs, n, &rows);
  apply_norm(encoder, &layer->attention_output, &layer->attention_norm, tokens, context,
             encoder->hidden, encoder->middle);
  feed_forward(encoder, layer, tokens);
}

/* A layer of which only the [CLS] rows are wanted: hidden becomes n x H. Keys and values still come
 * from all tokens. */
static void run_cls_layer(rr_encoder *encoder, const rr_layer *layer, const rr_encoder_input *inputs,
                          size_t n, size_t tokens) {
  size_t hidden = encoder->bert->config.hidden_size;
  float *key_value = encoder->wide;
  float *query = encoder->wide + tokens * 2 * hidden;
  float *context = query + n * hidden; /* n is at most tokens: 4 H a token suffice */
  apply(encoder, &layer->key_value, RR_ACTIVATION_NONE, tokens, encoder->hidden, hidden, key_value);
  size_t first = 0;
  for (size_t i = 0; i < n; i++) {
    /* Row i is never behind `first`: rows can be gathered to the front in place. */
    memmove(encoder->hidden + i * hidden, encoder->hidden + first * hidden, hidden * sizeof(float));
    first += inputs[i].length;
  }
  apply(encoder, &layer->query, RR_ACTIVATION_NONE, n, encoder->hidden, hidden, query);
  attention_rows rows = {
      .q = query,
      .ldq = hidden,
      .k = key_value,
      .v = key_value + hidden,
      .ld_kv = 2 * hidden,
      .one_query = true,
      .context = context,
  };
  attend(encoder, inputs, n, &rows);
  apply_norm(encoder, &layer->attention_output, &layer->attention_norm, n, context, encoder->hidden,
             encoder->middle);
  feed_forward(encoder, layer, n);
}

static void write_outputs(rr_encoder *encoder, const rr_encoder_input *inputs, size_t n) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  if (bert->config.head == RR_HEAD_CLASSIFIER) {
    float *logits = encoder->wide; /* n */
    apply(encoder, &bert->pooler, RR_ACTIVATION_TANH, n, encoder->hidden, hidden, encoder->middle);
    apply(encoder, &bert->classifier, RR_ACTIVATION_NONE, n, encoder->middle, hidden, logits);
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
