#include <stdbool.h>
#include <string.h>

#include "core/kernel/bf16.h"
#include "core/model/encoder_internal.h"

enum { RECENT_QUERIES = 8 };

/* Where the pieces of a pair's residual lie, in encoder->wide. */
typedef struct seam_rows {
  float *units; /* T x H: rows of length 1, the query side's first; or two means */
  void *packed; /* the query side's, for rr_maxsim */
  float *best;  /* T */
  size_t size;  /* bytes of all of them */
} seam_rows;

static seam_rows arrange_seam(const rr_bert *bert, size_t tokens, char *memory) {
  size_t hidden = bert->config.hidden_size;
  size_t units = rr_encoder_aligned(rr_larger(tokens, 2) * hidden * sizeof(float));
  size_t packed =
      bert->seam == NULL ? 0 : rr_encoder_aligned(bert->seam->packed_size(tokens, hidden));
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

rr_type rr_bert_kept_type(const rr_bert *bert) {
  return bert->formats.of[RR_LINEAR_QKV] == RR_FORMAT_FP32 ? RR_TYPE_FP32 : RR_TYPE_BF16;
}

/* rows x H as they are kept. */
static void store_rows(const rr_encoder *encoder, const float *from, size_t rows, void *kept) {
  size_t hidden = encoder->bert->config.hidden_size;
  if (rr_bert_kept_type(encoder->bert) == RR_TYPE_FP32) {
    memcpy(kept, from, rows * hidden * sizeof *from);
  } else {
    encoder->bert->rowops->round(rows, hidden, from, hidden, kept, hidden);
  }
}

static void load_rows(const rr_encoder *encoder, const void *kept, size_t rows, float *to) {
  size_t hidden = encoder->bert->config.hidden_size;
  if (rr_bert_kept_type(encoder->bert) == RR_TYPE_FP32) {
    memcpy(to, kept, rows * hidden * sizeof *to);
  } else {
    rr_bf16_expand(rows * hidden, kept, to);
  }
}

/* The document side of a whole pair, rounded as it is when it is kept. */
static void pass_seam(const rr_encoder *encoder, const rr_input *input, float *rows) {
  size_t count = input->length - input->split_at;
  void *kept = input->kept;
  if (kept == NULL && rr_bert_kept_type(encoder->bert) != RR_TYPE_FP32) {
    kept = encoder->wide;
  }
  if (kept != NULL) {
    store_rows(encoder, rows, count, kept);
    load_rows(encoder, kept, count, rows);
  }
}

static float cosine(const rr_encoder *encoder, const float *rows, size_t split_at, size_t length) {
  const rr_rowops *rowops = encoder->bert->rowops;
  size_t hidden = encoder->bert->config.hidden_size;
  seam_rows r = arrange_seam(encoder->bert, encoder->max_tokens, encoder->wide);
  float *other = r.units + hidden;
  rowops->mean(split_at, hidden, rows, hidden, r.units);
  rowops->mean(length - split_at, hidden, rows + split_at * hidden, hidden, other);
  rowops->unit(hidden, r.units, r.units);
  rowops->unit(hidden, other, other);
  float sum = 0.0f;
  for (size_t i = 0; i < hidden; i++) {
    sum += r.units[i] * other[i];
  }
  return sum;
}

/* A stored vector of float32 is its row (rr_maxsim.row_size): units are made where they are
 * read. */
static float maxsim(const rr_encoder *encoder, const float *rows, size_t split_at, size_t length) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  seam_rows r = arrange_seam(bert, encoder->max_tokens, encoder->wide);
  for (size_t t = 0; t < length; t++) {
    float *unit = r.units + t * hidden;
    bert->rowops->unit(hidden, rows + t * hidden, unit);
  }
  bert->seam->pack(split_at, hidden, r.units, r.packed);
  const rr_maxsim_args args = {.queries = split_at,
                               .rows = length - split_at,
                               .dim = hidden,
                               .packed = r.packed,
                               .tokens = r.units + split_at * hidden,
                               .best = r.best};
  bert->seam->run(&args);
  float sum = 0.0f;
  for (size_t q = 0; q < split_at; q++) {
    sum += r.best[q];
  }
  return sum / (float)split_at;
}

