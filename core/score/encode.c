/* From texts to sequences of tokens. */
#include "core/score/internal.h"
#include "core/score/unique.h"
#include "core/scorer.h"

static uint32_t smaller(uint32_t a, size_t b) { return b < a ? (uint32_t)b : a; }

static void keep(const rr_encoding *encoding, size_t text_tokens, rr_sequence *sequence,
                 rr_encoded *encoded) {
  sequence->input->ids = encoding->ids;
  sequence->input->type_ids = encoding->type_ids;
  sequence->input->length = encoding->length;
  sequence->length = (uint32_t)encoding->length;
  sequence->text_tokens = smaller(UINT32_MAX, text_tokens);
  sequence->dropped_tokens = smaller(UINT32_MAX, encoding->dropped);
  encoded->tokens += encoding->length;
  encoded->n_truncated += encoding->dropped > 0;
}

/* A bi-encoder's query or text as a sequence of its own. */
static rr_status encode_single(const rr_scorer *scorer, bool query, const rr_tokens *tokens,
                               rr_truncation truncation, rr_arena *arena, rr_encoding *ret_encoding,
                               rr_input *input, rr_error *err) {
  bool late = scorer->bert->maxsim != NULL;
  if (late) {
    truncation.max_length = rr_late_room(&scorer->late, query, truncation.max_length);
  }
  rr_status status =
      rr_tokenizer_single(scorer->tokenizer, tokens, &truncation, arena, ret_encoding, err);
  if (status == RR_OK && late && !rr_late_shape(&scorer->late, query, arena, ret_encoding, input)) {
    status = rr_fail(err, RR_ERR_MEMORY, "out of memory for a sequence of %zu tokens",
                     ret_encoding->length);
  }
  return status;
}

/* What stays the same for all texts of a request. */
typedef struct pass {
  const rr_scorer *scorer;
  const rr_encode_options *options;
  rr_truncation truncation;
  rr_tokens query;
  rr_encoding side; /* of a split model, where the uncut query leaves room: a pair of it and an
                       empty text */
  rr_arena *arena;
} pass;

/* Makes a warm pair of a document side; false where it would have to be cut. */
static bool join_side(const pass *in, rr_sequence *sequence) {
  rr_input *input = sequence->input;
  if (in->side.length == 0 || sequence->length > in->truncation.max_length - in->side.split_at) {
    return false;
  }
  input->part = RR_PART_WARM;
  input->ids = in->side.ids;
  input->type_ids = in->side.type_ids;
  input->split_at = in->side.split_at;
  input->length += in->side.split_at;
  sequence->length = (uint32_t)input->length;
  sequence->at_hand = false;
  return true;
}

/* A text whose kept state is given. *ret_taken: whether it could be used. */
static rr_status take_kept(const pass *in, size_t text, rr_sequence *sequence, rr_encoded *encoded,
                           bool *ret_taken, rr_error *err) {
  const rr_kept_form *form = &in->scorer->kept;
  rr_input input;
  rr_sequence given = {.input = &input};
  if (!rr_kept_read(form, in->options->kept[text], &given)) {
    return rr_fail(err, RR_ERR_INPUT, "the kept state of text %zu does not fit the model", text);
  }
  *ret_taken = !form->pairs || in->options->kept_only || join_side(in, &given);
  if (!*ret_taken) {
    return RR_OK;
  }
  *sequence->input = input;
  given.input = sequence->input;
  *sequence = given;
  encoded->tokens += sequence->length;
  encoded->n_truncated += sequence->dropped_tokens > 0;
  return RR_OK;
}

/* A bi-encoder's query is a sequence of its own: the first. */
static rr_status encode_query(const pass *in, rr_encoded *encoded, rr_error *err) {
  rr_encoding encoding;
  rr_status status = encode_single(in->scorer, true, &in->query, in->truncation, in->arena,
                                   &encoding, encoded->sequences[0].input, err);
  if (status != RR_OK) {
    return status;
  }
  if (encoding.dropped > 0 && in->scorer->bert->config.head != RR_HEAD_TOKENS &&
      in->options->cut == RR_CUT_TEXT) {
    return rr_fail(err, RR_ERR_INPUT, "a query of %zu tokens does not fit into %zu tokens",
                   in->query.size, in->truncation.max_length);
  }
  keep(&encoding, in->query.size, &encoded->sequences[0], encoded);
  return RR_OK;
}

