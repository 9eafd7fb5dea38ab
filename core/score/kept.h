/* Kept state: what a text leaves behind that serves any number of queries, as plain bytes.
 *
 * What is kept of a text:
 *   bi-encoder, cosine      its vector of unit length, hidden_size floats
 *   MaxSim, ColBERT         the vectors of its tokens, as rr_maxsim.store leaves them
 *   hybrid                  the vector, then those of the tokens
 *   split cross-encoder     the rows of the document side ("document [SEP]") behind the split
 *                           layers, of rr_bert_kept_type
 *   other cross-encoders    nothing: every layer sees query and text together; and where positions
 *                           run on through the pair, the document side depends on the query too
 *
 * In memory, in a file and on the way between:
 *
 *   | header, 48 bytes | vector: outputs floats | rows: n_rows x row_size bytes |
 *
 * without gaps, aligned to 16 bytes, in this machine's byte order. The header tells the form (which
 * of the two are there, how large), and what scheduling and replies need of the text: its length
 * and its tokens before and after truncation. So a text with kept state needs no tokenizer.
 *
 * Why a score has the same bits with it: it holds what the rest of the computation reads, in the
 * format in which it reads it, and nothing is rounded on the way in or out. A bi-encoder's scores
 * are made from these very bytes, computed just now or given. A split model's document side is
 * rounded as it would be kept (bfloat16, or not in float32) even where it is not, so that the joint
 * layers of a whole pair see the same rows; and a row does not depend on what else is in the
 * micro-batch. What else the scores come to read goes in here, and up goes KEPT_VERSION.
 *
 * Nothing of the bytes is believed but the numbers in vectors and rows: the form must fit the
 * scorer, and sizes the header, to the byte. Whether they are of this model and this text is not
 * seen here: that is for fingerprints, keys and checksums.
 *
 * When it is written differs. A bi-encoder's sequence has its vectors in the request's arena anyway
 * and is copied from there, if it is kept at all. A split model's rows are gone once the pair's
 * joint layers run: where they go must be said before (rr_kept_place). A query's side is not kept:
 * the pairs of a micro-batch share it, and it seldom comes again. */
#ifndef RR_CORE_SCORE_KEPT_H
#define RR_CORE_SCORE_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/config.h"
#include "core/model/encoder.h"
#include "core/scorer.h"

/* What every kept state of one scorer has in common. */
typedef struct rr_kept_form {
  uint32_t outputs;    /* floats of a text's vector; 0: none */
  uint32_t row_size;   /* bytes of a row; 0: none are kept */
  uint32_t max_length; /* tokens of a sequence */
  bool pairs;          /* a split model's document sides */
  uint32_t tail;       /* of those: tokens beside the text's own */
} rr_kept_form;

/* Whether texts of such a model have kept state. */
bool rr_keeps_texts(const rr_config *config);

/* Of a scorer whose facts are known, and that keeps texts. */
rr_kept_form rr_kept_form_of(const rr_scorer *scorer);

/* Fills *ret_sequence and its input from kept state, whose bytes they borrow: at hand, and of a
 * split model a document side. False, with both untouched, where they are not of that form. */
bool rr_kept_read(const rr_kept_form *form, rr_kept kept, rr_sequence *ret_sequence);

#endif
