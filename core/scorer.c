#include "core/scorer.h"

#include <math.h>
#include <stdio.h>
#include <sys/random.h>

#include "core/base/alloc.h"
#include "core/kernel/kernel.h"
#include "core/kernel/selfcheck.h"
#include "core/model/config.h"
#include "core/model/encoder.h"
#include "core/model/shards.h"
#include "core/model/weights.h"
#include "core/scorer_file.h"
#include "core/scorer_half.h"
#include "core/scorer_identity.h"
#include "core/scorer_late.h"
#include "core/token/tokenizer.h"
#include "core/unique.h"

enum { KERNELS_TEXT_MAX = 128 };

struct rr_scorer {
  rr_model_info info; /* its strings lie in this struct or in bert's config */
  rr_tokenizer *tokenizer;
  rr_bert *bert;
  rr_scoring scoring; /* in use */
  rr_calibration calibration; /* of such scores; no knots: they are told as they are */
  rr_late late;       /* where token vectors are wanted */
  rr_half_form half;  /* where texts have halves */
  uint64_t seed; /* of the search for identical texts */
  char kernels[KERNELS_TEXT_MAX];
  rr_packs_report packs;
};

struct rr_workspace {
  const rr_scorer *scorer;
  rr_encoder *encoder;
  rr_encoder_input *inputs; /* one a token: a sequence has at least one */
};

static uint32_t smaller(uint32_t a, size_t b) { return b < a ? (uint32_t)b : a; }

static const char *const dtype_names[] = {
    [RR_DTYPE_FLOAT32] = "float32", [RR_DTYPE_BFLOAT16] = "bfloat16", [RR_DTYPE_INT8] = "int8"};

/* See RR_DTYPE_AUTO. Without instructions of its own bfloat16 costs accuracy and saves no time. */
static rr_dtype resolved(rr_dtype asked) {
  if (asked != RR_DTYPE_AUTO) {
    return asked;
  }
  return rr_gemm_is_native(rr_gemm_best(RR_FORMAT_BF16)) ? RR_DTYPE_BFLOAT16 : RR_DTYPE_FLOAT32;
}

static const char *dtype_note(const rr_load_options *options) {
  if (options->dtype != RR_DTYPE_AUTO) {
    return "as asked for";
  }
  return resolved(RR_DTYPE_AUTO) == RR_DTYPE_BFLOAT16
             ? "chosen: this CPU multiplies it, and it keeps nDCG@10 on DL 2019 within 0.002 of float32"
             : "chosen: this CPU has no instructions for bfloat16";
}

/* What is in use for what was asked for. */
static rr_status choose_scoring(rr_scoring asked, const rr_config *config, rr_scoring *ret_scoring, rr_error *err) {
  if (config->head == RR_HEAD_CLASSIFIER) {
    *ret_scoring = RR_SCORING_LOGIT;
    return asked == RR_SCORING_AUTO ? RR_OK
                                    : rr_fail(err, RR_ERR_UNSUPPORTED, "%.150s: a cross-encoder's score is its logit; "
                                              "cosine, maxsim and hybrid are a bi-encoder's", config->folder);
  }
  bool colbert = config->head == RR_HEAD_TOKENS;
  if (asked == RR_SCORING_LOGIT || (colbert && asked != RR_SCORING_AUTO && asked != RR_SCORING_MAXSIM)) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%.150s: this model has no %s to score by", config->folder,
                   asked == RR_SCORING_LOGIT ? "logit" : "vector of a whole text");
  }
  *ret_scoring = asked != RR_SCORING_AUTO ? asked : colbert ? RR_SCORING_MAXSIM : RR_SCORING_COSINE;
  return RR_OK;
}

static rr_pack_cache pack_cache_of(bool wanted, const rr_packs_report *report) {
  if (!wanted) {
    return RR_PACK_CACHE_OFF;
  }
  if (report->read) {
    return RR_PACK_CACHE_READ;
  }
  return report->written ? RR_PACK_CACHE_WRITTEN : RR_PACK_CACHE_NOT_WRITTEN;
}

