#include "core/kernel/kernel.h"

#include <stdbool.h>
#include <string.h>

#include "core/kernel/gemm.h"
#include "core/kernel/isa.h"

/* Best first. */
static const rr_gemm *const gemms[] = {&rr_gemm_openblas, &rr_gemm_portable};

static bool always(void) { return true; }

#ifdef RR_KERNEL_X86
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

static bool has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

/* Best first. */
static const struct {
  const rr_rowops *rowops;
  bool (*runs_here)(void);
} rowops_table[] = {
#ifdef RR_KERNEL_X86
    {&rr_rowops_avx512, has_avx512},
    {&rr_rowops_avx2, has_avx2},
#endif
    {&rr_rowops_generic, always},
};

enum {
  GEMMS = sizeof gemms / sizeof gemms[0],
  ROWOPS = sizeof rowops_table / sizeof rowops_table[0],
};

static const rr_gemm *prepared(const rr_gemm *gemm) {
  if (gemm->prepare != NULL) {
    gemm->prepare();
  }
  return gemm;
}

const rr_gemm *rr_gemm_best(void) { return prepared(gemms[0]); }

const rr_gemm *rr_gemm_find(const char *name) {
  for (size_t i = 0; i < GEMMS; i++) {
    if (strcmp(gemms[i]->name, name) == 0) {
      return prepared(gemms[i]);
    }
  }
  return NULL;
}

const rr_rowops *rr_rowops_best(void) {
  size_t i = 0;
  while (!rowops_table[i].runs_here()) {
    i++; /* the last one always runs */
  }
  return rowops_table[i].rowops;
}

const rr_rowops *rr_rowops_find(const char *name) {
  for (size_t i = 0; i < ROWOPS; i++) {
    if (strcmp(rowops_table[i].rowops->name, name) == 0 && rowops_table[i].runs_here()) {
      return rowops_table[i].rowops;
    }
  }
  return NULL;
}

const char *rr_gemm_core(const rr_gemm *gemm) {
  return gemm == &rr_gemm_openblas ? rr_gemm_openblas_core() : "any";
}

size_t rr_attention_scratch(size_t keys, size_t head_size) {
  size_t padded_keys = keys + RR_TILE_COLS_MAX;
  size_t padded_head = head_size + RR_TILE_COLS_MAX;
  return padded_keys * head_size + keys * padded_head + RR_TILE_ROWS_MAX * (padded_keys + padded_head);
}

void rr_gemm_epilogue(const rr_gemm_args *args) {
  if (args->norm == NULL) {
    if (args->bias != NULL || args->activation != RR_ACTIVATION_NONE) {
      args->rowops->activate(args->activation, args->bias, args->m, args->n, args->out, args->ld_out);
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
