#include "tests/kernels/agree.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel/bf16.h"
#include "tests/slow.h"

enum { GAP = 3, CANARY = 0x5a, GUARD = 256 };

typedef struct sizes {
  size_t m;
  size_t n;
  size_t k;
} sizes;

/* Operands and the result of one product. */
typedef struct product {
  sizes size;
  size_t ldx;
  size_t ld_out;
  float *x;
  float *w;
  float *bias;
  float *out;
} product;

static void *guarded(size_t size) {
  size_t whole = (size + GUARD + 63) / 64 * 64;
  char *data = aligned_alloc(64, whole);
  if (data == NULL) {
    abort();
  }
  memset(data, CANARY, whole);
  return data;
}

static bool intact(const void *data, size_t size) {
  const unsigned char *guard = (const unsigned char *)data + size;
  for (size_t i = 0; i < GUARD; i++) {
    if (guard[i] != CANARY) {
      return false;
    }
  }
  return true;
}

static float next_random(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return (float)(int32_t)(*state & 0xfffffe00u) / 2147483648.0f;
}

static float *randoms(size_t count, uint32_t seed) {
  float *values = guarded(count * sizeof *values);
  for (size_t i = 0; i < count; i++) {
    values[i] = next_random(&seed);
  }
  return values;
}

static product make(sizes size, uint32_t seed) {
  product p = {.size = size, .ldx = size.k + GAP, .ld_out = size.n + GAP};
  p.x = randoms(size.m * p.ldx, seed);
  p.w = randoms(size.n * size.k, seed + 1);
  p.bias = randoms(size.n, seed + 2);
  p.out = guarded(size.m * p.ld_out * sizeof *p.out);
  return p;
}

static void destroy(product *p) {
  free(p->out);
  free(p->bias);
  free(p->w);
  free(p->x);
}

static bool run(const rr_gemm *gemm, const product *p, char why[AGREE_TEXT_MAX]) {
  const sizes *s = &p->size;
  size_t packed_size = gemm->packed_size(s->n, s->k);
  size_t scratch_size = gemm->scratch_size(s->m, s->n, s->k);
  void *packed = guarded(packed_size);
  void *scratch = guarded(scratch_size);
  gemm->pack(s->n, s->k, p->w, packed);
  rr_gemm_args args = {.m = s->m,
                       .n = s->n,
                       .k = s->k,
                       .x = p->x,
                       .ldx = p->ldx,
                       .packed = packed,
                       .bias = p->bias,
                       .out = p->out,
                       .ld_out = p->ld_out,
                       .rowops = rr_rowops_find("generic"),
                       .scratch = scratch};
  gemm->run(&args);
  bool good = intact(packed, packed_size) && intact(scratch, scratch_size) &&
              intact(p->out, s->m * p->ld_out * sizeof *p->out);
  uint32_t canary;
  memset(&canary, CANARY, sizeof canary);
  for (size_t i = 0; i < s->m; i++) {
    for (size_t j = s->n; j < p->ld_out; j++) {
      good &= memcmp(&p->out[i * p->ld_out + j], &canary, sizeof canary) == 0;
    }
  }
  if (!good) {
    (void)snprintf(why, AGREE_TEXT_MAX, "%s wrote beyond a buffer at %zu x %zu x %zu", gemm->name,
                   s->m, s->n, s->k);
  }
  free(scratch);
  free(packed);
  return good;
}

/* The operand as the format sees it. */
static double seen(rr_format format, float value) {
  return (double)(format == RR_FORMAT_BF16 ? rr_bf16_round(value) : value);
}

/* Each of the k products and sums may err by one unit in the last place of the sum so far
 * (instructions that round to odd), and may take denormals as zero. */
static bool near_exact(rr_format format, const product *p, size_t i, size_t j) {
  double exact = (double)p->bias[j];
  double size = fabs(exact);
  double operands = 0.0;
  for (size_t l = 0; l < p->size.k; l++) {
    double x = seen(format, p->x[i * p->ldx + l]);
    double w = seen(format, p->w[j * p->size.k + l]);
    exact += x * w;
    size += fabs(x * w);
    operands += 1.0 + fabs(x) + fabs(w);
  }
  double bound = (double)(p->size.k + 2) * (double)FLT_EPSILON * size + operands * (double)FLT_MIN;
  return fabs((double)p->out[i * p->ld_out + j] - exact) <= bound;
}

static bool same_bits(const float *a, const float *b, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
      return false;
    }
  }
  return true;
}

static const rr_gemm *exact_int8(void) { return rr_gemm_find("int8-portable"); }

static bool check(const rr_gemm *gemm, const product *p, char why[AGREE_TEXT_MAX]) {
  const sizes *s = &p->size;
  if (!run(gemm, p, why)) {
    return false;
  }
  product want = *p;
  want.out = guarded(s->m * p->ld_out * sizeof *p->out);
  bool good = gemm->format != RR_FORMAT_INT8 || run(exact_int8(), &want, why);
  size_t i = 0;
  for (; good && i < s->m; i++) {
    if (gemm->format == RR_FORMAT_INT8) {
      good = same_bits(p->out + i * p->ld_out, want.out + i * p->ld_out, s->n);
    } else {
      for (size_t j = 0; good && j < s->n; j++) {
        good = near_exact(gemm->format, p, i, j);
      }
    }
  }
  if (!good) {
    (void)snprintf(why, AGREE_TEXT_MAX, "%s is wrong at %zu x %zu x %zu, row %zu", gemm->name, s->m,
                   s->n, s->k, i - 1);
  }
  free(want.out);
  return good;
}