static void describe(rr_scorer *scorer, const rr_load_options *options) {
  const rr_bert *bert = scorer->bert;
  const rr_config *config = &bert->config;
  bool cross_encoder = config->head == RR_HEAD_CLASSIFIER;
  const rr_gemm *gemm = bert->layers[0].intermediate.gemm;
  (void)snprintf(scorer->kernels, sizeof scorer->kernels, "%s %s, attention %s, rows %s%s%s", gemm->name,
                 rr_gemm_core(gemm), bert->attention->name, bert->rowops->name, bert->maxsim == NULL ? "" : ", ",
                 bert->maxsim == NULL ? "" : bert->maxsim->name);
  static const char *const scoring_names[] = {[RR_SCORING_LOGIT] = "logit",
                                              [RR_SCORING_COSINE] = "cosine",
                                              [RR_SCORING_MAXSIM] = "maxsim",
                                              [RR_SCORING_HYBRID] = "hybrid"};
  static const rr_pooling poolings[] = {[RR_HEAD_CLASSIFIER] = RR_POOLING_NONE,
                                        [RR_HEAD_CLS] = RR_POOLING_CLS,
                                        [RR_HEAD_MEAN] = RR_POOLING_MEAN,
                                        [RR_HEAD_TOKENS] = RR_POOLING_NONE};
  scorer->info = (rr_model_info){
      .kind = cross_encoder ? RR_CROSS_ENCODER : RR_BI_ENCODER,
      .pooling = poolings[config->head],
      .scoring = scorer->scoring,
      .scoring_name = scoring_names[scorer->scoring],
      .calibrated = scorer->calibration.knots > 0,
      .token_dim = bert->maxsim == NULL ? 0 : (uint32_t)bert->token_dim,
      .dtype = resolved(options->dtype),
      .dtype_name = dtype_names[resolved(options->dtype)],
      .dtype_note = dtype_note(options),
      .kernels = scorer->kernels,
      .split_layers = config->split.layers,
      .split_halves = config->split.layers > 0 && !config->split.joint_positions,
      .text_halves = !cross_encoder || (config->split.layers > 0 && !config->split.joint_positions),
      .label = cross_encoder ? config->label : NULL,
      .max_input_length = smaller(config->max_input_length, rr_tokenizer_max_length(scorer->tokenizer)),
      .hidden_size = config->hidden_size,
      .layers = config->layers,
      .heads = config->heads,
      .intermediate_size = config->intermediate_size,
      .vocabulary_size = config->vocabulary_size,
      .parameters = bert->parameters,
      .weight_bytes = bert->bytes,
      .pack_cache = pack_cache_of(options->pack_cache, &scorer->packs),
      .pack_note = scorer->packs.text,
  };
}

static rr_formats formats_of(rr_dtype dtype) {
  rr_format format = dtype == RR_DTYPE_INT8       ? RR_FORMAT_INT8
                     : dtype == RR_DTYPE_BFLOAT16 ? RR_FORMAT_BF16
                                                  : RR_FORMAT_FP32;
  rr_formats formats = {.of = {format, format, format, format, RR_FORMAT_FP32}};
  return formats;
}

