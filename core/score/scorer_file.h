/* rerankd.json, a model directory's own word on how it is best scored: which scoring, and the map
 * that turns such a score into a probability. Immutable once read.
 *
 * At most 64 KiB, any other member refused:
 *   {"scoring": "hybrid",                   what RR_SCORING_AUTO asks for: "cosine", "maxsim" or
 *                                           "hybrid"
 *    "calibration": {"scores": [0.2, 0.9],  optional: 2 to 32 increasing scores of that scoring,
 *                    "logits": [-5, 4]}}    and their increasing logits, each from -1000 to 1000,
 *                                           in steps of 1e-6 or more
 * A score lies on the straight lines through these points (the outer ones go on), and its
 * probability is 1 / (1 + exp(-logit)). With another scoring than that the file's map is not
 * used. */
#ifndef RR_CORE_SCORE_SCORER_FILE_H
#define RR_CORE_SCORE_SCORER_FILE_H

#include <stddef.h>

#include "core/base/status.h"
#include "core/scorer.h"

enum { RR_KNOTS_MAX = 32 };

/* Straight lines through these points, the first and the last going on for ever, from a score to a
 * logit. */
typedef struct rr_calibration {
  size_t knots;                /* 2 .. RR_KNOTS_MAX; 0: no map */
  double scores[RR_KNOTS_MAX]; /* both increase */
  double logits[RR_KNOTS_MAX];
} rr_calibration;

typedef struct rr_scorer_file {
  rr_scoring scoring;         /* RR_SCORING_AUTO: there is no such file */
  rr_calibration calibration; /* of scores of that scoring */
} rr_scorer_file;

/* Reads directory/rerankd.json; that it is not there is no error. Errors: RR_ERR_IO, RR_ERR_FORMAT,
 * RR_ERR_MEMORY, RR_ERR_INPUT (a path too long); messages name the file. Any thread. */
rr_status rr_scorer_file_load(const char *directory, rr_scorer_file *ret_file, rr_error *err);

/* From 0 to 1. Never decreases with the score, which is finite; scores so near that a float cannot
 * tell their probabilities apart become equal. */
float rr_calibrated(const rr_calibration *calibration, float score);

#endif
