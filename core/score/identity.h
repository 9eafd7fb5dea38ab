/* Which model this is, as a hash over its files. */
#ifndef RR_CORE_SCORE_IDENTITY_H
#define RR_CORE_SCORE_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/scorer.h"

/* Over the weights, configuration and tokenizer in `folder`, and over what was chosen: strings, and
 * numbers that other files than those had a say in. Errors as rr_scorer_fingerprint. */
rr_status rr_identify_model(const char *folder, const char *const *choices, size_t n_choices,
                            const uint32_t *numbers, size_t n_numbers,
                            uint8_t ret_fingerprint[RR_FINGERPRINT_BYTES], rr_error *err);

#endif