static rr_status load_parts(const char *directory, const rr_load_options *options, rr_scorer *scorer,
                            rr_error *err) {
  rr_config config;
  rr_status status = rr_config_load(directory, &config, err);
  if (status == RR_OK) {
    status = rr_tokenizer_load(config.folder, &scorer->tokenizer, err);
  }
  if (status != RR_OK) {
    return status;
  }
  if (rr_tokenizer_id_bound(scorer->tokenizer) > config.vocabulary_size) {
    return rr_fail(err, RR_ERR_FORMAT, "%.150s: the tokenizer has ids up to %zu, the model only %u",
                   config.folder, rr_tokenizer_id_bound(scorer->tokenizer) - 1,
                   config.vocabulary_size);
  }
  if (config.split.layers > 0 && !rr_tokenizer_pair_has_sides(scorer->tokenizer)) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%.150s: split_layers need pairs like [CLS] query [SEP] document [SEP]",
                   config.folder);
  }
  rr_scorer_file file;
  status = rr_scorer_file_load(directory, &file, err);
  if (status == RR_OK) {
    status = choose_scoring(options->scoring == RR_SCORING_AUTO ? file.scoring : options->scoring, &config,
                            &scorer->scoring, err);
  }
  if (status != RR_OK) {
    return status;
  }
  if (scorer->scoring == file.scoring) {
    scorer->calibration = file.calibration;
  }
  config.token_vectors = scorer->scoring == RR_SCORING_MAXSIM || scorer->scoring == RR_SCORING_HYBRID;
  rr_formats formats = formats_of(resolved(options->dtype));
  status = rr_bert_load(&config, &formats, rr_rowops_best(), options->pack_cache ? &scorer->packs : NULL,
                        &scorer->bert, err);
  return status == RR_OK && config.token_vectors ? rr_late_init(&scorer->late, scorer->bert, scorer->tokenizer, err)
                                                 : status;
}

_Static_assert((int)RR_KERNEL_NOTE_MAX == (int)RR_SELFCHECK_TEXT_MAX, "the self-check's line fits");

rr_status rr_scorer_choose_kernels(const char *isa, char ret_note[RR_KERNEL_NOTE_MAX], rr_error *err) {
  rr_status status = rr_kernels_set_mask(isa, err);
  return status == RR_OK ? rr_selfcheck(ret_note, err) : status;
}

/* Floats; 0 where MaxSim alone scores. */
static size_t output_size(const rr_scorer *scorer) {
  return scorer->scoring == RR_SCORING_LOGIT    ? 1
         : scorer->scoring == RR_SCORING_MAXSIM ? 0
                                                : scorer->info.hidden_size;
}

static rr_half_form half_form(const rr_scorer *scorer) {
  if (scorer->info.split_halves) {
    return (rr_half_form){.row_size = (uint32_t)rr_scorer_split_size(scorer, RR_SPLIT_DOCUMENT, 1),
                          .max_length = scorer->info.max_input_length,
                          .split = true,
                          .tail = (uint32_t)rr_tokenizer_pair_tail(scorer->tokenizer)};
  }
  return (rr_half_form){.outputs = (uint32_t)output_size(scorer),
                        .row_size = scorer->bert->maxsim == NULL ? 0 : (uint32_t)rr_late_row_size(&scorer->late),
                        .max_length = scorer->info.max_input_length};
}

