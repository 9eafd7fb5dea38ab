#include "core/model/encoder_internal.h"

/* The means over each sequence's rows. */
static void pool_means(rr_encoder *encoder, const rr_input *inputs, size_t n, float *out) {
  size_t hidden = encoder->bert->config.hidden_size;
  const float *row = encoder->hidden;
  for (size_t i = 0; i < n; i++) {
    encoder->bert->rowops->mean(inputs[i].length, hidden, row, hidden, out + i * hidden);
    row += inputs[i].length * hidden;
  }
}

static void write_logits(rr_encoder *encoder, const rr_input *inputs, size_t n) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  float *logits = encoder->wide; /* n */
  const rr_product_options pool = {.activation = RR_ACTIVATION_TANH};
  const rr_product_options classify = {.activation = RR_ACTIVATION_NONE};
  rr_matrix cls = rr_matrix_floats(encoder->hidden, hidden);
  rr_matrix pooled = rr_matrix_floats(encoder->middle, hidden);
  rr_matrix out = rr_matrix_floats(logits, 1);
  if (bert->config.split.mean_head) {
    pool_means(encoder, inputs, n, encoder->middle);
  } else {
    rr_encoder_apply(encoder, &bert->pooler, &pool, n, &cls, &pooled);
  }
  rr_encoder_apply(encoder, &bert->classifier, &classify, n, &pooled, &out);
  for (size_t i = 0; i < n; i++) {
    inputs[i].output[0] =
        bert->config.split.layers == 0 ? logits[i] : logits[i] + encoder->residuals[i];
  }
}

static void write_outputs(rr_encoder *encoder, const rr_input *inputs, size_t n) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  if (bert->config.head == RR_HEAD_CLASSIFIER) {
    write_logits(encoder, inputs, n);
    return;
  }
  bool one_row = rr_bert_cls_only(&bert->config);
  const float *row = encoder->hidden;
  for (size_t i = 0; i < n; i++) {
    if (inputs[i].output != NULL && bert->config.head == RR_HEAD_MEAN) {
      bert->rowops->mean(inputs[i].length, hidden, row, hidden, inputs[i].output);
      bert->rowops->unit(hidden, inputs[i].output, inputs[i].output);
    } else if (inputs[i].output != NULL) {
      bert->rowops->unit(hidden, row, inputs[i].output);
    }
    row += (one_row ? 1 : inputs[i].length) * hidden;
  }
}

/* Last of all: hidden does not stay as it is. */
static void write_vectors(rr_encoder *encoder, const rr_input *inputs, size_t n, size_t tokens) {
  const rr_bert *bert = encoder->bert;
  size_t dim = bert->token_dim;
  float *row = encoder->hidden;
  if (bert->config.head == RR_HEAD_TOKENS) {
    const rr_product_options plain = {.activation = RR_ACTIVATION_NONE};
    rr_matrix x = rr_matrix_floats(encoder->hidden, bert->config.hidden_size);
    rr_matrix out = rr_matrix_floats(encoder->wide, dim);
    rr_encoder_apply(encoder, &bert->projection, &plain, tokens, &x, &out);
    row = encoder->wide;
  }
  for (size_t i = 0; i < n; i++) {
    char *to = inputs[i].vectors;
    for (size_t t = 0; t < inputs[i].length; t++, row += dim) {
      if (to != NULL && (inputs[i].left_out == NULL || inputs[i].left_out[t] == 0)) {
        bert->rowops->unit(dim, row, row);
        bert->maxsim->store(dim, row, to);
        to += bert->maxsim->row_size(dim);
      }
    }
  }
}

void rr_encoder_write(rr_encoder *encoder, const rr_run *run) {
  if (encoder->bert->config.head != RR_HEAD_TOKENS) {
    write_outputs(encoder, run->inputs, run->n);
  }
  if (encoder->bert->maxsim != NULL) {
    write_vectors(encoder, run->inputs, run->n, run->tokens);
  }
}
