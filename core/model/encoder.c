#include "core/model/encoder.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/model/encoder_internal.h"

enum { MAX_TOKENS = 1 << 20 };

static size_t linear_scratch(const rr_linear *linear, size_t tokens) {
  return linear->gemm == NULL ? 0 : linear->gemm->scratch_size(tokens, linear->n, linear->k);
}

static size_t scratch_bytes(const rr_bert *bert, size_t tokens) {
  const rr_config *config = &bert->config;
  size_t bytes =
      bert->attention->scratch_size(config->positions, config->hidden_size / config->heads);
  if (rr_bert_cls_only(config)) {
    bytes =
        rr_larger(bytes, bert->cls_attention->scratch_size(config->positions, config->hidden_size));
  }
  for (size_t i = 0; i < config->layers; i++) {
    const rr_layer *layer = &bert->layers[i];
    bytes = rr_larger(bytes, linear_scratch(&layer->qkv, tokens));
    bytes = rr_larger(bytes, linear_scratch(&layer->query, tokens));
    if (layer->key_of_head != NULL) { /* all heads are alike */
      bytes = rr_larger(bytes, linear_scratch(layer->key_of_head, RR_CLS_GROUP));
      bytes = rr_larger(bytes, linear_scratch(layer->value_of_head, RR_CLS_GROUP));
    }
    bytes = rr_larger(bytes, linear_scratch(&layer->attention_output, tokens));
    bytes = rr_larger(bytes, linear_scratch(&layer->intermediate, tokens));
    bytes = rr_larger(bytes, linear_scratch(&layer->output, tokens));
  }
  bytes = rr_larger(bytes, linear_scratch(&bert->pooler, tokens));
  bytes = rr_larger(bytes, linear_scratch(&bert->classifier, tokens));
  bytes = rr_larger(bytes, linear_scratch(&bert->projection, tokens));
  return rr_encoder_aligned(bytes);
}

/* Rows of the largest block that rr_encoder_finish_layer takes at once. */
static size_t block_rows(const rr_bert *bert) {
  size_t rows = 0;
  for (size_t i = 0; i < bert->config.layers; i++) {
    rows = rr_larger(
        rows, rr_rounded_up(RR_GEMM_BLOCK_ROWS, bert->layers[i].intermediate.gemm->tile_rows));
  }
  return rows;
}

static size_t wide_bytes(const rr_bert *bert, size_t tokens) {
  const rr_config *config = &bert->config;
  size_t most = tokens * 4 * config->hidden_size * rr_type_size(bert->attention->type);
  most = rr_larger(most, rr_bert_cls_only(config) ? rr_encoder_cls_bytes(bert, tokens) : 0);
  most = rr_larger(most, rr_encoder_seam_bytes(bert, tokens));
  most = rr_larger(most, tokens * bert->projection.n * sizeof(float));
  return rr_encoder_aligned(rr_larger(most, tokens * sizeof(float))); /* the last: logits */
}

