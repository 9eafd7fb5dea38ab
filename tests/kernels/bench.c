#include "tests/kernels/bench.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/kernel/kernel.h"

typedef struct shape {
  size_t k;
  size_t n;
  rr_activation activation;
  bool norm;
} shape;

/* The products of a layer of MiniLM-L6-H384, with the epilogue each has there. */
static const shape shapes[] = {
    {384, 1152, RR_ACTIVATION_NONE, false},
    {384, 384, RR_ACTIVATION_NONE, true},
    {384, 1536, RR_ACTIVATION_GELU_ERF, false},
    {1536, 384, RR_ACTIVATION_NONE, true},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], PRODUCTS_MAX = 32, WIDTH_MAX = 1536, LAYERS = 6 };

typedef struct product {
  const rr_gemm *gemm;
  double peak;
  const char *instruction;
  double plain[SHAPES];    /* fastest, seconds, with the bias alone */
  double epilogue[SHAPES]; /* with the shape's epilogue */
} product;

typedef struct memory {
  size_t m;
  float *x;
  float *w;
  float *bias;
  float *residual;
  float *out;
  char *
      packed[LAYERS]; /* several, as in a model: weights of one product alone would stay in cache */
  void *scratch;
} memory;

static double now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *allocate(size_t size) {
  void *data = aligned_alloc(64, (size + 64) / 64 * 64);
  if (data == NULL) {
    (void)fprintf(stderr, "out of memory\n");
    exit(1);
  }
  return data;
}

static float *floats(size_t size) {
  float *data = allocate(size * sizeof *data);
  uint32_t seed = 1;
  for (size_t i = 0; i < size; i++) {
    seed = seed * 1664525u + 1013904223u;
    data[i] = (float)(seed >> 8) / (float)(1u << 23) - 1.0f;
  }
  return data;
}

/* Seconds of one product, the mean over LAYERS of them. */
static double once(const memory *mem, const rr_gemm *gemm, const shape *s, bool epilogue) {
  rr_norm norm = {.gamma = mem->bias, .beta = mem->bias, .epsilon = 1e-12f};
  rr_gemm_args args = {.m = mem->m,
                       .n = s->n,
                       .k = s->k,
                       .x = mem->x,
                       .ldx = s->k,
                       .bias = mem->bias,
                       .activation = epilogue ? s->activation : RR_ACTIVATION_NONE,
                       .norm = epilogue && s->norm ? &norm : NULL,
                       .residual = mem->residual,
                       .ld_residual = s->n,
                       .out = mem->out,
                       .ld_out = s->n,
                       .rowops = rr_rowops_best(),
                       .scratch = mem->scratch};
  double began = now();
  for (size_t i = 0; i < LAYERS; i++) {
    args.packed = mem->packed[i];
    gemm->run(&args);
  }
  return (now() - began) / LAYERS;
}

static void time_product(const memory *mem, product *p) {
  const char *instruction = "";
  double peak = rr_bench_peak(
      strcmp(p->gemm->name, "openblas") == 0 ? "fp32-avx512" : p->gemm->name, &instruction);
  p->peak = peak > p->peak ? peak : p->peak;
  p->instruction = instruction;
  for (size_t i = 0; i < SHAPES; i++) {
    for (size_t layer = 0; layer < LAYERS; layer++) {
      p->gemm->pack(shapes[i].n, shapes[i].k, mem->w, mem->packed[layer]);
    }
    for (int epilogue = 0; epilogue < 2; epilogue++) {
      double seconds = once(mem, p->gemm, &shapes[i], epilogue == 1);
      double *best = epilogue == 1 ? &p->epilogue[i] : &p->plain[i];
      *best = *best == 0.0 || seconds < *best ? seconds : *best;
    }
  }
}

static void print_product(const product *p, size_t m) {
  (void)printf("%-16s peak %6.0f G/s (%s)\n", p->gemm->name, p->peak * 1e-9, p->instruction);
  for (size_t i = 0; i < SHAPES; i++) {
    double operations = 2.0 * (double)m * (double)shapes[i].n * (double)shapes[i].k;
    double plain = operations / p->plain[i];
    double epilogue = operations / p->epilogue[i];
    (void)printf("  %4zu x %-4zu  bias %7.1f G/s", shapes[i].k, shapes[i].n, plain * 1e-9);
    if (p->peak > 0.0) {
      (void)printf(" %5.1f %%", 100.0 * plain / p->peak);
    }
    (void)printf("   with epilogue %7.1f G/s", epilogue * 1e-9);
    if (p->peak > 0.0) {
      (void)printf(" %5.1f %%", 100.0 * epilogue / p->peak);
    }
    (void)printf("\n");
  }
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

int rr_bench(const char *name, size_t m, size_t rounds) {
  product products[PRODUCTS_MAX] = {{.gemm = NULL}};
  size_t count = 0;
  size_t packed = 0;
  size_t scratch = 0;
  uint32_t missing;
  const rr_gemm *gemm;
  for (size_t i = 0; (gemm = rr_gemm_entry(i, &missing)) != NULL && count < PRODUCTS_MAX; i++) {
    if (missing != 0 || (name != NULL && strcmp(name, gemm->name) != 0)) {
      continue;
    }
    products[count++].gemm = gemm;
    for (size_t s = 0; s < SHAPES; s++) {
      packed = larger(packed, gemm->packed_size(shapes[s].n, shapes[s].k));
      scratch = larger(scratch, gemm->scratch_size(m, shapes[s].n, shapes[s].k));
    }
  }
  memory mem = {.m = m,
                .x = floats(m * WIDTH_MAX),
                .w = floats((size_t)WIDTH_MAX * WIDTH_MAX),
                .bias = floats(WIDTH_MAX),
                .residual = floats(m * WIDTH_MAX),
                .out = floats(m * WIDTH_MAX),
                .scratch = allocate(scratch)};
  for (size_t i = 0; i < LAYERS; i++) {
    mem.packed[i] = allocate(packed);
  }
  for (size_t round = 0; round < rounds; round++) {
    for (size_t i = 0; i < count; i++) {
      time_product(&mem, &products[i]);
    }
  }
  (void)printf("m = %zu, rows %s, one thread, fastest of %zu interleaved rounds\n", m,
               rr_rowops_best()->name, rounds);
  for (size_t i = 0; i < count; i++) {
    print_product(&products[i], m);
  }
  for (size_t i = 0; i < LAYERS; i++) {
    free(mem.packed[i]);
  }
  free(mem.scratch);
  free(mem.out);
  free(mem.residual);
  free(mem.bias);
  free(mem.w);
  free(mem.x);
  return count > 0 ? 0 : 1;
}
