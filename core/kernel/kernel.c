#include "core/kernel/kernel.h"

#include <stdatomic.h>
#include <string.h>

#include "core/kernel/cpu_features.h"
#include "core/kernel/gemm.h"
#include "core/kernel/isa.h"

/* Of a format the last one wins that this CPU and the mask allow; the first of a format runs
 * everywhere. RR_BUILT_*: the build had the compiler flags for it (meson.build). */
static const struct {
  const rr_gemm *gemm;
  uint32_t needs;
} gemms[] = {
    {&rr_gemm_fp32_portable, 0},
#ifdef RR_BUILT_OPENBLAS
    {&rr_gemm_openblas, RR_FEATURE_OPENBLAS},
#endif
#ifdef RR_BUILT_AVX2
    {&rr_gemm_fp32_avx2, RR_FEATURE_AVX2},
#endif
#ifdef RR_BUILT_AVX512
    {&rr_gemm_fp32_avx512, RR_FEATURE_AVX512},
#endif
#ifdef RR_BUILT_NEON
    {&rr_gemm_fp32_neon, RR_FEATURE_NEON},
#endif
    {&rr_gemm_bf16_portable, 0},
#ifdef RR_BUILT_AVX2
    {&rr_gemm_bf16_avx2, RR_FEATURE_AVX2},
#endif
#ifdef RR_BUILT_AVX512
    {&rr_gemm_bf16_avx512, RR_FEATURE_AVX512},
#endif
#ifdef RR_BUILT_AVX512BF16
    {&rr_gemm_bf16_avx512bf16, RR_FEATURE_AVX512 | RR_FEATURE_AVX512BF16},
#endif
#ifdef RR_BUILT_AMXBF16
    {&rr_gemm_bf16_amx, RR_FEATURE_AVX512 | RR_FEATURE_AVX512BF16 | RR_FEATURE_AMXBF16},
#endif
#ifdef RR_BUILT_NEON
    {&rr_gemm_bf16_neon, RR_FEATURE_NEON},
#endif
#ifdef RR_BUILT_BF16
    {&rr_gemm_bf16_bfmmla, RR_FEATURE_NEON | RR_FEATURE_BF16},
#endif
    {&rr_gemm_int8_portable, 0},
#ifdef RR_BUILT_AVX2
    {&rr_gemm_int8_avx2, RR_FEATURE_AVX2},
#endif
#ifdef RR_BUILT_AVXVNNI
    {&rr_gemm_int8_avxvnni, RR_FEATURE_AVX2 | RR_FEATURE_AVXVNNI},
#endif
#ifdef RR_BUILT_AVX512VNNI
    {&rr_gemm_int8_vnni512, RR_FEATURE_AVX512 | RR_FEATURE_AVX512VNNI},
#endif
#ifdef RR_BUILT_AMXINT8
    {&rr_gemm_int8_amx, RR_FEATURE_AVX512 | RR_FEATURE_AMXINT8},
#endif
#ifdef RR_BUILT_DOTPROD
    {&rr_gemm_int8_dotprod, RR_FEATURE_NEON | RR_FEATURE_DOTPROD},
#endif
#ifdef RR_BUILT_I8MM
    {&rr_gemm_int8_i8mm, RR_FEATURE_NEON | RR_FEATURE_I8MM},
#endif
};

static const struct {
  const rr_rowops *rowops;
  uint32_t needs;
} rowops_table[] = {
    {&rr_rowops_generic, 0},
#ifdef RR_BUILT_AVX2
    {&rr_rowops_avx2, RR_FEATURE_AVX2},
#endif
#ifdef RR_BUILT_AVX512
    {&rr_rowops_avx512, RR_FEATURE_AVX512},
#endif
#ifdef RR_BUILT_AVX512BF16
    {&rr_rowops_avx512bf16, RR_FEATURE_AVX512 | RR_FEATURE_AVX512BF16},
#endif
};

static const struct {
  const rr_attention *attention;
  uint32_t needs;
} attentions[] = {
    {&rr_attention_fp32_generic, 0},
#ifdef RR_BUILT_AVX2
    {&rr_attention_fp32_avx2, RR_FEATURE_AVX2},
#endif
#ifdef RR_BUILT_AVX512
    {&rr_attention_fp32_avx512, RR_FEATURE_AVX512},
#endif
#ifdef RR_BUILT_AVX512BF16
    {&rr_attention_bf16_avx512bf16, RR_FEATURE_AVX512 | RR_FEATURE_AVX512BF16},
#endif
};

