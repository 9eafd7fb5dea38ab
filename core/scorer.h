/* The one inference header: a model directory in, relevance scores out. Everything that knows
 * tokens, tensors or kernels lives behind it.
 *
 * Life of a request:
 *   rr_scorer_encode   texts -> token sequences                  (any thread, per request)
 *   rr_scorer_forward  any mix of sequences -> their outputs     (one thread per workspace)
 *   rr_scorer_scores   a request's outputs -> one score a text   (any thread, afterwards)
 *
 * Kept state is what a text leaves behind that serves any number of queries, as plain bytes: a
 * bi-encoder's vectors, or what the split layers of a cross-encoder make of a document. A text
 * whose kept state is given to rr_scorer_encode is not tokenized, and not computed or only in part;
 * its scores are the same to the bit.
 *
 * Threads and ownership:
 * 1. An rr_scorer is immutable once loaded; any number of threads may use it at once.
 * 2. An rr_workspace belongs to one thread at a time. rr_scorer_forward allocates nothing.
 * 3. What rr_scorer_encode returns lives in the caller's arena and borrows given kept states alone.
 * 4. Distinct sequences may be computed by distinct threads at the same time, each written once;
 *    the caller orders those writes before rr_scorer_scores (a mutex or a join).
 */
#ifndef RR_CORE_SCORER_H
#define RR_CORE_SCORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/cut.h"
#include "core/base/status.h"
#include "core/base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rr_scorer rr_scorer;
typedef struct rr_workspace rr_workspace;

typedef enum rr_model_kind {
  RR_CROSS_ENCODER, /* one logit a (query, text) pair; default score: sigmoid(logit) */
  RR_BI_ENCODER,    /* a vector a text, or one a token; score: as rr_scoring says */
} rr_model_kind;

/* What a bi-encoder's score is made of, each from -1 to 1: the cosine of the query's and the text's
 * vector; MaxSim, late interaction, the mean over the query's tokens of the largest product with a
 * token of the text (core/score/late.h); hybrid, (2 MaxSim + cosine) / 3. */
typedef enum rr_scoring {
  RR_SCORING_AUTO,   /* asks for what rerankd.json says; without one a ColBERT's MaxSim, another
                      * bi-encoder's cosine, a cross-encoder's logit */
  RR_SCORING_LOGIT,  /* of a cross-encoder; cannot be asked for */
  RR_SCORING_COSINE, /* not of a ColBERT */
  RR_SCORING_MAXSIM,
  RR_SCORING_HYBRID, /* not of a ColBERT */
} rr_scoring;

typedef enum rr_pooling { RR_POOLING_NONE, RR_POOLING_CLS, RR_POOLING_MEAN } rr_pooling;

/* What the linear layers compute in, and attention unless that is float32; the rest is float32. */
typedef enum rr_dtype {
  RR_DTYPE_FLOAT32,
  RR_DTYPE_BFLOAT16,
  RR_DTYPE_INT8, /* what reads few rows and [CLS] rows are computed more exactly */
  RR_DTYPE_AUTO, /* asks for bfloat16 where this CPU has instructions for it, else float32 */
} rr_dtype;

/* Drops a text's last tokens, or its first ones. */
typedef enum rr_truncation_side { RR_TRUNCATE_RIGHT, RR_TRUNCATE_LEFT } rr_truncation_side;

typedef struct rr_load_options {
  rr_dtype dtype;
  rr_scoring scoring; /* RR_ERR_UNSUPPORTED where the model has no such score */
  bool pack_cache;    /* keep the packed weights in a file beside the model, ".rerankd-...", for the
                       * next load; that it cannot be read or written is no error */
} rr_load_options;

typedef enum rr_pack_cache {
  RR_PACK_CACHE_OFF,         /* not asked for */
  RR_PACK_CACHE_READ,        /* the weights came from the file */
  RR_PACK_CACHE_WRITTEN,     /* they were packed, and the file written */
  RR_PACK_CACHE_NOT_WRITTEN, /* they were packed, and the file could not be written */
} rr_pack_cache;

typedef struct rr_model_info {
  rr_model_kind kind;
  rr_pooling pooling;        /* RR_POOLING_NONE for a cross-encoder and a ColBERT */
  rr_scoring scoring;        /* in use: never RR_SCORING_AUTO */
  const char *scoring_name;  /* "logit", "cosine", "maxsim", "hybrid" */
  bool calibrated;           /* scores are probabilities by rerankd.json's map, unless raw */
  uint32_t token_dim;        /* of the token vectors that MaxSim reads; 0: none */
  rr_dtype dtype;            /* in use: never RR_DTYPE_AUTO */
  const char *dtype_name;    /* "float32", "bfloat16", "int8" */
  const char *dtype_note;    /* why it is in use, for people */
  const char *kernels;       /* for people: "openblas SkylakeX, rows avx512" */
  uint32_t split_layers;     /* the first so many see query and text apart; else 0 */
  bool keeps_texts;          /* texts have kept state (core/score/kept.h) */
  const char *label;         /* a cross-encoder's one label ("LABEL_0"), else NULL */
  uint32_t max_input_length; /* tokens of a sequence, special ones included */
  uint32_t hidden_size;
  uint32_t layers;
  uint32_t heads;
  uint32_t intermediate_size;
  uint32_t vocabulary_size;
  uint64_t parameters;      /* weights used, counted once each */
  uint64_t weight_bytes;    /* memory of the packed weights, biases and embeddings */
  rr_pack_cache pack_cache; /* what came of rr_load_options.pack_cache */
  const char *pack_note;    /* the same as a line for people; "" if it was not asked for */
} rr_model_info;

