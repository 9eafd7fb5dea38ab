#include <string.h>

#include "core/kernel/bf16.h"
#include "core/model/encoder_internal.h"

/* Where the pieces of a pair's residual lie, in encoder->wide. */
typedef struct seam_rows {
  float *units;  /* T x H: rows of length 1, the query side's first; or two means */
  void *packed;  /* the query side's, for rr_maxsim */
  float *best;   /* T */
  size_t size;   /* bytes of all of them */
} seam_rows;

static seam_rows arrange_seam(const rr_bert *bert, size_t tokens, char *memory) {
  size_t hidden = bert->config.hidden_size;
  size_t units = rr_encoder_aligned(rr_larger(tokens, 2) * hidden * sizeof(float));
  size_t packed = bert->seam == NULL ? 0 : rr_encoder_aligned(bert->seam->packed_size(tokens, hidden));
  seam_rows r = {.size = units + packed + tokens * sizeof(float)};
  if (memory != NULL) {
    r.units = (float *)(void *)memory;
    r.packed = memory + units;
    r.best = (float *)(void *)(memory + units + packed);
  }
  return r;
}

size_t rr_encoder_seam_bytes(const rr_bert *bert, size_t tokens) {
  return bert->config.split.layers == 0 ? 0 : arrange_seam(bert, tokens, NULL).size;
}

rr_type rr_bert_half_type(const rr_bert *bert) {
  return bert->formats.of[RR_LINEAR_QKV] == RR_FORMAT_FP32 ? RR_TYPE_FP32 : RR_TYPE_BF16;
}

/* rows x H as a document half has them. */
static void store_half(const rr_encoder *encoder, const float *from, size_t rows, void *half) {
  size_t hidden = encoder->bert->config.hidden_size;
  if (rr_bert_half_type(encoder->bert) == RR_TYPE_FP32) {
    memcpy(half, from, rows * hidden * sizeof *from);
  } else {
    encoder->bert->rowops->round(rows, hidden, from, hidden, half, hidden);
  }
}

static void load_half(const rr_encoder *encoder, const void *half, size_t rows, float *to) {
  size_t hidden = encoder->bert->config.hidden_size;
  if (rr_bert_half_type(encoder->bert) == RR_TYPE_FP32) {
    memcpy(to, half, rows * hidden * sizeof *to);
  } else {
    rr_bf16_expand(rows * hidden, half, to);
  }
}

/* What layer L made, of whole pairs and halves: the document side as its half would be, and halves to where they are
 * wanted. */
static void leave_split_layers(rr_encoder *encoder, const rr_run *run) {
  size_t hidden = encoder->bert->config.hidden_size;
  float *row = encoder->hidden;
  for (size_t i = 0; i < run->n; i++) {
    const rr_encoder_input *input = &run->inputs[i];
    if (input->part == RR_PART_QUERY) {
      memcpy(input->query_half, row, input->length * hidden * sizeof *row);
    } else if (input->part == RR_PART_DOCUMENT) {
      store_half(encoder, row, input->length, input->document_half);
    } else if (input->second > 0 && rr_bert_half_type(encoder->bert) != RR_TYPE_FP32) {
      float *side = row + input->second * hidden;
      store_half(encoder, side, input->length - input->second, encoder->wide);
      load_half(encoder, encoder->wide, input->length - input->second, side);
    }
    row += input->length * hidden;
  }
}

static float cosine(const rr_encoder *encoder, const float *rows, size_t second, size_t length) {
  const rr_rowops *rowops = encoder->bert->rowops;
  size_t hidden = encoder->bert->config.hidden_size;
  seam_rows r = arrange_seam(encoder->bert, encoder->max_tokens, encoder->wide);
  float *other = r.units + hidden;
  rowops->mean(second, hidden, rows, hidden, r.units);
  rowops->mean(length - second, hidden, rows + second * hidden, hidden, other);
  rowops->unit(hidden, r.units, r.units);
  rowops->unit(hidden, other, other);
  float sum = 0.0f;
  for (size_t i = 0; i < hidden; i++) {
    sum += r.units[i] * other[i];
  }
  return sum;
}

/* A stored vector of float32 is its row (rr_maxsim.row_size): units are made where they are read. */
static float maxsim(const rr_encoder *encoder, const float *rows, size_t second, size_t length) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  seam_rows r = arrange_seam(bert, encoder->max_tokens, encoder->wide);
  for (size_t t = 0; t < length; t++) {
    float *unit = r.units + t * hidden;
    bert->rowops->unit(hidden, rows + t * hidden, unit);
  }
  bert->seam->pack(second, hidden, r.units, r.packed);
  const rr_maxsim_args args = {.queries = second,
                               .rows = length - second,
                               .dim = hidden,
                               .packed = r.packed,
                               .tokens = r.units + second * hidden,
                               .best = r.best};
  bert->seam->run(&args);
  float sum = 0.0f;
  for (size_t q = 0; q < second; q++) {
    sum += r.best[q];
  }
  return sum / (float)second;
}

