#include "core/scorer.h"

#include <stdio.h>
#include <sys/random.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "core/files/shards.h"
#include "core/kernel/kernel.h"
#include "core/kernel/selfcheck.h"
#include "core/model/config.h"
#include "core/score/identity.h"
#include "core/score/internal.h"

static uint32_t smaller(uint32_t a, size_t b) { return b < a ? (uint32_t)b : a; }

static const char *const dtype_names[] = {
    [RR_DTYPE_FLOAT32] = "float32", [RR_DTYPE_BFLOAT16] = "bfloat16", [RR_DTYPE_INT8] = "int8"};

/* RR_DTYPE_AUTO asks for the fastest on this CPU that keeps nDCG@10 on TREC DL 2019 within 0.002 of
 * float32. That is bfloat16 where there are instructions for it: without, it costs accuracy and
 * saves no time. It is not int8, which moved it by 0.0017 to 0.0031 on all-MiniLM-L6-v2 (upwards)
 * and by -0.0035 to 0.0012 on a cross-encoder with a random head, as its kernels round. */
static rr_dtype resolved(rr_dtype asked) {
  if (asked != RR_DTYPE_AUTO) {
    return asked;
  }
  return rr_scorer_multiplies_bfloat16() ? RR_DTYPE_BFLOAT16 : RR_DTYPE_FLOAT32;
}

static const char *dtype_note(const rr_load_options *options) {
  if (options->dtype != RR_DTYPE_AUTO) {
    return "as asked for";
  }
  return resolved(RR_DTYPE_AUTO) == RR_DTYPE_BFLOAT16
             ? "chosen: this CPU multiplies it, and it keeps nDCG@10 on DL 2019 within 0.002 of "
               "float32"
             : "chosen: this CPU has no instructions for bfloat16";
}

/* What is in use for what was asked for. */
static rr_status choose_scoring(rr_scoring asked, const rr_config *config, rr_scoring *ret_scoring,
                                rr_error *err) {
  if (config->head == RR_HEAD_CLASSIFIER) {
    *ret_scoring = RR_SCORING_LOGIT;
    return asked == RR_SCORING_AUTO ? RR_OK
                                    : rr_fail(err, RR_ERR_UNSUPPORTED,
                                              "%.150s: a cross-encoder's score is its logit; "
                                              "cosine, maxsim and hybrid are a bi-encoder's",
                                              config->folder);
  }
  bool colbert = config->head == RR_HEAD_TOKENS;
  if (asked == RR_SCORING_LOGIT ||
      (colbert && asked != RR_SCORING_AUTO && asked != RR_SCORING_MAXSIM)) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%.150s: this model has no %s to score by",
                   config->folder, asked == RR_SCORING_LOGIT ? "logit" : "vector of a whole text");
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
  (void)snprintf(scorer->kernels, sizeof scorer->kernels, "%s %s, attention %s, rows %s%s%s",
                 gemm->name, rr_gemm_core(gemm), bert->attention->name, bert->rowops->name,
                 bert->maxsim == NULL ? "" : ", ", bert->maxsim == NULL ? "" : bert->maxsim->name);
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
      .keeps_texts = rr_keeps_texts(config),
      .label = cross_encoder ? config->label : NULL,
      .max_input_length =
          smaller(config->max_input_length, rr_tokenizer_max_length(scorer->tokenizer)),
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

/* What the model's own file and the options ask for. */
static rr_status read_scoring(const char *directory, const rr_load_options *options,
                              const rr_config *config, rr_scorer *scorer, rr_error *err) {
  rr_scorer_file file;
  rr_status status = rr_scorer_file_load(directory, &file, err);
  if (status == RR_OK) {
    status = choose_scoring(options->scoring == RR_SCORING_AUTO ? file.scoring : options->scoring,
                            config, &scorer->scoring, err);
  }
  if (status == RR_OK && scorer->scoring == file.scoring) {
    scorer->calibration = file.calibration;
  }
  return status;
}