/* config.h's limits and MAX_TOKENS keep these products below 2^40. */
rr_status rr_encoder_create(const rr_bert *bert, size_t max_tokens, rr_encoder **ret_encoder,
                            rr_error *err) {
  if (max_tokens == 0 || max_tokens > MAX_TOKENS) {
    return rr_fail(err, RR_ERR_INPUT, "a micro-batch must have 1 to %d tokens", MAX_TOKENS);
  }
  size_t hidden = rr_encoder_aligned(max_tokens * bert->config.hidden_size * sizeof(float));
  size_t wide = wide_bytes(bert, max_tokens);
  rr_encoder *encoder = rr_calloc(1, sizeof *encoder);
  size_t block =
      rr_encoder_aligned(block_rows(bert) * bert->config.intermediate_size * sizeof(float));
  size_t lead = rr_encoder_lead_bytes(bert, max_tokens);
  bool split = bert->config.split.layers > 0;
  size_t residuals = split ? rr_encoder_aligned(max_tokens * sizeof(float)) : 0;
  size_t rows = split ? rr_encoder_aligned(max_tokens * sizeof(rr_pair_rows)) : 0;
  size_t sides = split ? rr_encoder_aligned(max_tokens * sizeof(rr_input)) : 0;
  size_t before = 2 * hidden + wide + block + lead;
  size_t bytes = before + residuals + rows + sides + scratch_bytes(bert, max_tokens);
  char *memory = rr_alloc_aligned(bytes);
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
      .block = memory + 2 * hidden + wide,
      .lead = (float *)(void *)(memory + 2 * hidden + wide + block),
      .residuals = (float *)(void *)(memory + before),
      .pair_rows = (rr_pair_rows *)(void *)(memory + before + residuals),
      .sides = (rr_input *)(void *)(memory + before + residuals + rows),
      .scratch = memory + before + residuals + rows + sides,
      .memory = memory,
      .bytes = bytes,
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

size_t rr_encoder_bytes(const rr_encoder *encoder) { return encoder->bytes + sizeof *encoder; }

static rr_status check_input(const rr_config *config, const rr_input *input, bool after_side,
                             rr_error *err) {
  if (input->length == 0 || input->length > config->positions) {
    return rr_fail(err, RR_ERR_INPUT, "a sequence of %zu tokens; 1 to %u are possible",
                   input->length, config->positions);
  }
  if (input->unattended >= input->length) {
    return rr_fail(err, RR_ERR_INPUT, "a sequence without a token to attend to");
  }
  rr_status status = rr_encoder_check_part(config, input, after_side, err);
  if (status != RR_OK) {
    return status;
  }
  size_t tokens = input->part == RR_PART_WARM ? input->split_at : input->length;
  for (size_t i = 0; i < tokens; i++) {
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

void rr_encoder_apply(rr_encoder *encoder, const rr_linear *linear,
                      const rr_product_options *options, size_t rows, const rr_matrix *x,
                      const rr_matrix *out) {
  rr_norm norm;
  if (options->norm != NULL) {
    norm = norm_of(encoder, options->norm);
  }
  rr_gemm_args args = {
      .m = rows,
      .n = linear->n,
      .k = linear->k,
      .x_type = x->type,
      .x = x->data,
      .ldx = x->ld,
      .precise = options->precise,
      .packed = linear->packed,
      .bias = linear->bias,
      .activation = options->activation,
      .norm = options->norm != NULL ? &norm : NULL,
      .residual = options->residual,
      .ld_residual = linear->n,
      .out_type = out->type,
      .out = out->data,
      .ld_out = out->ld,
      .rowops = encoder->bert->rowops,
      .scratch = encoder->scratch,
  };
  linear->gemm->run(&args);
}

/* The tokens first .. end - 1, at the positions `position`, ... */
static void embed(rr_encoder *encoder, const rr_input *input, size_t first, size_t end,
                  size_t position, float *out) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  const rr_embed_args args = {
      .length = end - first,
      .cols = hidden,
      .ids = input->ids + first,
      .type_ids = input->type_ids + first,
      .word = bert->word,
      .position = bert->position + position * hidden,
      .type = bert->type,
      .norm = norm_of(encoder, &bert->embedding_norm),
      .out = out,
      .ld_out = hidden,
  };
  bert->rowops->embed(&args);
}

void rr_encoder_embed(rr_encoder *encoder, const rr_run *run) {
  size_t hidden = encoder->bert->config.hidden_size;
  float *out = encoder->hidden;
  for (size_t i = 0; i < run->n; i++) {
    const rr_input *input = &run->inputs[i];
    size_t restart = encoder->bert->config.split.joint_positions ? 0 : input->split_at;
    if (restart > 0) {
      embed(encoder, input, 0, restart, 0, out);
    }
    embed(encoder, input, restart, input->length, input->position, out + restart * hidden);
    out += input->length * hidden;
  }
}

/* Where a layer's queries, keys and values lie. */
typedef struct attention_rows {
  rr_matrix q;
  rr_matrix k;
  rr_matrix v;
  rr_matrix context;
} attention_rows;

/* All heads of `queries` rows from `first` on, to which the first `keys` of them are keys. */
static void attend_within(rr_encoder *encoder, const attention_rows *rows, size_t first,
                          size_t queries, size_t keys) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  size_t head_size = hidden / bert->config.heads;
  for (size_t col = 0; col < hidden; col += head_size) {
    rr_attention_args args = {
        .queries = queries,
        .keys = keys,
        .head_size = head_size,
        .q = rr_matrix_at(&rows->q, first, col),
        .ldq = rows->q.ld,
        .k = rr_matrix_at(&rows->k, first, col),
        .ldk = rows->k.ld,
        .v = rr_matrix_at(&rows->v, first, col),
        .ldv = rows->v.ld,
        .scale = 1.0f / sqrtf((float)head_size),
        .out = rr_matrix_at(&rows->context, first, col),
        .ld_out = rows->context.ld,
        .scratch = encoder->scratch,
    };
    bert->attention->run(&args);
  }
}

static void attend(rr_encoder *encoder, const rr_run *run, const attention_rows *rows) {
  size_t first = 0;
  for (size_t i = 0; i < run->n; i++) {
    const rr_input *input = &run->inputs[i];
    size_t cut = run->apart ? input->split_at : 0;
    size_t rest = input->length - cut;
    if (cut > 0) {
      attend_within(encoder, rows, first, cut, cut);
    }
    attend_within(encoder, rows, first + cut, rest, rest - input->unattended);
    first += input->length;
  }
}

/* In blocks of rows, so that all between attention and the layer's end stays in cache. Intermediate
 * activations are rounded to bfloat16 where what reads them is no more exact. */
void rr_encoder_finish_layer(rr_encoder *encoder, const rr_layer *layer, size_t rows,
                             const rr_matrix *context) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  size_t blocks = (rows + RR_GEMM_BLOCK_ROWS - 1) / RR_GEMM_BLOCK_ROWS;
  size_t block = rr_rounded_up((rows + blocks - 1) / blocks, layer->intermediate.gemm->tile_rows);
  const rr_product_options up = {.activation = bert->config.activation};
  const rr_product_options down = {.norm = &layer->output_norm, .residual = encoder->middle};
  rr_matrix middle = rr_matrix_floats(encoder->middle, hidden);
  bool exact = layer->output.gemm->format == RR_FORMAT_FP32 ||
               layer->intermediate.gemm->format == RR_FORMAT_FP32;
  rr_matrix wide = {.data = encoder->block,
                    .type = exact ? RR_TYPE_FP32 : RR_TYPE_BF16,
                    .ld = layer->intermediate.n};
  for (size_t first = 0; first < rows; first += block) {
    size_t here = rows - first < block ? rows - first : block;
    rr_matrix x = {rr_matrix_at(context, first, 0), context->type, context->ld};
    rr_matrix out = rr_matrix_floats(encoder->hidden + first * hidden, hidden);
    const rr_product_options added = {.norm = &layer->attention_norm, .residual = out.data};
    rr_encoder_apply(encoder, &layer->attention_output, &added, here, &x, &middle);
    rr_encoder_apply(encoder, &layer->intermediate, &up, here, &middle, &wide);
    rr_encoder_apply(encoder, &layer->output, &down, here, &wide, &out);
  }
}

