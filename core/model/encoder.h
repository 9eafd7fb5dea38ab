/* The forward pass over packed sequences: products run over all tokens of a micro-batch, attention
 * alone knows where a sequence ends, nothing is padded.
 *
 * 1. An rr_encoder belongs to one thread at a time and borrows the model, which must outlive it.
 * 2. rr_encoder_forward allocates nothing.
 */
#ifndef RR_CORE_MODEL_ENCODER_H
#define RR_CORE_MODEL_ENCODER_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/model/weights.h"

typedef struct rr_encoder rr_encoder;

/* What of a split model's pair (split.h) an input is. Pairs come first, in any order, then document
 * sides. */
typedef enum rr_part {
  RR_PART_WHOLE,    /* a pair, or any sequence of another model: from its tokens to its output. The
                     * document side is left in `kept` too, unless that is NULL */
  RR_PART_WARM,     /* a pair whose document side is read from `kept`: of its tokens only the query
                     * side's */
  RR_PART_DOCUMENT, /* a document side alone: it is left in `kept`, no output */
} rr_part;

/* What is computed of one sequence of tokens. */
typedef struct rr_input {
  rr_part part;
  const int32_t *ids; /* length token ids; of RR_PART_WARM the first split_at */
  const uint8_t *type_ids;
  size_t length;     /* 1 .. config.positions */
  size_t split_at;   /* of a split model's pair: where the document side begins; else 0 */
  size_t position;   /* the encoder's own: 0 */
  size_t unattended; /* the last so many tokens attend to the others, and nothing to them; below
                      * length */
  float *output;     /* 1 float for a classifier head, else hidden_size; NULL: not wanted */
  /* Where the model has a maxsim: the unit vectors of all tokens but those with a 1 in left_out
   * (NULL: of all), as its store leaves them, one behind the other; NULL: not wanted. */
  void *vectors;
  const uint8_t *left_out;
  /* The document side's rows behind the split layers, of rr_bert_kept_type; NULL: neither written
   * nor read. */
  void *kept;
  /* The scorer's own: tokens that have a vector; of a split model rows of the document side, 0
   * where the pair was cut. */
  uint32_t rows;
} rr_input;

/* Buffers for max_tokens tokens (1 or more) and as many sequences. RR_ERR_MEMORY, RR_ERR_INPUT
 * (more tokens than can be computed at once). *ret_encoder is freed by rr_encoder_destroy. */
rr_status rr_encoder_create(const rr_bert *bert, size_t max_tokens, rr_encoder **ret_encoder,
                            rr_error *err);
void rr_encoder_destroy(rr_encoder *encoder); /* NULL is allowed */

size_t rr_encoder_max_tokens(const rr_encoder *encoder);

/* Bytes of memory it takes. */
size_t rr_encoder_bytes(const rr_encoder *encoder);

/* Writes every input's output. RR_ERR_INPUT, before anything is computed, if a length, an id or a
 * type is out of bounds or the lengths sum to more than max_tokens. n of 0 does nothing. */
rr_status rr_encoder_forward(rr_encoder *encoder, const rr_input *inputs, size_t n, rr_error *err);

#endif
