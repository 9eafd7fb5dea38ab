#include "core/score/late.h"

#include <string.h>

enum { ALIGNMENT = 64, SCRATCH_BYTES = 1 << 20 };

static bool is_skipped(const rr_late *late, int32_t id) {
  for (size_t i = 0; i < late->n_skipped; i++) {
    if (late->skipped[i] == id) {
      return true;
    }
  }
  return false;
}

/* Each symbol's first token, as ColBERT has it: the unknown token where the vocabulary lacks
 * one. */
static rr_status read_punctuation(rr_late *late, const rr_tokenizer *tokenizer, rr_error *err) {
  static const char symbols[] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  rr_arena arena;
  rr_status status = RR_OK;
  rr_arena_init(&arena, SCRATCH_BYTES);
  for (size_t i = 0; status == RR_OK && i + 1 < sizeof symbols; i++) {
    rr_tokens tokens;
    status = rr_tokenizer_tokens(tokenizer, (rr_text){symbols + i, 1}, &arena, &tokens, err);
    if (status == RR_OK && tokens.size > 0 && !is_skipped(late, tokens.ids[0])) {
      late->skipped[late->n_skipped++] = tokens.ids[0];
    }
  }
  rr_arena_finish(&arena);
  return status;
}

static rr_status find_token(const rr_tokenizer *tokenizer, const char *token, int32_t *ret_id,
                            rr_error *err) {
  *ret_id = rr_tokenizer_find(tokenizer, token);
  return *ret_id >= 0 ? RR_OK : rr_fail(err, RR_ERR_FORMAT, "the tokenizer has no token %s", token);
}

rr_status rr_late_init(rr_late *late, const rr_bert *bert, const rr_tokenizer *tokenizer,
                       rr_error *err) {
  *late = (rr_late){.maxsim = bert->maxsim,
                    .dim = bert->token_dim,
                    .colbert = bert->config.head == RR_HEAD_TOKENS,
                    .form = bert->config.colbert,
                    .pad = -1};
  rr_tokenizer_single_frame(tokenizer, &late->before, &late->behind);
  if (!late->colbert) {
    return RR_OK;
  }
  rr_status status = find_token(tokenizer, late->form.query_marker, &late->query_marker, err);
  if (status == RR_OK) {
    status = find_token(tokenizer, late->form.document_marker, &late->document_marker, err);
  }
  if (status == RR_OK) {
    status = find_token(tokenizer, "[MASK]", &late->mask, err);
  }
  if (status == RR_OK && late->form.skip_punctuation) {
    status = read_punctuation(late, tokenizer, err);
  }
  if (status == RR_OK && (late->pad = rr_tokenizer_find(tokenizer, "[PAD]")) >= 0 &&
      !is_skipped(late, late->pad)) {
    late->skipped[late->n_skipped++] = late->pad;
  }
  return status;
}

size_t rr_late_room(const rr_late *late, bool query, size_t max_length) {
  if (!late->colbert) {
    return max_length;
  }
  size_t most = query ? late->form.query_length : late->form.document_length;
  return (max_length < most ? max_length : most) - 1; /* the marker */
}

/* A ColBERT's sequence: the marker behind the first token; a query's padding, also what its text
 * calls so, is [MASK]. */
static bool mark(const rr_late *late, bool query, rr_arena *arena, rr_encoding *encoding) {
  size_t length = encoding->length + 1;
  size_t filled = query && late->form.query_length > length ? late->form.query_length : length;
  int32_t *ids = rr_arena_alloc(arena, filled * sizeof *ids);
  uint8_t *type_ids = rr_arena_calloc(arena, filled, sizeof *type_ids);
  if (ids == NULL || type_ids == NULL) {
    return false;
  }
  for (size_t i = 0; i < encoding->length; i++) {
    int32_t id = encoding->ids[i];
    ids[i == 0 ? 0 : i + 1] = query && id == late->pad ? late->mask : id;
  }
  ids[encoding->length == 0 ? 0 : 1] = query ? late->query_marker : late->document_marker;
  for (size_t i = length; i < filled; i++) {
    ids[i] = late->mask;
  }
  encoding->ids = ids;
  encoding->type_ids = type_ids;
  encoding->length = filled;
  return true;
}