/* One sequence of tokens: what is scheduled and computed. Written by rr_scorer_encode alone. */
typedef struct rr_sequence {
  uint32_t length;         /* tokens, special ones included; max_input_length or fewer, but of a
                            * ColBERT's query query_maxlen */
  uint32_t text_tokens;    /* the text's own, before truncation and without special tokens */
  uint32_t dropped_tokens; /* how many truncation removed, of text and query */
  bool at_hand;            /* there is nothing to compute */
  struct rr_input *input;  /* the core's own */
} rr_sequence;

/* A request's sequences: one for each different text, and before those, for a bi-encoder, the
 * query's. Candidate i is sequences[sequence_of[i]]: identical texts share one and get the same
 * score. */
typedef struct rr_encoded {
  rr_sequence *sequences;
  size_t n_sequences;
  const uint32_t *sequence_of; /* n_candidates indices */
  size_t n_candidates;
  uint64_t tokens;    /* sum of the lengths, also of what is at hand */
  size_t n_truncated; /* sequences that lost tokens */
  void *scratch;      /* what rr_scorer_scores works in */
} rr_encoded;

/* A text's kept state: plain bytes, to be stored and copied as they are. They mean something to
 * scorers of the same fingerprint alone. */
typedef struct rr_kept {
  const void *data; /* aligned to 16 bytes; NULL: none */
  size_t size;
} rr_kept;

/* Zeros stand for no truncation. */
typedef struct rr_encode_options {
  bool truncate; /* false: a sequence that is too long is RR_ERR_INPUT */
  rr_truncation_side side;
  rr_cut cut;
  uint32_t max_length;      /* tokens of a sequence, if fewer than max_input_length; 0: no bound */
  uint32_t max_text_tokens; /* of a text before it is paired: more are cut off; 0: no bound */
  bool alone;               /* a cross-encoder's texts are scored without the query */
  bool kept_only;           /* texts without a query, for their kept state: no scores */
  /* NULL, or one a text, where the model keeps_texts: borrowed until the scores are made. Of the
   * same text and made with the same options, which is not checked; of a cross-encoder only side
   * and max_text_tokens matter. Of equal texts the first one's counts. A cross-encoder's that would
   * not fit beside the query uncut is passed over, and so are all where texts are alone. */
  const rr_kept *kept;
  size_t *ret_culprit; /* NULL, or set on RR_ERR_INPUT: the text at fault or RR_CULPRIT_QUERY */
} rr_encode_options;

#define RR_CULPRIT_QUERY SIZE_MAX

/* Makes jansson, which reads the model's files, survive a failed allocation, by another allocator
 * for the whole process: call it once, before other threads run and before the program makes values
 * of jansson's. What json_dumps returns is then freed as json_get_alloc_funcs says. */
void rr_init(void);

enum { RR_KERNEL_NOTE_MAX = 512 };

/* Chooses what computes on this CPU, of the instruction sets that `isa` names ("avx2,avx512",
 * "portable", ...; NULL: all there are). Holds every chosen kernel against plain C, in
 * milliseconds, and replaces one that fails by the next best; ret_note says so, or is "". For the
 * whole process: once, before the first rr_scorer_load. Errors: RR_ERR_INPUT (an unknown name),
 * RR_ERR_MEMORY. */
rr_status rr_scorer_choose_kernels(const char *isa, char ret_note[RR_KERNEL_NOTE_MAX],
                                   rr_error *err);

/* Loads a Hugging Face model directory (docs/models.md) with, where it is there, rerankd.json
 * (core/score/scorer_file.h). *ret_scorer is freed by rr_scorer_destroy. Errors: every status but
 * RR_ERR_NUMERIC; messages name the file. Not on the event loop: it reads and packs all weights,
 * and with a pack cache waits for the disk. */
rr_status rr_scorer_load(const char *directory, const rr_load_options *options,
                         rr_scorer **ret_scorer, rr_error *err);
void rr_scorer_destroy(rr_scorer *scorer); /* NULL is allowed */

/* Whether rr_scorer_load would take a model whose weights are not there yet; without with_tokenizer
 * the tokenizer's files may be missing as well. *ret_keeps_texts: as rr_model_info has it. Errors
 * as of rr_scorer_load. */
rr_status rr_scorer_check(const char *directory, const rr_load_options *options,
                          bool with_tokenizer, bool *ret_keeps_texts, rr_error *err);