rr_status rr_scorer_load(const char *directory, const rr_load_options *options, rr_scorer **ret_scorer,
                         rr_error *err) {
  rr_scorer *scorer = rr_calloc(1, sizeof *scorer);
  if (scorer == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  rr_status status = load_parts(directory, options, scorer, err);
  if (status != RR_OK) {
    rr_scorer_destroy(scorer);
    return status;
  }
  if (getrandom(&scorer->seed, sizeof scorer->seed, GRND_NONBLOCK) < 0) {
    scorer->seed = (uintptr_t)scorer; /* early at boot: still not the same everywhere */
  }
  describe(scorer, options);
  scorer->half = half_form(scorer);
  *ret_scorer = scorer;
  return RR_OK;
}

void rr_scorer_destroy(rr_scorer *scorer) {
  if (scorer == NULL) {
    return;
  }
  rr_bert_destroy(scorer->bert);
  rr_tokenizer_destroy(scorer->tokenizer);
  rr_free(scorer);
}

rr_status rr_scorer_index_files(const char *path, rr_arena *arena, const char *const **ret_names,
                                size_t *ret_count, rr_error *err) {
  return rr_shards_of_index(path, arena, ret_names, ret_count, err);
}

const rr_model_info *rr_scorer_info(const rr_scorer *scorer) { return &scorer->info; }

static void keep(const rr_encoding *encoding, size_t text_tokens, rr_sequence *sequence,
                 rr_encoded *encoded) {
  sequence->ids = encoding->ids;
  sequence->type_ids = encoding->type_ids;
  sequence->length = (uint32_t)encoding->length;
  sequence->text_tokens = smaller(UINT32_MAX, text_tokens);
  sequence->dropped_tokens = smaller(UINT32_MAX, encoding->dropped);
  encoded->tokens += encoding->length;
  encoded->n_truncated += encoding->dropped > 0;
}

/* A bi-encoder's query or text as a sequence of its own. */
static rr_status encode_single(const rr_scorer *scorer, bool query, const rr_tokens *tokens, rr_truncation truncation,
                               rr_arena *arena, rr_encoding *ret_encoding, rr_sequence *sequence, rr_error *err) {
  bool late = scorer->bert->maxsim != NULL;
  if (late) {
    truncation.max_length = rr_late_room(&scorer->late, query, truncation.max_length);
  }
  rr_status status = rr_tokenizer_single(scorer->tokenizer, tokens, &truncation, arena, ret_encoding, err);
  if (status == RR_OK && late && !rr_late_shape(&scorer->late, query, arena, ret_encoding, sequence)) {
    status = rr_fail(err, RR_ERR_MEMORY, "out of memory for a sequence of %zu tokens", ret_encoding->length);
  }
  return status;
}

/* What stays the same for all texts of a request. */
typedef struct pass {
  const rr_scorer *scorer;
  const rr_encode_options *options;
  rr_truncation truncation;
  rr_tokens query;
  rr_encoding side; /* of a split model, where the uncut query leaves room: a pair of it and an empty text */
  rr_arena *arena;
} pass;

/* Makes a warm pair of a document side; false where it would have to be cut. */
static bool join_side(const pass *in, rr_sequence *sequence) {
  if (in->side.length == 0 || sequence->length > in->truncation.max_length - in->side.second) {
    return false;
  }
  sequence->ids = in->side.ids;
  sequence->type_ids = in->side.type_ids;
  sequence->split_at = (uint32_t)in->side.second;
  sequence->length += sequence->split_at;
  sequence->at_hand = false;
  rr_sequence_split_join(sequence, NULL, sequence->split_document);
  return true;
}

/* A text whose half is given. *ret_taken: whether it could be used. */
static rr_status take_half(const pass *in, size_t text, rr_sequence *sequence, rr_encoded *encoded, bool *ret_taken,
                           rr_error *err) {
  rr_sequence given;
  if (!rr_half_read(&in->scorer->half, in->options->halves[text], &given)) {
    return rr_fail(err, RR_ERR_INPUT, "the half of text %zu does not fit the model", text);
  }
  *ret_taken = !in->scorer->info.split_halves || in->options->halves_only || join_side(in, &given);
  if (!*ret_taken) {
    return RR_OK;
  }
  *sequence = given;
  encoded->tokens += sequence->length;
  encoded->n_truncated += sequence->dropped_tokens > 0;
  return RR_OK;
}

/* A bi-encoder's query is a sequence of its own: the first. */
static rr_status encode_query(const pass *in, rr_encoded *encoded, rr_error *err) {
  rr_encoding encoding;
  rr_status status = encode_single(in->scorer, true, &in->query, in->truncation, in->arena, &encoding,
                                   &encoded->sequences[0], err);
  if (status != RR_OK) {
    return status;
  }
  if (encoding.dropped > 0 && in->scorer->bert->config.head != RR_HEAD_TOKENS && in->options->strategy == RR_CUT_TEXT) {
    return rr_fail(err, RR_ERR_INPUT, "a query of %zu tokens does not fit into %zu tokens", in->query.size,
                   in->truncation.max_length);
  }
  keep(&encoding, in->query.size, &encoded->sequences[0], encoded);
  return RR_OK;
}

/* Keeps the first or last tokens of a text that has more than the caller wants. Returns how many went. */
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

/* A split model's pair; of halves_only its document side, beside an empty query. */
static rr_status encode_pair(const pass *in, const rr_tokens *tokens, rr_encoding *ret_encoding, rr_sequence *sequence,
                             rr_error *err) {
  rr_status status =
      rr_tokenizer_pair(in->scorer->tokenizer, &in->query, tokens, &in->truncation, in->arena, ret_encoding, err);
  if (status != RR_OK || in->scorer->info.split_layers == 0) {
    return status;
  }
  sequence->split_keepable = in->scorer->info.split_halves && ret_encoding->dropped == 0;
  if (!in->options->halves_only) {
    sequence->split_at = (uint32_t)ret_encoding->second;
    return RR_OK;
  }
  sequence->split_part = RR_SPLIT_DOCUMENT;
  ret_encoding->ids += ret_encoding->second;
  ret_encoding->type_ids += ret_encoding->second;
  ret_encoding->length -= ret_encoding->second;
  return RR_OK;
}

static rr_status encode_text(const pass *in, rr_text text, rr_sequence *sequence, rr_encoded *encoded,
                             rr_error *err) {
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
    status = encode_single(in->scorer, false, &tokens, in->truncation, in->arena, &encoding, sequence, err);
  } else if (in->options->alone) {
    status = rr_tokenizer_single(tokenizer, &tokens, &in->truncation, in->arena, &encoding, err);
  } else {
    status = encode_pair(in, &tokens, &encoding, sequence, err);
  }
  if (status == RR_OK) {
    encoding.dropped += cut;
    keep(&encoding, text_tokens, sequence, encoded);
  }
  return status;
}