/* Special tokens count only where there are no others; of a ColBERT's document, what is skipped
 * does not. */
static void leave_out(const rr_late *late, bool query, const rr_encoding *encoding,
                      uint8_t *left_out) {
  size_t length = encoding->length;
  bool bare = length <= late->before + late->behind;
  for (size_t i = 0; i < length; i++) {
    if (late->colbert) {
      left_out[i] = !query && is_skipped(late, encoding->ids[i]);
    } else {
      left_out[i] = !bare && (i < late->before || i >= length - late->behind);
    }
  }
}

bool rr_late_shape(const rr_late *late, bool query, rr_arena *arena, rr_encoding *encoding,
                   rr_input *input) {
  size_t attended = encoding->length + 1;
  if (late->colbert && !mark(late, query, arena, encoding)) {
    return false;
  }
  uint8_t *left_out = rr_arena_alloc(arena, encoding->length);
  if (left_out == NULL) {
    return false;
  }
  leave_out(late, query, encoding, left_out);
  input->left_out = left_out;
  input->rows = 0;
  for (size_t i = 0; i < encoding->length; i++) {
    input->rows += left_out[i] == 0;
  }
  bool hides = late->colbert && query && !late->form.attend_to_masks;
  input->unattended = hides ? encoding->length - attended : 0;
  return true;
}

size_t rr_late_row_size(const rr_late *late) { return late->maxsim->row_size(late->dim); }

bool rr_late_reserve(const rr_late *late, rr_arena *arena, rr_encoded *encoded) {
  size_t row_size = late->maxsim->row_size(late->dim);
  size_t queries = encoded->sequences[0].input->rows; /* or, without a query, of a text: as good */
  size_t vectors = 0; /* lengths are below 2^16 and sequences below 2^31 */
  size_t bytes;
  for (size_t i = 0; i < encoded->n_sequences; i++) {
    vectors += encoded->sequences[i].at_hand ? 0 : encoded->sequences[i].input->rows;
  }
  if (__builtin_mul_overflow(vectors, row_size, &bytes)) {
    return false;
  }
  char *rows = rr_arena_alloc(arena, bytes);
  char *packed = rr_arena_alloc(arena, late->maxsim->packed_size(queries, late->dim) + ALIGNMENT);
  float *best = rr_arena_alloc(arena, queries * sizeof *best);
  rr_late_scratch *scratch = rr_arena_alloc(arena, sizeof *scratch);
  if (rows == NULL || packed == NULL || best == NULL || scratch == NULL) {
    return false;
  }
  packed += (ALIGNMENT - (uintptr_t)packed % ALIGNMENT) % ALIGNMENT;
  *scratch = (rr_late_scratch){.packed = packed, .best = best};
  encoded->scratch = scratch;
  for (size_t i = 0; i < encoded->n_sequences; i++) {
    if (!encoded->sequences[i].at_hand) {
      encoded->sequences[i].input->vectors = rows;
      rows += encoded->sequences[i].input->rows * row_size;
    }
  }
  return true;
}

void rr_late_begin(const rr_late *late, const rr_encoded *encoded) {
  const rr_input *query = encoded->sequences[0].input;
  const rr_late_scratch *scratch = encoded->scratch;
  late->maxsim->pack(query->rows, late->dim, query->vectors, scratch->packed);
}

float rr_late_score(const rr_late *late, const rr_encoded *encoded, const rr_input *text) {
  const rr_late_scratch *scratch = encoded->scratch;
  const rr_maxsim_args args = {.queries = encoded->sequences[0].input->rows,
                               .rows = text->rows,
                               .dim = late->dim,
                               .packed = scratch->packed,
                               .tokens = text->vectors,
                               .best = scratch->best};
  late->maxsim->run(&args);
  float sum = 0.0f;
  for (size_t q = 0; q < args.queries; q++) {
    sum += args.best[q];
  }
  return sum / (float)args.queries;
}