bool agree_on_all_sizes(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]) {
  static const size_t ms[] = {1, 2, 3, 5, 6, 7, 8, 14, 15, 16, 17, 31, 32, 33, 49, 113};
  static const size_t ns[] = {1, 7, 12, 15, 16, 17, 31, 33, 48, 64, 65, 100};
  static const size_t ks[] = {1, 2, 3, 5, 8, 31, 32, 33, 64, 65, 100, 130};
  enum {
    MS = sizeof ms / sizeof ms[0],
    NS = sizeof ns / sizeof ns[0],
    KS = sizeof ks / sizeof ks[0]
  };
  bool good = true;
  size_t step = slow_step(11, 29); /* primes that divide none of the counts: all values occur */
  for (size_t i = 0; good && i < (size_t)MS * NS * KS; i += step) {
    product p = make((sizes){ms[i % MS], ns[i / MS % NS], ks[i / MS / NS]}, (uint32_t)i);
    good = check(gemm, &p, why);
    destroy(&p);
  }
  return good;
}

bool agree_on_extremes(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]) {
  static const float scales[] = {0.0f, 1e-45f, 1e-39f, 1e-30f, 1e-15f, 1e6f, 1e15f, 1e18f};
  bool good = true;
  for (size_t i = 0; good && i < sizeof scales / sizeof scales[0]; i++) {
    product p = make((sizes){19, 37, 70}, (uint32_t)i);
    for (size_t j = 0; j < p.size.m * p.ldx; j++) {
      p.x[j] *= scales[i];
    }
    memset(p.x + 2 * p.ldx, 0, p.size.k * sizeof *p.x); /* a row of zeros */
    p.x[3 * p.ldx] = 1e10f;                             /* one that outweighs the others */
    good = check(gemm, &p, why);
    for (size_t j = 0; good && scales[i] < 1e10f && j < p.size.n * p.size.k; j++) {
      p.w[j] *= 1e15f;
    }
    good = good && check(gemm, &p, why);
    destroy(&p);
  }
  return good;
}

bool agree_by_row(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]) {
  product all = make((sizes){131, 70, 97}, 9);
  bool good = run(gemm, &all, why);
  for (size_t first = 0; good && first < all.size.m; first += 5 * slow_step(3, 9)) {
    for (size_t rows = 1; good && rows <= all.size.m - first; rows = rows * 3 + 1) {
      product part = all;
      part.size.m = rows;
      part.x = all.x + first * all.ldx;
      part.out = guarded(rows * all.ld_out * sizeof *part.out);
      good = run(gemm, &part, why);
      for (size_t i = 0; good && i < rows; i++) {
        good = memcmp(part.out + i * all.ld_out, all.out + (first + i) * all.ld_out,
                      all.size.n * sizeof *all.out) == 0;
        if (!good) {
          (void)snprintf(why, AGREE_TEXT_MAX, "%s: row %zu differs among %zu rows", gemm->name,
                         first + i, rows);
        }
      }
      free(part.out);
    }
  }
  destroy(&all);
  return good;
}

static bool row_is(const product *p, size_t i, bool finite) {
  for (size_t j = 0; j < p->size.n; j++) {
    if (!isfinite(p->out[i * p->ld_out + j]) == finite) {
      return false;
    }
  }
  return true;
}

bool agree_on_nan(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]) {
  uint32_t low_payload = 0x7f800001u; /* a NaN that would round to infinity */
  float payload;
  memcpy(&payload, &low_payload, sizeof payload);
  const float values[] = {NAN, -NAN, payload, INFINITY, -INFINITY};
  bool good = true;
  for (size_t v = 0; good && v < sizeof values / sizeof values[0]; v++) {
    for (size_t place = 0; good && place < 70; place += 23 * slow_step(2, 3)) {
      product p = make((sizes){21, 40, 70}, 3);
      p.x[11 * p.ldx + place] = values[v];
      good = run(gemm, &p, why);
      for (size_t i = 0; good && i < p.size.m; i++) {
        good = row_is(&p, i, i != 11);
        if (!good) {
          (void)snprintf(why, AGREE_TEXT_MAX, "%s: row %zu is wrong where row 11 has a %f",
                         gemm->name, i, (double)values[v]);
        }
      }
      destroy(&p);
    }
  }
  return good;
}

bool agree_bitwise_bf16(const rr_gemm *gemm, char why[AGREE_TEXT_MAX]) {
  product p = make((sizes){50, 70, 333}, 5);
  product want = p;
  want.out = guarded(p.size.m * p.ld_out * sizeof *p.out);
  bool good = run(gemm, &p, why) && run(rr_gemm_find("bf16-portable"), &want, why);
  for (size_t i = 0; good && i < p.size.m; i++) {
    good = same_bits(p.out + i * p.ld_out, want.out + i * p.ld_out, p.size.n);
    if (!good) {
      (void)snprintf(why, AGREE_TEXT_MAX, "%s: row %zu has other bits", gemm->name, i);
    }
  }
  free(want.out);
  destroy(&p);
  return good;
}