/* Whether this CPU has instructions for bfloat16, after rr_scorer_choose_kernels. */
bool rr_scorer_multiplies_bfloat16(void);

/* The plain names of the files that model.safetensors.index.json asks for, sorted, each once; in
 * the arena. RR_ERR_IO, RR_ERR_FORMAT, RR_ERR_MEMORY; messages begin with the path. Any thread. */
rr_status rr_scorer_index_files(const char *path, rr_arena *arena, const char *const **ret_names,
                                size_t *ret_count, rr_error *err);

const rr_model_info *rr_scorer_info(const rr_scorer *scorer); /* lives as long as the scorer */

/* Tokenizes a query and n_texts candidates (1 or more). RR_ERR_INPUT where a text is no valid
 * UTF-8, a kept state does not fit, or a sequence is too long and options->truncate is false
 * ("`inputs` must have less than M tokens. Given: N"). RR_ERR_MEMORY when the arena is exhausted:
 * MaxSim keeps a vector a computed token there, of token_dim values of 4 bytes, in bfloat16 2, in
 * int8 1. */
rr_status rr_scorer_encode(const rr_scorer *scorer, rr_text query, const rr_text *texts,
                           size_t n_texts, const rr_encode_options *options, rr_arena *arena,
                           rr_encoded *ret_encoded, rr_error *err);

/* Bytes of a text's kept state; 0 where it leaves none: of a model that does not keep texts, and of
 * a cross-encoder's pair that was cut. */
size_t rr_scorer_kept_bytes(const rr_scorer *scorer, const rr_sequence *sequence);

/* Of a cross-encoder, before the sequence is computed: rr_scorer_forward leaves its kept state in
 * so many bytes (not 0), aligned to 16, which it borrows. NULL: nowhere, and a text of kept_only is
 * not computed then. A bi-encoder's is written by rr_scorer_kept_write. */
void rr_scorer_kept_place(const rr_scorer *scorer, rr_sequence *sequence, void *bytes);

/* Writes so many bytes: the kept state of a text that is computed or at hand; of a cross-encoder,
 * one that was placed or given. Any thread. */
void rr_scorer_kept_write(const rr_scorer *scorer, const rr_sequence *sequence, void *ret_bytes);

/* Whether bytes have the form of this scorer's kept states, so that rr_scorer_encode takes them.
 * Neither the model nor the numbers are checked: that is for keys and checksums. */
bool rr_scorer_kept_fits(const rr_scorer *scorer, rr_kept kept);

enum { RR_FINGERPRINT_BYTES = 16 };

/* A hash of all that kept state depends on: weights, configuration and tokenizer as they lie in the
 * directory, unchanged since they were loaded; scoring, dtype, kernels. Reads the weights once
 * more: not on the event loop. Errors: RR_ERR_IO, RR_ERR_FORMAT, RR_ERR_MEMORY. */
rr_status rr_scorer_fingerprint(const rr_scorer *scorer,
                                uint8_t ret_fingerprint[RR_FINGERPRINT_BYTES], rr_error *err);

/* Buffers for micro-batches of up to max_tokens tokens; raised to max_input_length if smaller.
 * *ret_workspace is freed by rr_workspace_destroy and must not outlive the scorer. */
rr_status rr_workspace_create(const rr_scorer *scorer, size_t max_tokens,
                              rr_workspace **ret_workspace, rr_error *err);
void rr_workspace_destroy(rr_workspace *workspace);       /* NULL is allowed */
size_t rr_workspace_bytes(const rr_workspace *workspace); /* of memory that it takes */

/* Computes n sequences, of one request or many, packed without padding; those at hand are passed
 * over. The lengths of the others must sum to at most the workspace's max_tokens (RR_ERR_INPUT). A
 * sequence's output does not depend on its neighbours beyond rounding. */
rr_status rr_scorer_forward(rr_workspace *workspace, rr_sequence *const *sequences, size_t n,
                            rr_error *err);

/* Turns a request's outputs into n_candidates scores, in the order of the texts. Cross-encoder: the
 * logit if raw, else 1 / (1 + exp(-logit)). Bi-encoder: what rr_scoring says if raw or not
 * calibrated, else the probability. Neither map changes the order, but may make near scores equal.
 * One thread at a time of one rr_encoded. RR_ERR_NUMERIC if a score is not finite; scores are then
 * set up to that one, included. */
rr_status rr_scorer_scores(const rr_scorer *scorer, const rr_encoded *encoded, bool raw,
                           float *scores, rr_error *err);

/* The score of a raw score: to the bit what rr_scorer_scores gives without `raw`. */
float rr_scorer_score(const rr_scorer *scorer, float raw_score);

/* All of the above for one query in one call, for programs without a scheduler: micro-batches of
 * the workspace's size. `scores` takes n_texts floats. */
rr_status rr_scorer_rerank(rr_workspace *workspace, rr_text query, const rr_text *texts,
                           size_t n_texts, const rr_encode_options *options, bool raw,
                           float *scores, rr_error *err);

#ifdef __cplusplus
}
#endif

#endif