/* What is added to each pair's logit, from the rows at the seam. */
static void make_residuals(rr_encoder *encoder, const rr_run *run) {
  const rr_split *split = &encoder->bert->config.split;
  size_t hidden = encoder->bert->config.hidden_size;
  const float *row = encoder->hidden;
  for (size_t i = 0; i < run->n; i++) {
    size_t split_at = run->inputs[i].split_at;
    size_t length = run->inputs[i].length;
    float residual = 0.0f;
    if (split_at > 0 && split->residual == RR_SPLIT_COSINE) {
      residual = cosine(encoder, row, split_at, length);
    } else if (split_at > 0 && split->residual == RR_SPLIT_MAXSIM) {
      residual = maxsim(encoder, row, split_at, length);
    }
    encoder->residuals[i] = split->weight * residual;
    row += length * hidden;
  }
}

static bool same_query(const rr_input *a, const rr_input *b) {
  return a->split_at == b->split_at && memcmp(a->ids, b->ids, a->split_at * sizeof *a->ids) == 0 &&
         memcmp(a->type_ids, b->type_ids, a->split_at) == 0;
}

/* The sides that the split layers will run over, one behind the other in hidden. */
typedef struct gathering {
  const rr_input *inputs;
  rr_input *sides;
  size_t n_sides;
  size_t row;
  size_t recent[RECENT_QUERIES]; /* pairs whose query sides are among them, the last so many */
  size_t n_recent;
} gathering;

static void add_side(gathering *g, const rr_input *side) {
  g->sides[g->n_sides++] = *side;
  g->row += side->length;
}

/* A pair whose query side is there already, or itself. */
static size_t find_query(gathering *g, size_t pair) {
  for (size_t i = g->n_recent; i-- > 0 && g->n_recent - i <= RECENT_QUERIES;) {
    size_t other = g->recent[i % RECENT_QUERIES];
    if (same_query(&g->inputs[pair], &g->inputs[other])) {
      return other;
    }
  }
  g->recent[g->n_recent++ % RECENT_QUERIES] = pair;
  return pair;
}

/* Pairs of one request have the same query: its side is computed once. */
static void add_pair(const rr_config *config, gathering *g, size_t pair, rr_pair_rows *rows) {
  rr_input side = g->inputs[pair];
  size_t other = side.split_at == 0 ? pair : find_query(g, pair);
  bool shared = other != pair;
  rows[pair].query = shared ? rows[other].query : (uint32_t)g->row;
  rows[pair].document = (uint32_t)(g->row + (shared ? 0 : side.split_at));
  if (side.part == RR_PART_WARM) {
    side.length = shared ? 0 : side.split_at;
    side.split_at = 0;
  } else if (shared) {
    side.part = RR_PART_DOCUMENT;
    side.position = config->split.joint_positions ? side.split_at : 0;
    side.ids += side.split_at;
    side.type_ids += side.split_at;
    side.length -= side.split_at;
    side.split_at = 0;
  }
  if (side.length > 0) {
    add_side(g, &side);
  }
}

/* Fills encoder->sides and encoder->pair_rows. */
static rr_run gather(rr_encoder *encoder, const rr_input *inputs, size_t n) {
  gathering g = {.inputs = inputs, .sides = encoder->sides};
  for (size_t i = 0; i < n; i++) {
    if (inputs[i].part == RR_PART_DOCUMENT) {
      add_side(&g, &inputs[i]);
    } else {
      add_pair(&encoder->bert->config, &g, i, encoder->pair_rows);
    }
  }
  return (rr_run){.inputs = g.sides, .n = g.n_sides, .tokens = g.row, .apart = true};
}