/* As of gemms: of a format the last one wins. */
static const struct {
  const rr_maxsim *maxsim;
  uint32_t needs;
} maxsims[] = {
    {&rr_maxsim_fp32_generic, 0},
    {&rr_maxsim_bf16_generic, 0},
    {&rr_maxsim_int8_generic, 0},
#ifdef RR_BUILT_AVX2
    {&rr_maxsim_fp32_avx2, RR_FEATURE_AVX2},
    {&rr_maxsim_bf16_avx2, RR_FEATURE_AVX2},
    {&rr_maxsim_int8_avx2, RR_FEATURE_AVX2},
#endif
#ifdef RR_BUILT_AVX512
    {&rr_maxsim_fp32_avx512, RR_FEATURE_AVX512},
    {&rr_maxsim_bf16_avx512, RR_FEATURE_AVX512},
    {&rr_maxsim_int8_avx512, RR_FEATURE_AVX512},
#endif
#ifdef RR_BUILT_AVX512BF16
    {&rr_maxsim_bf16_avx512bf16, RR_FEATURE_AVX512 | RR_FEATURE_AVX512BF16},
#endif
#ifdef RR_BUILT_AVX512VNNI
    {&rr_maxsim_int8_vnni512, RR_FEATURE_AVX512 | RR_FEATURE_AVX512VNNI},
#endif
};

enum {
  GEMMS = sizeof gemms / sizeof gemms[0],
  ROWOPS = sizeof rowops_table / sizeof rowops_table[0],
  ATTENTIONS = sizeof attentions / sizeof attentions[0],
  MAXSIMS = sizeof maxsims / sizeof maxsims[0],
};

static atomic_uint mask = UINT32_MAX;
static atomic_bool rejected[GEMMS];
static atomic_bool rejected_rowops[ROWOPS];
static atomic_bool rejected_attentions[ATTENTIONS];
static atomic_bool rejected_maxsims[MAXSIMS];

rr_status rr_kernels_set_mask(const char *text, rr_error *err) {
  uint32_t features = UINT32_MAX;
  if (text != NULL) {
    rr_status status = rr_features_parse(text, &features, err);
    if (status != RR_OK) {
      return status;
    }
  }
  atomic_store(&mask, features);
  return RR_OK;
}

static uint32_t missing(uint32_t needs) { return needs & ~rr_features_detect(); }
static bool allowed(uint32_t needs) {
  return (needs & ~(rr_features_detect() & atomic_load(&mask))) == 0;
}

static const rr_gemm *prepared(const rr_gemm *gemm) {
  if (gemm->prepare != NULL) {
    gemm->prepare();
  }
  return gemm;
}

const rr_gemm *rr_gemm_best(rr_format format) {
  const rr_gemm *best = NULL;
  const rr_gemm *portable = NULL;
  for (size_t i = GEMMS; i-- > 0;) {
    const rr_gemm *gemm = gemms[i].gemm;
    if (gemm->format != format) {
      continue;
    }
    portable = gemm;
    if (best == NULL && allowed(gemms[i].needs) && !atomic_load(&rejected[i])) {
      best = gemm;
    }
  }
  return prepared(best != NULL ? best : portable);
}

const rr_gemm *rr_gemm_find(const char *name) {
  for (size_t i = 0; i < GEMMS; i++) {
    if (strcmp(gemms[i].gemm->name, name) == 0 && missing(gemms[i].needs) == 0) {
      return prepared(gemms[i].gemm);
    }
  }
  return NULL;
}

const rr_gemm *rr_gemm_entry(size_t index, uint32_t *ret_missing) {
  if (index >= GEMMS) {
    return NULL;
  }
  *ret_missing = missing(gemms[index].needs);
  return *ret_missing == 0 ? prepared(gemms[index].gemm) : gemms[index].gemm;
}

bool rr_gemm_is_native(const rr_gemm *gemm) {
  const uint32_t bf16 = RR_FEATURE_AVX512BF16 | RR_FEATURE_AMXBF16 | RR_FEATURE_BF16;
  for (size_t i = 0; i < GEMMS; i++) {
    if (gemms[i].gemm == gemm) {
      return gemm->format != RR_FORMAT_BF16 || (gemms[i].needs & bf16) != 0;
    }
  }
  return false;
}

void rr_gemm_reject(const rr_gemm *gemm) {
  for (size_t i = 0; i < GEMMS; i++) {
    if (gemms[i].gemm == gemm) {
      atomic_store(&rejected[i], true);
    }
  }
}

void rr_rowops_reject(const rr_rowops *rowops) {
  for (size_t i = 0; i < ROWOPS; i++) {
    if (rowops_table[i].rowops == rowops) {
      atomic_store(&rejected_rowops[i], true);
    }
  }
}