static rr_status read_tokenizer(const rr_config *config, rr_scorer *scorer, rr_error *err) {
  rr_status status = rr_tokenizer_load(config->folder, &scorer->tokenizer, err);
  if (status != RR_OK) {
    return status;
  }
  if (rr_tokenizer_id_bound(scorer->tokenizer) > config->vocabulary_size) {
    return rr_fail(err, RR_ERR_FORMAT, "%.150s: the tokenizer has ids up to %zu, the model only %u",
                   config->folder, rr_tokenizer_id_bound(scorer->tokenizer) - 1,
                   config->vocabulary_size);
  }
  if (config->split.layers > 0 && !rr_tokenizer_pair_has_sides(scorer->tokenizer)) {
    return rr_fail(err, RR_ERR_UNSUPPORTED,
                   "%.150s: split_layers need pairs like [CLS] query [SEP] document [SEP]",
                   config->folder);
  }
  return RR_OK;
}

static rr_status load_parts(const char *directory, const rr_load_options *options,
                            rr_scorer *scorer, rr_error *err) {
  rr_config config;
  rr_status status = rr_config_load(directory, &config, err);
  if (status == RR_OK) {
    status = read_tokenizer(&config, scorer, err);
  }
  if (status == RR_OK) {
    status = read_scoring(directory, options, &config, scorer, err);
  }
  if (status != RR_OK) {
    return status;
  }
  config.token_vectors =
      scorer->scoring == RR_SCORING_MAXSIM || scorer->scoring == RR_SCORING_HYBRID;
  rr_formats formats = formats_of(resolved(options->dtype));
  status = rr_bert_load(&config, &formats, rr_rowops_best(),
                        options->pack_cache ? &scorer->packs : NULL, &scorer->bert, err);
  return status == RR_OK && config.token_vectors
             ? rr_late_init(&scorer->late, scorer->bert, scorer->tokenizer, err)
             : status;
}

_Static_assert((int)RR_KERNEL_NOTE_MAX == (int)RR_SELFCHECK_TEXT_MAX, "the self-check's line fits");

void rr_init(void) { rr_json_init(); }

rr_status rr_scorer_choose_kernels(const char *isa, char ret_note[RR_KERNEL_NOTE_MAX],
                                   rr_error *err) {
  rr_status status = rr_kernels_set_mask(isa, err);
  return status == RR_OK ? rr_selfcheck(ret_note, err) : status;
}

size_t rr_scorer_output_size(const rr_scorer *scorer) {
  return scorer->scoring == RR_SCORING_LOGIT    ? 1
         : scorer->scoring == RR_SCORING_MAXSIM ? 0
                                                : scorer->info.hidden_size;
}

rr_status rr_scorer_load(const char *directory, const rr_load_options *options,
                         rr_scorer **ret_scorer, rr_error *err) {
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
  if (scorer->info.keeps_texts) {
    scorer->kept = rr_kept_form_of(scorer);
  }
  *ret_scorer = scorer;
  return RR_OK;
}

rr_status rr_scorer_check(const char *directory, const rr_load_options *options,
                          bool with_tokenizer, bool *ret_keeps_texts, rr_error *err) {
  rr_config config;
  rr_scorer *front = rr_calloc(1, sizeof *front);
  if (front == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  rr_status status = rr_config_peek(directory, &config, err);
  if (status == RR_OK && with_tokenizer) {
    status = read_tokenizer(&config, front, err);
  }
  if (status == RR_OK) {
    status = read_scoring(directory, options, &config, front, err);
  }
  rr_scorer_destroy(front);
  if (status == RR_OK) {
    *ret_keeps_texts = rr_keeps_texts(&config);
  }
  return status;
}

bool rr_scorer_multiplies_bfloat16(void) { return rr_gemm_is_native(rr_gemm_best(RR_FORMAT_BF16)); }

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

rr_status rr_scorer_fingerprint(const rr_scorer *scorer,
                                uint8_t ret_fingerprint[RR_FINGERPRINT_BYTES], rr_error *err) {
  const rr_gemm *projection = scorer->bert->projection.gemm;
  const char *const choices[] = {scorer->info.scoring_name, scorer->info.dtype_name,
                                 scorer->kernels, projection == NULL ? "" : projection->name};
  const uint32_t numbers[] = {scorer->info.kind, scorer->info.pooling,
                              scorer->info.max_input_length};
  return rr_identify_model(scorer->bert->config.folder, choices, sizeof choices / sizeof choices[0],
                           numbers, sizeof numbers / sizeof numbers[0], ret_fingerprint, err);
}