/* What is added to each pair's logit, from the rows at the seam. */
static void make_residuals(rr_encoder *encoder, const rr_run *run) {
  const rr_split *split = &encoder->bert->config.split;
  size_t hidden = encoder->bert->config.hidden_size;
  const float *row = encoder->hidden;
  for (size_t i = 0; i < run->n; i++) {
    size_t second = run->inputs[i].second;
    size_t length = run->inputs[i].length;
    float residual = 0.0f;
    if (second > 0 && split->residual == RR_SPLIT_COSINE) {
      residual = cosine(encoder, row, second, length);
    } else if (second > 0 && split->residual == RR_SPLIT_MAXSIM) {
      residual = maxsim(encoder, row, second, length);
    }
    encoder->residuals[i] = split->weight * residual;
    row += length * hidden;
  }
}

/* The first inputs of this part or one before it. */
static size_t count_up_to(const rr_encoder_input *inputs, size_t n, rr_part part, size_t *ret_tokens) {
  size_t count = 0;
  size_t tokens = 0;
  for (; count < n && inputs[count].part <= part; count++) {
    tokens += inputs[count].length;
  }
  *ret_tokens = tokens;
  return count;
}

static void load_halves(rr_encoder *encoder, const rr_encoder_input *inputs, size_t n) {
  size_t hidden = encoder->bert->config.hidden_size;
  float *row = encoder->hidden;
  for (size_t i = 0; i < n; i++) {
    const rr_encoder_input *input = &inputs[i];
    memcpy(row, input->query_half, input->second * hidden * sizeof *row);
    load_half(encoder, input->document_half, input->length - input->second, row + input->second * hidden);
    row += input->length * hidden;
  }
}

/* Pairs whose halves are there lie in front, then whole ones, then halves to compute: the split layers run over all but
 * the first, the others over all but the last. */
void rr_encoder_forward_split(rr_encoder *encoder, const rr_encoder_input *inputs, size_t n) {
  size_t hidden = encoder->bert->config.hidden_size;
  size_t layers = encoder->bert->config.split.layers;
  size_t skipped;
  size_t upper_tokens;
  size_t ignored;
  size_t all_tokens;
  size_t joint = count_up_to(inputs, n, RR_PART_JOINT, &skipped);
  size_t upper = count_up_to(inputs, n, RR_PART_WHOLE, &upper_tokens);
  size_t leading = count_up_to(inputs, n, RR_PART_QUERY, &ignored);
  (void)count_up_to(inputs, n, RR_PART_DOCUMENT, &all_tokens);
  load_halves(encoder, inputs, joint);
  if (joint < n) {
    const rr_run run = {.inputs = inputs + joint,
                        .n = n - joint,
                        .tokens = all_tokens - skipped,
                        .leading = leading - joint,
                        .apart = true};
    encoder->hidden += skipped * hidden;
    rr_encoder_embed(encoder, &run);
    for (size_t i = 0; i < layers; i++) {
      rr_encoder_run_layer(encoder, i, &run);
    }
    leave_split_layers(encoder, &run);
    encoder->hidden -= skipped * hidden;
  }
  if (upper > 0) {
    const rr_run run = {.inputs = inputs, .n = upper, .tokens = upper_tokens, .leading = upper};
    make_residuals(encoder, &run);
    rr_encoder_finish(encoder, layers, &run);
  }
}

static rr_status check_half(const rr_config *config, const rr_encoder_input *input, rr_error *err) {
  if (config->split.layers == 0 || config->split.joint_positions) {
    return rr_fail(err, RR_ERR_INPUT, "this model computes no halves of a pair");
  }
  bool joint = input->part == RR_PART_JOINT;
  if (joint != (input->second > 0)) {
    return rr_fail(err, RR_ERR_INPUT, joint ? "a pair from halves without a document side" : "a half with two sides");
  }
  if ((input->query_half == NULL && input->part != RR_PART_DOCUMENT) ||
      (input->document_half == NULL && input->part != RR_PART_QUERY)) {
    return rr_fail(err, RR_ERR_INPUT, "a half of a pair has no memory");
  }
  return RR_OK;
}

rr_status rr_encoder_check_part(const rr_config *config, const rr_encoder_input *input, rr_part before,
                                rr_error *err) {
  if (input->second >= input->length || (input->second > 0 && config->split.layers == 0)) {
    return rr_fail(err, RR_ERR_INPUT, "a document side where there can be none");
  }
  if (input->part < before) {
    return rr_fail(err, RR_ERR_INPUT, "pairs and halves out of order");
  }
  return input->part == RR_PART_WHOLE ? RR_OK : check_half(config, input, err);
}