/* Document sides that are wanted by themselves: the last of the sides. */
static void store_documents(const rr_encoder *encoder, const rr_run *run, size_t documents) {
  size_t hidden = encoder->bert->config.hidden_size;
  const float *row = encoder->hidden + run->tokens * hidden;
  for (size_t i = run->n; i-- > run->n - documents;) {
    const rr_input *side = &run->inputs[i];
    row -= side->length * hidden;
    store_rows(encoder, row, side->length, side->kept);
  }
}

/* Puts pairs together in hidden. No pair's rows lie behind where they go, so that from the last on
 * none is overwritten before it is read; a query side that pairs share is the first one's of
 * them. */
static void join_pairs(rr_encoder *encoder, const rr_input *pairs, size_t n, size_t tokens) {
  size_t hidden = encoder->bert->config.hidden_size;
  size_t size = hidden * sizeof *encoder->hidden;
  float *to = encoder->hidden + tokens * hidden;
  for (size_t i = n; i-- > 0;) {
    const rr_input *pair = &pairs[i];
    size_t rest = pair->length - pair->split_at;
    to -= pair->length * hidden;
    float *document = to + pair->split_at * hidden;
    if (pair->part != RR_PART_WHOLE) {
      load_rows(encoder, pair->kept, rest, document);
    } else {
      memmove(document, encoder->hidden + encoder->pair_rows[i].document * hidden, rest * size);
    }
    if (pair->split_at > 0) {
      memmove(to, encoder->hidden + encoder->pair_rows[i].query * hidden, pair->split_at * size);
    }
    if (pair->part == RR_PART_WHOLE && pair->split_at > 0) {
      pass_seam(encoder, pair, document);
    }
  }
}

void rr_encoder_forward_split(rr_encoder *encoder, const rr_input *inputs, size_t n) {
  size_t layers = encoder->bert->config.split.layers;
  size_t pairs = 0;
  size_t tokens = 0;
  for (; pairs < n && inputs[pairs].part != RR_PART_DOCUMENT; pairs++) {
    tokens += inputs[pairs].length;
  }
  const rr_run sides = gather(encoder, inputs, n);
  if (sides.n > 0) {
    rr_encoder_embed(encoder, &sides);
    for (size_t i = 0; i < layers; i++) {
      rr_encoder_run_layer(encoder, i, &sides);
    }
    store_documents(encoder, &sides, n - pairs);
  }
  if (pairs > 0) {
    const rr_run joint = {.inputs = inputs, .n = pairs, .tokens = tokens};
    join_pairs(encoder, inputs, pairs, tokens);
    make_residuals(encoder, &joint);
    rr_encoder_finish(encoder, layers, &joint);
  }
}

static rr_status check_kept(const rr_config *config, const rr_input *input, rr_error *err) {
  bool pair = input->part != RR_PART_DOCUMENT;
  if (config->split.layers == 0 || config->split.joint_positions) {
    return rr_fail(err, RR_ERR_INPUT, "this model keeps no document sides");
  }
  if (pair != (input->split_at > 0)) {
    return rr_fail(err, RR_ERR_INPUT,
                   pair ? "a pair without a document side" : "a document side with two sides");
  }
  return input->kept != NULL ? RR_OK
                             : rr_fail(err, RR_ERR_INPUT, "a document side that is kept nowhere");
}

rr_status rr_encoder_check_part(const rr_config *config, const rr_input *input, bool after_side,
                                rr_error *err) {
  if (input->split_at >= input->length || (input->split_at > 0 && config->split.layers == 0)) {
    return rr_fail(err, RR_ERR_INPUT, "a document side where there can be none");
  }
  if (after_side && input->part != RR_PART_DOCUMENT) {
    return rr_fail(err, RR_ERR_INPUT, "a pair behind a document side");
  }
  bool plain = input->part == RR_PART_WHOLE && input->kept == NULL;
  return plain ? RR_OK : check_kept(config, input, err);
}
