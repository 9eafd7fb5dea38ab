/* What this CPU, and the system on it, can run.
 *
 * A mask is text: names separated by commas, each standing for a feature and what it builds on.
 * "all" is everything, "portable" nothing. "avx512-bf16" keeps AVX2, AVX-512 and its bf16 products.
 * Hyphens do not count ("avx512bf16").
 */
#ifndef RR_CORE_KERNEL_CPU_FEATURES_H
#define RR_CORE_KERNEL_CPU_FEATURES_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

enum {
  RR_FEATURE_OPENBLAS = 1 << 0, /* the library, which picks instructions by itself */
  RR_FEATURE_AVX2 = 1 << 1,     /* with FMA */
  RR_FEATURE_AVXVNNI = 1 << 2,
  RR_FEATURE_AVX512 = 1 << 3, /* F, BW, VL, DQ */
  RR_FEATURE_AVX512VNNI = 1 << 4,
  RR_FEATURE_AVX512BF16 = 1 << 5,
  RR_FEATURE_AMXINT8 = 1 << 6, /* with leave from the kernel to use it */
  RR_FEATURE_AMXBF16 = 1 << 7,
  RR_FEATURE_NEON = 1 << 8,
  RR_FEATURE_DOTPROD = 1 << 9,
  RR_FEATURE_I8MM = 1 << 10,
  RR_FEATURE_BF16 = 1 << 11, /* of aarch64 */
};

enum { RR_FEATURES_TEXT_MAX = 160 };

/* What is here. Looked up once; asks the kernel for AMX's registers where the CPU has them. Any
 * thread. */
uint32_t rr_features_detect(void);

/* The features a mask keeps, whether they are here or not. RR_ERR_INPUT, with the names there are,
 * for one that is unknown. */
rr_status rr_features_parse(const char *text, uint32_t *ret_features, rr_error *err);

/* The features' names, separated by commas; "portable" for none. */
void rr_features_text(uint32_t features, char text[RR_FEATURES_TEXT_MAX]);

#endif