void rr_encoder_run_layer(rr_encoder *encoder, size_t index, const rr_run *run) {
  const rr_layer *layer = &encoder->bert->layers[index];
  size_t hidden = encoder->bert->config.hidden_size;
  rr_type type = encoder->bert->attention->type;
  bool lead = rr_encoder_has_lead(encoder->bert, index);
  const rr_product_options plain = {.activation = RR_ACTIVATION_NONE};
  rr_matrix x = rr_matrix_floats(encoder->hidden, hidden);
  rr_matrix qkv = {encoder->wide, type, 3 * hidden};
  attention_rows rows = {
      .q = qkv,
      .k = {rr_matrix_at(&qkv, 0, hidden), type, qkv.ld},
      .v = {rr_matrix_at(&qkv, 0, 2 * hidden), type, qkv.ld},
      .context = {rr_matrix_at(&qkv, run->tokens, 0), type, hidden},
  };
  rr_encoder_apply(encoder, &layer->qkv, &plain, run->tokens, &x, &qkv);
  if (lead) {
    rr_encoder_lead_qkv(encoder, layer, run->inputs, run->n, &qkv);
  }
  attend(encoder, run, &rows);
  if (lead) {
    rr_encoder_lead_rest(encoder, layer, run->inputs, run->n, &rows.context);
  }
  rr_encoder_finish_layer(encoder, layer, run->tokens, &rows.context);
  if (lead) {
    rr_encoder_lead_store(encoder, run->inputs, run->n);
  }
}

void rr_encoder_finish(rr_encoder *encoder, size_t first, const rr_run *run) {
  const rr_config *config = &encoder->bert->config;
  size_t whole = config->layers - (rr_bert_cls_only(config) ? 1 : 0);
  for (size_t i = first; i < whole; i++) {
    rr_encoder_run_layer(encoder, i, run);
  }
  if (whole < config->layers) {
    rr_encoder_run_cls_layer(encoder, &encoder->bert->layers[whole], run->inputs, run->n,
                             run->tokens);
  }
  rr_encoder_write(encoder, run);
}

rr_status rr_encoder_forward(rr_encoder *encoder, const rr_input *inputs, size_t n, rr_error *err) {
  const rr_config *config = &encoder->bert->config;
  size_t tokens = 0;
  for (size_t i = 0; i < n; i++) {
    rr_status status =
        check_input(config, &inputs[i], i > 0 && inputs[i - 1].part == RR_PART_DOCUMENT, err);
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
  if (config->split.layers > 0) {
    rr_encoder_forward_split(encoder, inputs, n);
    return RR_OK;
  }
  const rr_run run = {.inputs = inputs, .n = n, .tokens = tokens};
  rr_encoder_embed(encoder, &run);
  rr_encoder_finish(encoder, 0, &run);
  return RR_OK;
}