static bool has_query_sequence(const rr_scorer *scorer, const rr_encode_options *options) {
  return scorer->info.kind == RR_BI_ENCODER && !options->halves_only;
}

/* The query's side of warm pairs. */
static rr_status encode_side(pass *in, rr_error *err) {
  static const rr_tokens none = {NULL, 0};
  const rr_tokenizer *tokenizer = in->scorer->tokenizer;
  bool wanted = in->scorer->info.split_halves && in->options->halves != NULL && !in->options->halves_only;
  size_t specials = rr_tokenizer_pair_specials(tokenizer);
  if (!wanted || specials > in->truncation.max_length || in->query.size > in->truncation.max_length - specials) {
    return RR_OK;
  }
  return rr_tokenizer_pair(tokenizer, &in->query, &none, &in->truncation, in->arena, &in->side, err);
}

/* Text i, which was not met before. */
static rr_status encode_or_take(const pass *in, const rr_text *texts, size_t i, rr_sequence *sequence,
                                rr_encoded *encoded, rr_error *err) {
  const rr_half *halves = in->options->alone ? NULL : in->options->halves;
  bool taken = false;
  rr_status status = halves != NULL && halves[i].data != NULL ? take_half(in, i, sequence, encoded, &taken, err) : RR_OK;
  return status != RR_OK || taken ? status : encode_text(in, texts[i], sequence, encoded, err);
}

