/* What two replicas must have in common for their scores to be the same to the bit.
 *
 * A SHA-256 over 1. the model: its fingerprint (all weights, configuration, tokenizer), kind,
 * scoring, dtype, kernels, bounds;
 * 2. the code: this version, and the build ids of the program and its libraries, so that another
 *    compiler, C library or OpenBLAS is another identity. The kernel's vDSO, which computes
 *    nothing, and modules that look names up, which come and go with a machine's set-up, do not
 *    count;
 * 3. a probe: the bits of the raw scores of a few fixed pairs, computed here and now. It finds what
 *    has no name: a libm or a library that chooses by the CPU's model or the size of its caches.
 * Where two differ in vain (two builds of one source), they share nothing, and that is all. */
#ifndef RR_SERVER_REDIS_IDENTITY_H
#define RR_SERVER_REDIS_IDENTITY_H

#include "core/base/status.h"
#include "core/scorer.h"
#include "server/redis/keys.h"

/* Reads the weights once more and computes: not on the event loop. Errors of rr_scorer_fingerprint,
 * RR_ERR_MEMORY. */
rr_status redis_identity(const rr_scorer *scorer, redis_digest *ret_identity, rr_error *err);

#endif
