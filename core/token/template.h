/* Post-processing templates: where a sequence's tokens and the special tokens go. */
#ifndef RR_CORE_TOKEN_TEMPLATE_H
#define RR_CORE_TOKEN_TEMPLATE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/token/tokenizer.h"

enum { RR_TEMPLATE_PIECES_MAX = 64 };

typedef enum rr_template_kind {
  RR_TEMPLATE_SPECIAL,
  RR_TEMPLATE_A,
  RR_TEMPLATE_B
} rr_template_kind;

typedef struct rr_template_piece {
  rr_template_kind kind;
  int32_t id; /* of a special token */
  uint8_t type_id;
} rr_template_piece;

typedef struct rr_template {
  rr_template_piece pieces[RR_TEMPLATE_PIECES_MAX];
  size_t count;
  size_t specials; /* how many of the pieces are special tokens */
} rr_template;

typedef struct rr_templates {
  rr_template single; /* holds A once */
  rr_template pair;   /* holds A and B once each */
} rr_templates;

/* Reads tokenizer.json's post_processor: TemplateProcessing, BertProcessing, or null (no special
 * tokens). Errors: RR_ERR_FORMAT, RR_ERR_UNSUPPORTED. */
rr_status rr_templates_parse(const json_t *post_processor, rr_templates *ret_templates,
                             rr_error *err);

/* [CLS] A [SEP], and [CLS] A [SEP] B [SEP] with type 1 from B on. */
void rr_templates_bert(int32_t cls, int32_t sep, rr_templates *ret_templates);

/* The largest id in the templates, or -1. */
int32_t rr_templates_max_id(const rr_templates *templates);

/* Cuts the two sequences as the truncation says and fills the template in. b: NULL for a single
 * one. */
rr_status rr_template_apply(const rr_template *form, const rr_tokens *a, const rr_tokens *b,
                            const rr_truncation *truncation, rr_arena *arena,
                            rr_encoding *ret_encoding, rr_error *err);

/* How many tokens of two sequences (a_size, b_size) the longest-first strategy keeps in
 * `budget`. */
void rr_truncate_longest_first(size_t budget, size_t *a_size, size_t *b_size);

#endif