/* Keeps the first or last tokens of a text that has more than the caller wants. Returns how many
 * went. */
static size_t cut_text(const rr_encode_options *options, rr_tokens *tokens) {
  size_t most = options->max_text_tokens;
  if (most == 0 || tokens->size <= most) {
    return 0;
  }
  size_t cut = tokens->size - most;
  tokens->ids += options->side == RR_TRUNCATE_LEFT ? cut : 0;
  tokens->size = most;
  return cut;
}

/* A cross-encoder's pair; of kept_only its document side, beside an empty query. */
static rr_status encode_pair(const pass *in, const rr_tokens *tokens, rr_encoding *ret_encoding,
                             rr_input *input, rr_error *err) {
  rr_status status = rr_tokenizer_pair(in->scorer->tokenizer, &in->query, tokens, &in->truncation,
                                       in->arena, ret_encoding, err);
  if (status != RR_OK || in->scorer->info.split_layers == 0) {
    return status;
  }
  size_t first = ret_encoding->split_at;
  input->rows = ret_encoding->dropped == 0 ? (uint32_t)(ret_encoding->length - first) : 0;
  if (!in->options->kept_only) {
    input->split_at = first;
    return RR_OK;
  }
  input->part = RR_PART_DOCUMENT;
  ret_encoding->ids += first;
  ret_encoding->type_ids += first;
  ret_encoding->length -= first;
  return RR_OK;
}

static rr_status encode_text(const pass *in, rr_text text, rr_sequence *sequence,
                             rr_encoded *encoded, rr_error *err) {
  const rr_tokenizer *tokenizer = in->scorer->tokenizer;
  rr_tokens tokens;
  rr_encoding encoding;
  rr_status status = rr_tokenizer_tokens(tokenizer, text, in->arena, &tokens, err);
  if (status != RR_OK) {
    return status;
  }
  size_t text_tokens = tokens.size;
  size_t cut = cut_text(in->options, &tokens);
  if (in->scorer->info.kind == RR_BI_ENCODER) {
    status = encode_single(in->scorer, false, &tokens, in->truncation, in->arena, &encoding,
                           sequence->input, err);
  } else if (in->options->alone) {
    status = rr_tokenizer_single(tokenizer, &tokens, &in->truncation, in->arena, &encoding, err);
  } else {
    status = encode_pair(in, &tokens, &encoding, sequence->input, err);
  }
  if (status == RR_OK) {
    encoding.dropped += cut;
    keep(&encoding, text_tokens, sequence, encoded);
  }
  return status;
}

static bool has_query_sequence(const rr_scorer *scorer, const rr_encode_options *options) {
  return scorer->info.kind == RR_BI_ENCODER && !options->kept_only;
}

/* The query's side of warm pairs. */
static rr_status encode_side(pass *in, rr_error *err) {
  static const rr_tokens none = {NULL, 0};
  const rr_tokenizer *tokenizer = in->scorer->tokenizer;
  bool wanted = in->scorer->kept.pairs && in->options->kept != NULL && !in->options->kept_only;
  size_t specials = rr_tokenizer_pair_specials(tokenizer);
  if (!wanted || specials > in->truncation.max_length ||
      in->query.size > in->truncation.max_length - specials) {
    return RR_OK;
  }
  return rr_tokenizer_pair(tokenizer, &in->query, &none, &in->truncation, in->arena, &in->side,
                           err);
}

/* Text i, which was not met before. */
static rr_status encode_or_take(const pass *in, const rr_text *texts, size_t i,
                                rr_sequence *sequence, rr_encoded *encoded, rr_error *err) {
  const rr_kept *kept = in->options->alone ? NULL : in->options->kept;
  bool taken = false;
  rr_status status = kept != NULL && kept[i].data != NULL
                         ? take_kept(in, i, sequence, encoded, &taken, err)
                         : RR_OK;
  return status != RR_OK || taken ? status : encode_text(in, texts[i], sequence, encoded, err);
}

/* sequence_of: the texts' numbers as rr_unique_texts gives them; raised to sequence indices
 * here. */
