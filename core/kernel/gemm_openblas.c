/* Matrix products by OpenBLAS. */
#include "core/kernel/gemm.h"

#include <cblas.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel/cpu_features.h"

/* OpenBLAS takes a CPU that is newer than itself for the oldest one it knows and computes with SSE
 * at a fifth of the speed. These two functions of its, not in its headers and absent from builds
 * for one CPU, choose anew. */
void gotoblas_dynamic_quit(void) __attribute__((weak));
void gotoblas_dynamic_init(void) __attribute__((weak));

static void choose_core(void) {
#ifdef __x86_64__
  bool avx512 = (rr_features_detect() & RR_FEATURE_AVX512) != 0;
  bool avx2 = (rr_features_detect() & RR_FEATURE_AVX2) != 0;
  if (getenv("OPENBLAS_CORETYPE") != NULL || strcmp(openblas_get_corename(), "Prescott") != 0 ||
      !avx2 || gotoblas_dynamic_quit == NULL || gotoblas_dynamic_init == NULL) {
    return;
  }
  if (setenv("OPENBLAS_CORETYPE", avx512 ? "SkylakeX" : "Haswell", 0) != 0) {
    return;
  }
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
  (void)unsetenv("OPENBLAS_CORETYPE");
#endif
}

/* A caller runs one product a thread; OpenBLAS's own threads would fight for the same cores. Both
 * settings are the process's. */
static void prepare_once(void) {
  choose_core();
  openblas_set_num_threads(1);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void) { (void)pthread_once(&once, prepare_once); }

static size_t packed_size(size_t n, size_t k) { return n * k * sizeof(float); }

static void pack(size_t n, size_t k, const float *w, void *packed) {
  memcpy(packed, w, packed_size(n, k));
}

static size_t scratch_size(size_t m, size_t n, size_t k) {
  (void)m;
  (void)n;
  (void)k;
  return 0;
}

/* Dimensions fit an int: rr_bert_load bounds n, k and every ld, the encoder bounds m. */
static void run(const rr_gemm_args *args) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)args->m, (blasint)args->n,
              (blasint)args->k, 1.0f, args->x, (blasint)args->ldx, args->packed, (blasint)args->k,
              0.0f, args->out, (blasint)args->ld_out);
  rr_gemm_epilogue(args);
}

const rr_gemm rr_gemm_openblas = {
    .tile_rows = 1,
    .name = "openblas",
    .format = RR_FORMAT_FP32,
    .prepare = prepare,
    .packed_size = packed_size,
    .pack = pack,
    .scratch_size = scratch_size,
    .run = run,
};

const char *rr_gemm_openblas_core(void) { return openblas_get_corename(); }