/* sequence_of: the texts' numbers as rr_unique_texts gives them; raised to sequence indices here. */
static rr_status encode_all(pass *in, rr_text query, const rr_text *texts, uint32_t *sequence_of,
                            rr_encoded *encoded, rr_error *err) {
  const rr_tokenizer *tokenizer = in->scorer->tokenizer;
  uint32_t next = has_query_sequence(in->scorer, in->options);
  rr_status status = in->options->halves_only
                         ? RR_OK
                         : rr_tokenizer_tokens(tokenizer, query, in->arena, &in->query, err);
  if (status == RR_OK && next > 0) {
    status = encode_query(in, encoded, err);
  }
  status = status == RR_OK ? encode_side(in, err) : status;
  bool room = in->query.size + rr_tokenizer_pair_specials(tokenizer) < in->truncation.max_length;
  in->truncation.only_second = in->options->strategy == RR_CUT_TEXT ||
                               (in->options->strategy == RR_CUT_TEXT_IF_POSSIBLE && room);
  uint32_t first = next;
  size_t culprit = RR_CULPRIT_QUERY;
  for (size_t i = 0; status == RR_OK && i < encoded->n_candidates; i++) {
    sequence_of[i] += first;
    if (sequence_of[i] == next) { /* not met before */
      culprit = in->truncation.only_second && !room ? RR_CULPRIT_QUERY : i;
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
  size_t size = output_size(scorer);
  float *outputs = size == 0 ? NULL : rr_arena_calloc(arena, encoded->n_sequences, size * sizeof *outputs);
  for (size_t i = 0; outputs != NULL && i < encoded->n_sequences; i++) {
    if (!encoded->sequences[i].at_hand) {
      encoded->sequences[i].output = outputs + i * size;
    }
  }
  return (outputs != NULL || size == 0) &&
         (scorer->bert->maxsim == NULL || rr_late_reserve(&scorer->late, arena, encoded));
}

rr_status rr_scorer_encode(const rr_scorer *scorer, rr_text query, const rr_text *texts, size_t n_texts,
                           const rr_encode_options *options, rr_arena *arena, rr_encoded *ret_encoded,
                           rr_error *err) {
  if (options->alone && scorer->info.kind == RR_BI_ENCODER) {
    return rr_fail(err, RR_ERR_INPUT, "a bi-encoder scores pairs only");
  }
  if ((options->halves_only || options->halves != NULL) && !scorer->info.text_halves) {
    return rr_fail(err, RR_ERR_INPUT, "a cross-encoder's texts have no halves");
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
  encoded.sequences = rr_arena_calloc(arena, encoded.n_sequences, sizeof *encoded.sequences);
  if (encoded.sequences == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for %zu sequences", encoded.n_sequences);
  }
  pass in = {.scorer = scorer, .options = options, .arena = arena};
  in.truncation.max_length = options->max_length == 0
                                 ? scorer->info.max_input_length
                                 : smaller(scorer->info.max_input_length, options->max_length);
  in.truncation.enabled = options->truncate;
  in.truncation.left = options->side == RR_TRUNCATE_LEFT;
  rr_status status = encode_all(&in, query, texts, sequence_of, &encoded, err);
  if (status != RR_OK) {
    return status;
  }
  if (!reserve_outputs(scorer, arena, &encoded)) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the outputs of %zu sequences", encoded.n_sequences);
  }
  *ret_encoded = encoded;
  return RR_OK;
}

size_t rr_scorer_half_bytes(const rr_scorer *scorer, const rr_sequence *sequence) {
  return scorer->info.text_halves ? rr_half_bytes(&scorer->half, sequence) : 0;
}

void rr_scorer_half_write(const rr_scorer *scorer, const rr_sequence *sequence, void *ret_bytes) {
  rr_half_write(&scorer->half, sequence, ret_bytes);
}

void rr_scorer_half_place(const rr_scorer *scorer, rr_sequence *sequence, void *bytes) {
  rr_half_place(&scorer->half, sequence, bytes);
}

bool rr_scorer_half_fits(const rr_scorer *scorer, rr_half half) {
  rr_sequence unused;
  return scorer->info.text_halves && rr_half_read(&scorer->half, half, &unused);
}

rr_status rr_scorer_fingerprint(const rr_scorer *scorer, uint8_t ret_fingerprint[RR_FINGERPRINT_BYTES],
                                rr_error *err) {
  const rr_gemm *projection = scorer->bert->projection.gemm;
  const char *const choices[] = {scorer->info.scoring_name, scorer->info.dtype_name, scorer->kernels,
                                 projection == NULL ? "" : projection->name};
  const uint32_t numbers[] = {scorer->info.kind, scorer->info.pooling, scorer->info.max_input_length};
  return rr_identify_model(scorer->bert->config.folder, choices, sizeof choices / sizeof choices[0], numbers,
                           sizeof numbers / sizeof numbers[0], ret_fingerprint, err);
}

rr_status rr_workspace_create(const rr_scorer *scorer, size_t max_tokens, rr_workspace **ret_workspace,
                              rr_error *err) {
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

static bool is_half(const rr_sequence *sequence) {
  return sequence->split_part == RR_SPLIT_QUERY || sequence->split_part == RR_SPLIT_DOCUMENT;
}

static rr_encoder_input input_of(const rr_sequence *sequence) {
  static const rr_part parts[] = {[RR_SPLIT_WHOLE] = RR_PART_WHOLE,
                                  [RR_SPLIT_WARM] = RR_PART_WARM,
                                  [RR_SPLIT_JOINT] = RR_PART_JOINT,
                                  [RR_SPLIT_QUERY] = RR_PART_QUERY,
                                  [RR_SPLIT_DOCUMENT] = RR_PART_DOCUMENT};
  return (rr_encoder_input){
      .part = parts[sequence->split_part],
      .second = sequence->split_at,
      .query_half = sequence->split_query,
      .document_half = sequence->split_document,
      .ids = sequence->ids,
      .type_ids = sequence->type_ids,
      .length = sequence->length,
      .unattended = sequence->unattended,
      .output = sequence->output,
      .vectors = sequence->vectors,
      .left_out = sequence->left_out,
  };
}

rr_status rr_scorer_forward(rr_workspace *workspace, rr_sequence *const *sequences, size_t n,
                            rr_error *err) {
  if (n > rr_encoder_max_tokens(workspace->encoder)) {
    return rr_fail(err, RR_ERR_INPUT, "the micro-batch has more than %zu tokens",
                   rr_encoder_max_tokens(workspace->encoder));
  }
  size_t inputs = 0;
  for (size_t halves = 0; halves < 2; halves++) { /* pairs first, as the encoder wants them */
    for (size_t i = 0; i < n; i++) {
      if (!sequences[i]->at_hand && is_half(sequences[i]) == (halves == 1)) {
        workspace->inputs[inputs++] = input_of(sequences[i]);
      }
    }
  }
  return inputs == 0 ? RR_OK : rr_encoder_forward(workspace->encoder, workspace->inputs, inputs, err);
}

float rr_scorer_score(const rr_scorer *scorer, float raw_score) {
  /* A sigmoid would make an infinite logit look like a score. */
  if (!isfinite(raw_score)) {
    return raw_score;
  }
  if (scorer->info.kind == RR_CROSS_ENCODER) {
    return 1.0f / (1.0f + expf(-raw_score));
  }
  return scorer->calibration.knots == 0 ? raw_score : rr_calibrated(&scorer->calibration, raw_score);
}

static float raw_score(const rr_scorer *scorer, const rr_encoded *encoded, size_t candidate) {
  if (scorer->info.kind == RR_CROSS_ENCODER) {
    return encoded->sequences[encoded->sequence_of[candidate]].output[0];
  }
  const rr_sequence *query = &encoded->sequences[0];
  const rr_sequence *text = &encoded->sequences[encoded->sequence_of[candidate]];
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

rr_status rr_scorer_scores(const rr_scorer *scorer, const rr_encoded *encoded, bool raw, float *scores,
                           rr_error *err) {
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
static rr_status forward_all(rr_workspace *workspace, const rr_encoded *encoded, rr_sequence **batch,
                             rr_error *err) {
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

rr_status rr_scorer_rerank(rr_workspace *workspace, rr_text query, const rr_text *texts, size_t n_texts,
                           const rr_encode_options *options, bool raw, float *scores, rr_error *err) {
  rr_arena arena;
  rr_encoded encoded;
  rr_arena_init(&arena, SIZE_MAX);
  rr_status status = rr_scorer_encode(workspace->scorer, query, texts, n_texts, options, &arena,
                                      &encoded, err);
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
