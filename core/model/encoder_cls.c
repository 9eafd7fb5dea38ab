#include <math.h>
#include <string.h>

#include "core/kernel/bf16.h"
#include "core/model/encoder_internal.h"

static const rr_product_options plain = {.activation = RR_ACTIVATION_NONE};

/* Where the pieces of a [CLS] layer's attention lie: RR_CLS_GROUP sequences' queries and contexts
 * of all heads, each of H values, side by side. */
typedef struct cls_rows {
  rr_matrix x;       /* T x H: the layer's input in attention's type */
  rr_matrix spread;  /* RR_CLS_GROUP x (heads H): queries taken to where the tokens are, then in
                        attention's type */
  rr_matrix pooled;  /* RR_CLS_GROUP x (heads H): the tokens' weighted sums */
  rr_matrix query;   /* n x H */
  rr_matrix context; /* n x H */
} cls_rows;

static cls_rows arrange_cls(const rr_encoder *encoder, size_t n, size_t tokens) {
  size_t hidden = encoder->bert->config.hidden_size;
  size_t spread = encoder->bert->config.heads * hidden;
  rr_type type = encoder->bert->cls_attention->type;
  cls_rows r = {.x = {encoder->hidden, type, hidden}};
  char *next = encoder->wide;
  if (type == RR_TYPE_BF16) {
    r.x.data = next;
    next += rr_encoder_aligned(tokens * hidden * sizeof(uint16_t));
  }
  r.spread = rr_matrix_floats((float *)(void *)next, spread);
  r.pooled = rr_matrix_floats(rr_matrix_at(&r.spread, RR_CLS_GROUP, 0), spread);
  r.query = rr_matrix_floats(rr_matrix_at(&r.pooled, RR_CLS_GROUP, 0), hidden);
  r.context = rr_matrix_floats(rr_matrix_at(&r.query, n, 0), hidden);
  return r;
}

/* The context of one sequence's query by all heads: row `row` of the group. Attention reads a row
 * of the spread queries as so many queries, and the tokens as keys and as values. */
