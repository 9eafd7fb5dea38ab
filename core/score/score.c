/* From sequences to scores: workspaces, forward passes, and what their outputs come to. */
#include <math.h>

#include "core/base/alloc.h"
#include "core/model/encoder.h"
#include "core/score/internal.h"
#include "core/scorer.h"

struct rr_workspace {
  const rr_scorer *scorer;
  rr_encoder *encoder;
  rr_input *inputs; /* one a token: a sequence has at least one */
};

rr_status rr_workspace_create(const rr_scorer *scorer, size_t max_tokens,
                              rr_workspace **ret_workspace, rr_error *err) {
  if (max_tokens < scorer->info.max_input_length) {
    max_tokens = scorer->info.max_input_length;
  }
  if (max_tokens < scorer->bert->config.colbert.query_length) {
    max_tokens = scorer->bert->config.colbert.query_length;
  }
  rr_workspace *workspace = rr_calloc(1, sizeof *workspace);
  if (workspace == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for a workspace");
  }
  workspace->scorer = scorer;
  rr_status status = rr_encoder_create(scorer->bert, max_tokens, &workspace->encoder, err);
  if (status == RR_OK) {
    workspace->inputs = rr_calloc(max_tokens, sizeof *workspace->inputs);
    if (workspace->inputs == NULL) {
      status = rr_fail(err, RR_ERR_MEMORY, "out of memory for a workspace");
    }
  }
  if (status != RR_OK) {
    rr_workspace_destroy(workspace);
    return status;
  }
  *ret_workspace = workspace;
  return RR_OK;
}

size_t rr_workspace_bytes(const rr_workspace *workspace) {
  size_t inputs = rr_encoder_max_tokens(workspace->encoder) * sizeof *workspace->inputs;
  return sizeof *workspace + inputs + rr_encoder_bytes(workspace->encoder);
}

void rr_workspace_destroy(rr_workspace *workspace) {
  if (workspace == NULL) {
    return;
  }
  rr_free(workspace->inputs);
  rr_encoder_destroy(workspace->encoder);
  rr_free(workspace);
}

rr_status rr_scorer_forward(rr_workspace *workspace, rr_sequence *const *sequences, size_t n,
                            rr_error *err) {
  if (n > rr_encoder_max_tokens(workspace->encoder)) {
    return rr_fail(err, RR_ERR_INPUT, "the micro-batch has more than %zu tokens",
                   rr_encoder_max_tokens(workspace->encoder));
  }
  size_t inputs = 0;
  for (size_t last = 0; last < 2; last++) { /* pairs first, as the encoder wants them */
    for (size_t i = 0; i < n; i++) {
      bool document = sequences[i]->input->part == RR_PART_DOCUMENT;
      if (!sequences[i]->at_hand && document == (last == 1)) {
        workspace->inputs[inputs++] = *sequences[i]->input;
      }
    }
  }
  return inputs == 0 ? RR_OK
                     : rr_encoder_forward(workspace->encoder, workspace->inputs, inputs, err);
}

float rr_scorer_score(const rr_scorer *scorer, float raw_score) {
  /* A sigmoid would make an infinite logit look like a score. */
  if (!isfinite(raw_score)) {
    return raw_score;
  }
  if (scorer->info.kind == RR_CROSS_ENCODER) {
    return 1.0f / (1.0f + expf(-raw_score));
  }
  return scorer->calibration.knots == 0 ? raw_score
                                        : rr_calibrated(&scorer->calibration, raw_score);
}

static float raw_score(const rr_scorer *scorer, const rr_encoded *encoded, size_t candidate) {
  if (scorer->info.kind == RR_CROSS_ENCODER) {
    return encoded->sequences[encoded->sequence_of[candidate]].input->output[0];
  }
  const rr_input *query = encoded->sequences[0].input;
  const rr_input *text = encoded->sequences[encoded->sequence_of[candidate]].input;
  if (scorer->scoring == RR_SCORING_MAXSIM) {
    return rr_late_score(&scorer->late, encoded, text);
  }
  float cosine = 0.0f;
  for (size_t i = 0; i < scorer->info.hidden_size; i++) {
    cosine += query->output[i] * text->output[i];
  }
  return scorer->scoring == RR_SCORING_COSINE
             ? cosine
             : (2.0f * rr_late_score(&scorer->late, encoded, text) + cosine) / 3.0f;
}

rr_status rr_scorer_scores(const rr_scorer *scorer, const rr_encoded *encoded, bool raw,
                           float *scores, rr_error *err) {
  if (scorer->bert->maxsim != NULL && encoded->n_candidates > 0) {
    rr_late_begin(&scorer->late, encoded);
  }
  for (size_t i = 0; i < encoded->n_candidates; i++) {
    float score = raw_score(scorer, encoded, i);
    scores[i] = raw ? score : rr_scorer_score(scorer, score);
    if (!isfinite(scores[i])) {
      return rr_fail(err, RR_ERR_NUMERIC, "the model gave no finite score for text %zu", i);
    }
  }
  return RR_OK;
}

/* Runs all sequences, in their order, in micro-batches as full as they get. */
static rr_status forward_all(rr_workspace *workspace, const rr_encoded *encoded,
                             rr_sequence **batch, rr_error *err) {
  size_t max_tokens = rr_encoder_max_tokens(workspace->encoder);
  rr_status status = RR_OK;
  for (size_t i = 0; status == RR_OK && i < encoded->n_sequences;) {
    size_t n = 0;
    size_t tokens = 0;
    while (i < encoded->n_sequences &&
           (encoded->sequences[i].at_hand || encoded->sequences[i].length <= max_tokens - tokens)) {
      if (!encoded->sequences[i].at_hand) {
        tokens += encoded->sequences[i].length;
        batch[n++] = &encoded->sequences[i];
      }
      i++;
    }
    status = rr_scorer_forward(workspace, batch, n, err);
  }
  return status;
}

rr_status rr_scorer_rerank(rr_workspace *workspace, rr_text query, const rr_text *texts,
                           size_t n_texts, const rr_encode_options *options, bool raw,
                           float *scores, rr_error *err) {
  rr_arena arena;
  rr_encoded encoded;
  rr_arena_init(&arena, SIZE_MAX);
  rr_status status =
      rr_scorer_encode(workspace->scorer, query, texts, n_texts, options, &arena, &encoded, err);
  if (status == RR_OK) {
    rr_sequence **batch = rr_arena_calloc(&arena, encoded.n_sequences, sizeof *batch);
    status = batch == NULL ? rr_fail(err, RR_ERR_MEMORY, "out of memory for a micro-batch")
                           : forward_all(workspace, &encoded, batch, err);
  }
  if (status == RR_OK) {
    status = rr_scorer_scores(workspace->scorer, &encoded, raw, scores, err);
  }
  rr_arena_finish(&arena);
  return status;
}