void rr_attention_reject(const rr_attention *attention) {
  for (size_t i = 0; i < ATTENTIONS; i++) {
    if (attentions[i].attention == attention) {
      atomic_store(&rejected_attentions[i], true);
    }
  }
}

void rr_maxsim_reject(const rr_maxsim *maxsim) {
  for (size_t i = 0; i < MAXSIMS; i++) {
    if (maxsims[i].maxsim == maxsim) {
      atomic_store(&rejected_maxsims[i], true);
    }
  }
}

void rr_kernels_restore(void) {
  for (size_t i = 0; i < MAXSIMS; i++) {
    atomic_store(&rejected_maxsims[i], false);
  }
  for (size_t i = 0; i < ATTENTIONS; i++) {
    atomic_store(&rejected_attentions[i], false);
  }
  for (size_t i = 0; i < GEMMS; i++) {
    atomic_store(&rejected[i], false);
  }
  for (size_t i = 0; i < ROWOPS; i++) {
    atomic_store(&rejected_rowops[i], false);
  }
}

const rr_rowops *rr_rowops_best(void) {
  size_t i = ROWOPS - 1;
  while (i > 0 && (!allowed(rowops_table[i].needs) || atomic_load(&rejected_rowops[i]))) {
    i--; /* the first one runs everywhere */
  }
  return rowops_table[i].rowops;
}

const rr_rowops *rr_rowops_find(const char *name) {
  for (size_t i = 0; i < ROWOPS; i++) {
    if (strcmp(rowops_table[i].rowops->name, name) == 0 && missing(rowops_table[i].needs) == 0) {
      return rowops_table[i].rowops;
    }
  }
  return NULL;
}

const rr_attention *rr_attention_best(bool reduced, size_t head_size) {
  size_t i = ATTENTIONS - 1;
  for (; i > 0; i--) { /* the first one runs everywhere */
    const rr_attention *attention = attentions[i].attention;
    if ((reduced || attention->type == RR_TYPE_FP32) && head_size % attention->head_multiple == 0 &&
        allowed(attentions[i].needs) && !atomic_load(&rejected_attentions[i])) {
      break;
    }
  }
  return attentions[i].attention;
}

const rr_attention *rr_attention_find(const char *name) {
  for (size_t i = 0; i < ATTENTIONS; i++) {
    if (strcmp(attentions[i].attention->name, name) == 0 && missing(attentions[i].needs) == 0) {
      return attentions[i].attention;
    }
  }
  return NULL;
}

const rr_maxsim *rr_maxsim_best(rr_format format) {
  const rr_maxsim *generic = NULL;
  for (size_t i = MAXSIMS; i-- > 0;) {
    if (maxsims[i].maxsim->format != format) {
      continue;
    }
    generic = maxsims[i].maxsim;
    if (allowed(maxsims[i].needs) && !atomic_load(&rejected_maxsims[i])) {
      return generic;
    }
  }
  return generic; /* the first of a format runs everywhere */
}

const rr_maxsim *rr_maxsim_find(const char *name) {
  for (size_t i = 0; i < MAXSIMS; i++) {
    if (strcmp(maxsims[i].maxsim->name, name) == 0 && missing(maxsims[i].needs) == 0) {
      return maxsims[i].maxsim;
    }
  }
  return NULL;
}

const rr_maxsim *rr_maxsim_entry(size_t index, uint32_t *ret_missing) {
  if (index >= MAXSIMS) {
    return NULL;
  }
  *ret_missing = missing(maxsims[index].needs);
  return maxsims[index].maxsim;
}

const char *rr_gemm_core(const rr_gemm *gemm) {
#ifdef RR_BUILT_OPENBLAS
  if (gemm == &rr_gemm_openblas) {
    return rr_gemm_openblas_core();
  }
#endif
  (void)gemm;
  return "own";
}

void rr_gemm_epilogue(const rr_gemm_args *args) {
  if (args->norm == NULL) {
    if (args->bias != NULL || args->activation != RR_ACTIVATION_NONE) {
      args->rowops->activate(args->activation, args->bias, args->m, args->n, args->out,
                             args->ld_out);
    }
    return;
  }
  rr_norm_args norm = {
      .rows = args->m,
      .cols = args->n,
      .x = args->out,
      .ldx = args->ld_out,
      .bias = args->bias,
      .residual = args->residual,
      .ld_residual = args->ld_residual,
      .norm = *args->norm,
      .out = args->out,
      .ld_out = args->ld_out,
  };
  args->rowops->norm(&norm);
}
