/* A text's half as bytes: what a computed sequence leaves for the scores, behind a header that says
 * its form. */
#ifndef RR_CORE_SCORE_KEPT_H
#define RR_CORE_SCORE_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/scorer.h"

/* What every half of one scorer has in common. */
typedef struct rr_half_form {
  uint32_t outputs;    /* floats of a text's vector; 0: MaxSim alone scores */
  uint32_t row_size;   /* bytes of a token's vector; 0: none are kept */
  uint32_t max_length; /* tokens of a sequence */
  /* Of a split model: what is kept are the document side's rows, without outputs. */
  bool split;
  uint32_t tail; /* tokens of that side beside the text's own */
} rr_half_form;

/* 0: it has none that may be kept. */
size_t rr_half_bytes(const rr_half_form *form, const rr_sequence *sequence);

/* Writes rr_half_bytes bytes. The sequence is computed, or at hand itself. */
void rr_half_write(const rr_half_form *form, const rr_sequence *sequence, void *ret_bytes);

/* The sequence of a split model is to leave its rows in rr_half_bytes bytes, behind the header,
 * which is written. */
void rr_half_place(const rr_half_form *form, rr_sequence *sequence, void *bytes);

/* Makes a sequence that is at hand of a half, whose bytes it borrows: of a split model's a document
 * side. False, with *ret_sequence untouched, where they are not of that form. Nothing of them is
 * believed but the numbers in vectors. */
bool rr_half_read(const rr_half_form *form, rr_half half, rr_sequence *ret_sequence);

#endif