static void attend_cls(rr_encoder *encoder, const cls_rows *r, size_t row, size_t first,
                       size_t length) {
  const rr_bert *bert = encoder->bert;
  size_t hidden = bert->config.hidden_size;
  size_t heads = bert->config.heads;
  bool reduced = bert->cls_attention->type == RR_TYPE_BF16;
  float *spread = rr_matrix_at(&r->spread, row, 0);
  float *pooled = rr_matrix_at(&r->pooled, row, 0);
  uint16_t *halves =
      (uint16_t *)pooled; /* on their way in, of the queries; on their way out, in the spread's */
  if (reduced) {
    bert->rowops->round(heads, hidden, spread, hidden, halves, hidden);
  }
  rr_attention_args args = {
      .queries = heads,
      .keys = length,
      .head_size = hidden,
      .q = reduced ? (const void *)halves : spread,
      .ldq = hidden,
      .k = rr_matrix_at(&r->x, first, 0),
      .ldk = hidden,
      .v = rr_matrix_at(&r->x, first, 0),
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
static void apply_head(rr_encoder *encoder, const rr_linear *linear, size_t rows,
                       const rr_matrix *from, size_t from_col, const rr_matrix *to, size_t to_col) {
  rr_matrix x = {rr_matrix_at(from, 0, from_col), from->type, from->ld};
  rr_matrix out = {rr_matrix_at(to, 0, to_col), to->type, to->ld};
  rr_encoder_apply(encoder, linear, &plain, rows, &x, &out);
}

static void attend_cls_group(rr_encoder *encoder, const rr_layer *layer, const cls_rows *r,
                             const rr_input *inputs, size_t first, size_t count, size_t token) {
  size_t hidden = encoder->bert->config.hidden_size;
  size_t heads = encoder->bert->config.heads;
  size_t head_size = hidden / heads;
  rr_matrix query = rr_matrix_floats(rr_matrix_at(&r->query, first, 0), hidden);
  rr_matrix context = rr_matrix_floats(rr_matrix_at(&r->context, first, 0), hidden);
  for (size_t h = 0; h < heads; h++) {
    apply_head(encoder, &layer->key_of_head[h], count, &query, h * head_size, &r->spread,
               h * hidden);
  }
  for (size_t i = 0; i < count; i++) {
    attend_cls(encoder, r, i, token, inputs[first + i].length);
    token += inputs[first + i].length;
  }
  for (size_t h = 0; h < heads; h++) {
    apply_head(encoder, &layer->value_of_head[h], count, &r->pooled, h * hidden, &context,
               h * head_size);
  }
}

/* A layer of which only the [CLS] rows are wanted: hidden becomes n x H. Attention meets the tokens
 * themselves instead of their keys and values (weights.h: rr_layer). */
void rr_encoder_run_cls_layer(rr_encoder *encoder, const rr_layer *layer, const rr_input *inputs,
                              size_t n, size_t tokens) {
  size_t hidden = encoder->bert->config.hidden_size;
  cls_rows r = arrange_cls(encoder, n, tokens);
  if (r.x.type == RR_TYPE_BF16) {
    encoder->bert->rowops->round(tokens, hidden, encoder->hidden, hidden, r.x.data, hidden);
  }
  rr_matrix cls = rr_matrix_floats(encoder->middle, hidden); /* n x H */
  size_t token = 0;
  for (size_t i = 0; i < n; i++) {
    memcpy(rr_matrix_at(&cls, i, 0), encoder->hidden + token * hidden, hidden * sizeof(float));
    token += inputs[i].length;
  }
  rr_encoder_apply(encoder, &layer->query, &plain, n, &cls, &r.query);
  token = 0;
  for (size_t first = 0; first < n; first += RR_CLS_GROUP) {
    size_t count = n - first < RR_CLS_GROUP ? n - first : RR_CLS_GROUP;
    attend_cls_group(encoder, layer, &r, inputs, first, count, token);
    for (size_t i = 0; i < count; i++) {
      token += inputs[first + i].length;
    }
  }
  memcpy(encoder->hidden, encoder->middle, n * hidden * sizeof(float));
  rr_encoder_finish_layer(encoder, layer, n, &r.context);
}

size_t rr_encoder_cls_bytes(const rr_bert *bert, size_t tokens) {
  const rr_config *config = &bert->config;
  return rr_encoder_aligned(tokens * config->hidden_size *
                            rr_type_size(bert->cls_attention->type)) +
         (2 * RR_CLS_GROUP * config->heads + 2 * tokens) * config->hidden_size * sizeof(float);
}

bool rr_encoder_has_lead(const rr_bert *bert, size_t layer) {
  size_t layers = bert->config.layers;
  return rr_bert_cls_only(&bert->config) && layer + 1 < layers && layer >= layers / 3 &&
         bert->layers[layer].qkv.gemm->format != RR_FORMAT_FP32;
}

/* Where the pieces lie. */
typedef struct lead_rows {
  float *done;   /* T x H, of which n rows: the layer's outputs */
  float *input;  /* RR_LEAD_GROUP x H: the layer's inputs */
  float *middle; /* RR_LEAD_GROUP x H */
  void *wide;    /* RR_LEAD_GROUP x max(3 H, I), of float32 at most */
  size_t floats;
} lead_rows;

static lead_rows arrange_lead(const rr_bert *bert, size_t tokens, float *memory) {
  size_t hidden = bert->config.hidden_size;
  size_t wide = rr_larger(3 * hidden, bert->config.intermediate_size);
  lead_rows r = {.floats = tokens * hidden + RR_LEAD_GROUP * (2 * hidden + wide)};
  if (memory != NULL) {
    r.done = memory;
    r.input = r.done + tokens * hidden;
    r.middle = r.input + RR_LEAD_GROUP * hidden;
    r.wide = r.middle + RR_LEAD_GROUP * hidden;
  }
  return r;
}

size_t rr_encoder_lead_bytes(const rr_bert *bert, size_t tokens) {
  size_t layers = bert->config.layers;
  return layers > 1 && rr_encoder_has_lead(bert, layers - 2)
             ? rr_encoder_aligned(arrange_lead(bert, tokens, NULL).floats * sizeof(float))
             : 0;
}

/* Sequences first .. end - 1, the first of which begins at row `token`. */
typedef struct group {
  size_t first;
  size_t end;
  size_t token;
  size_t before; /* [CLS] rows of the groups before */
  size_t count;  /* and of this one */
} group;

/* The next RR_LEAD_GROUP [CLS] rows; begins with all zeros. False at the end. */
static bool next_group(const rr_input *inputs, size_t n, group *g) {
  for (size_t i = g->first; i < g->end; i++) {
    g->token += inputs[i].length;
  }
  g->first = g->end;
  g->before += g->count;
  g->count = 0;
  for (; g->end < n && g->count < RR_LEAD_GROUP; g->end++) {
    g->count += rr_encoder_begins_with_cls(&inputs[g->end]);
  }
  return g->count > 0;
}

/* Copies the first `cols` columns of the group's [CLS] rows of m to the dense rows `to` or, if
 * `back`, from there. */
static void move_rows(const rr_input *inputs, const group *g, const rr_matrix *m, size_t cols,
                      void *to, bool back) {
  size_t size = cols * rr_type_size(m->type);
  size_t token = g->token;
  char *dense = to;
  for (size_t i = g->first; i < g->end; i++) {
    if (rr_encoder_begins_with_cls(&inputs[i])) {
      void *row = rr_matrix_at(m, token, 0);
      memcpy(back ? row : dense, back ? dense : row, size);
      dense += size;
    }
    token += inputs[i].length;
  }
}

void rr_encoder_lead_qkv(rr_encoder *encoder, const rr_layer *layer, const rr_input *inputs,
                         size_t n, const rr_matrix *qkv) {
  const rr_product_options precise = {.precise = true};
  size_t hidden = encoder->bert->config.hidden_size;
  lead_rows r = arrange_lead(encoder->bert, encoder->max_tokens, encoder->lead);
  rr_matrix all = rr_matrix_floats(encoder->hidden, hidden);
  rr_matrix x = rr_matrix_floats(r.input, hidden);
  rr_matrix out = {r.wide, qkv->type, qkv->ld};
  for (group g = {0}; next_group(inputs, n, &g);) {
    move_rows(inputs, &g, &all, hidden, r.input, false);
    rr_encoder_apply(encoder, &layer->qkv, &precise, g.count, &x, &out);
    move_rows(inputs, &g, qkv, qkv->ld, r.wide, true);
  }
}

void rr_encoder_lead_rest(rr_encoder *encoder, const rr_layer *layer, const rr_input *inputs,
                          size_t n, const rr_matrix *context) {
  size_t hidden = encoder->bert->config.hidden_size;
  lead_rows r = arrange_lead(encoder->bert, encoder->max_tokens, encoder->lead);
  const rr_product_options attended = {
      .norm = &layer->attention_norm, .residual = r.input, .precise = true};
  const rr_product_options up = {.activation = encoder->bert->config.activation, .precise = true};
  const rr_product_options down = {
      .norm = &layer->output_norm, .residual = r.middle, .precise = true};
  rr_matrix all = rr_matrix_floats(encoder->hidden, hidden);
  rr_matrix x = {r.wide, context->type, hidden};
  rr_matrix middle = rr_matrix_floats(r.middle, hidden);
  rr_matrix wide = rr_matrix_floats(r.wide, layer->intermediate.n);
  for (group g = {0}; next_group(inputs, n, &g);) {
    rr_matrix done = rr_matrix_floats(r.done + g.before * hidden, hidden);
    move_rows(inputs, &g, &all, hidden, r.input, false);
    move_rows(inputs, &g, context, hidden, r.wide, false);
    rr_encoder_apply(encoder, &layer->attention_output, &attended, g.count, &x, &middle);
    rr_encoder_apply(encoder, &layer->intermediate, &up, g.count, &middle, &wide);
    rr_encoder_apply(encoder, &layer->output, &down, g.count, &wide, &done);
  }
}

void rr_encoder_lead_store(rr_encoder *encoder, const rr_input *inputs, size_t n) {
  size_t hidden = encoder->bert->config.hidden_size;
  lead_rows r = arrange_lead(encoder->bert, encoder->max_tokens, encoder->lead);
  rr_matrix all = rr_matrix_floats(encoder->hidden, hidden);
  for (group g = {0}; next_group(inputs, n, &g);) {
    move_rows(inputs, &g, &all, hidden, r.done + g.before * hidden, true);
  }
}