static rr_status encode_all(pass *in, rr_text query, const rr_text *texts, uint32_t *sequence_of,
                            rr_encoded *encoded, rr_error *err) {
  const rr_tokenizer *tokenizer = in->scorer->tokenizer;
  uint32_t next = has_query_sequence(in->scorer, in->options);
  rr_status status = in->options->kept_only
                         ? RR_OK
                         : rr_tokenizer_tokens(tokenizer, query, in->arena, &in->query, err);
  if (status == RR_OK && next > 0) {
    status = encode_query(in, encoded, err);
  }
  status = status == RR_OK ? encode_side(in, err) : status;
  bool room = in->query.size + rr_tokenizer_pair_specials(tokenizer) < in->truncation.max_length;
  uint32_t first = next;
  size_t culprit = RR_CULPRIT_QUERY;
  for (size_t i = 0; status == RR_OK && i < encoded->n_candidates; i++) {
    sequence_of[i] += first;
    if (sequence_of[i] == next) { /* not met before */
      culprit = in->options->cut == RR_CUT_TEXT && !room ? RR_CULPRIT_QUERY : i;
      status = encode_or_take(in, texts, i, &encoded->sequences[next++], encoded, err);
    }
  }
  if (status == RR_ERR_INPUT && in->options->ret_culprit != NULL) {
    *in->options->ret_culprit = culprit;
  }
  return status;
}

/* Where the outputs go, now that all lengths are known. */
static bool reserve_outputs(const rr_scorer *scorer, rr_arena *arena, rr_encoded *encoded) {
  size_t size = rr_scorer_output_size(scorer);
  float *outputs =
      size == 0 ? NULL : rr_arena_calloc(arena, encoded->n_sequences, size * sizeof *outputs);
  for (size_t i = 0; outputs != NULL && i < encoded->n_sequences; i++) {
    if (!encoded->sequences[i].at_hand) {
      encoded->sequences[i].input->output = outputs + i * size;
    }
  }
  return (outputs != NULL || size == 0) &&
         (scorer->bert->maxsim == NULL || rr_late_reserve(&scorer->late, arena, encoded));
}

static rr_sequence *make_sequences(rr_arena *arena, size_t n) {
  rr_sequence *sequences = rr_arena_calloc(arena, n, sizeof *sequences);
  rr_input *inputs = rr_arena_calloc(arena, n, sizeof *inputs);
  if (sequences == NULL || inputs == NULL) {
    return NULL;
  }
  for (size_t i = 0; i < n; i++) {
    sequences[i].input = &inputs[i];
  }
  return sequences;
}

rr_status rr_scorer_encode(const rr_scorer *scorer, rr_text query, const rr_text *texts,
                           size_t n_texts, const rr_encode_options *options, rr_arena *arena,
                           rr_encoded *ret_encoded, rr_error *err) {
  if (options->alone && scorer->info.kind == RR_BI_ENCODER) {
    return rr_fail(err, RR_ERR_INPUT, "a bi-encoder scores pairs only");
  }
  if ((options->kept_only || options->kept != NULL) && !scorer->info.keeps_texts) {
    return rr_fail(err, RR_ERR_INPUT, "this model keeps no texts");
  }
  if (n_texts == 0 || n_texts > INT32_MAX) {
    return rr_fail(err, RR_ERR_INPUT, "at least one text is needed, and at most %d", INT32_MAX);
  }
  size_t unique = 0;
  uint32_t *sequence_of = rr_unique_texts(texts, n_texts, scorer->seed, arena, &unique);
  if (sequence_of == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for %zu texts", n_texts);
  }
  rr_encoded encoded = {.n_candidates = n_texts, .sequence_of = sequence_of};
  encoded.n_sequences = unique + (has_query_sequence(scorer, options) ? 1 : 0);
  encoded.sequences = make_sequences(arena, encoded.n_sequences);
  if (encoded.sequences == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for %zu sequences", encoded.n_sequences);
  }
  pass in = {.scorer = scorer, .options = options, .arena = arena};
  in.truncation.max_length = options->max_length == 0
                                 ? scorer->info.max_input_length
                                 : smaller(scorer->info.max_input_length, options->max_length);
  in.truncation.enabled = options->truncate;
  in.truncation.cut = options->cut;
  in.truncation.left = options->side == RR_TRUNCATE_LEFT;
  rr_status status = encode_all(&in, query, texts, sequence_of, &encoded, err);
  if (status != RR_OK) {
    return status;
  }
  if (!reserve_outputs(scorer, arena, &encoded)) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the outputs of %zu sequences",
                   encoded.n_sequences);
  }
  *ret_encoded = encoded;
  return RR_OK;
}
