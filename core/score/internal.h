/* What the scorer's files share: loading (load.c), encoding (encode.c) and scoring (score.c). */
#ifndef RR_CORE_SCORE_INTERNAL_H
#define RR_CORE_SCORE_INTERNAL_H

#include <stdint.h>

#include "core/model/weights.h"
#include "core/score/kept.h"
#include "core/score/late.h"
#include "core/score/scorer_file.h"
#include "core/scorer.h"
#include "core/token/tokenizer.h"

enum { KERNELS_TEXT_MAX = 128 };

struct rr_scorer {
  rr_model_info info; /* its strings lie in this struct or in bert's config */
  rr_tokenizer *tokenizer;
  rr_bert *bert;
  rr_scoring scoring;         /* in use */
  rr_calibration calibration; /* of such scores; no knots: they are told as they are */
  rr_late late;               /* where token vectors are wanted */
  rr_kept_form kept;          /* where texts are kept */
  uint64_t seed;              /* of the search for identical texts */
  char kernels[KERNELS_TEXT_MAX];
  rr_packs_report packs;
};

/* Floats of a sequence's output; 0 where MaxSim alone scores. */
size_t rr_scorer_output_size(const rr_scorer *scorer);

#endif
