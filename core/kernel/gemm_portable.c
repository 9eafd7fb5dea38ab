/* Matrix products in plain C: what the others are tested against, and what works everywhere.
 * w is packed in panels of PANEL rows, transposed, zero padded, so that the inner loop vectorises. */
#include <string.h>

#include "core/kernel/gemm.h"

enum { PANEL = 16 };

static size_t panels(size_t n) { return (n + PANEL - 1) / PANEL; }

static size_t packed_size(size_t n, size_t k) { return panels(n) * PANEL * k * sizeof(float); }

static void pack(size_t n, size_t k, const float *w, void *packed) {
  float *to = packed;
  memset(to, 0, packed_size(n, k));
  for (size_t row = 0; row < n; row++) {
    float *panel = to + row / PANEL * PANEL * k;
    for (size_t i = 0; i < k; i++) {
      panel[i * PANEL + row % PANEL] = w[row * k + i];
    }
  }
}

static size_t scratch_size(size_t m, size_t n, size_t k) {
  (void)m;
  (void)n;
  (void)k;
  return 0;
}

static void run(const rr_gemm_args *args) {
  size_t k = args->k;
  for (size_t p = 0; p < panels(args->n); p++) {
    const float *panel = (const float *)args->packed + p * PANEL * k;
    size_t here = args->n - p * PANEL < PANEL ? args->n - p * PANEL : PANEL;
    for (size_t row = 0; row < args->m; row++) {
      const float *x = args->x + row * args->ldx;
      float sums[PANEL] = {0};
      for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < PANEL; j++) {
          sums[j] += x[i] * panel[i * PANEL + j];
        }
      }
      memcpy(args->out + row * args->ld_out + p * PANEL, sums, here * sizeof *sums);
    }
  }
  rr_gemm_epilogue(args);
}

const rr_gemm rr_gemm_portable = {
    .name = "portable",
    .packed_size = packed_size,
    .pack = pack,
    .scratch_size = scratch_size,
    .run = run,
};
