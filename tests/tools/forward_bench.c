/* Times the forward pass alone: forward_bench MODEL_DIR SEQUENCES LENGTH BATCH_TOKENS THREADS
 * [ROUNDS [DTYPE]]
 *
 * Every round computes SEQUENCES random sequences of LENGTH tokens, cut into micro-batches of up to
 * BATCH_TOKENS tokens that THREADS threads take as they get free. Prints the fastest and the median
 * round. GFLOP counts what is computed: of a model whose head reads [CLS] only, the last layer's
 * queries and feed-forward count for one row a sequence. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/model/encoder.h"
#include "core/scorer.h"

enum { ROUNDS_MAX = 1000 };

typedef struct bench {
  const rr_scorer *scorer;
  rr_sequence **sequences;
  size_t n_sequences;
  size_t per_batch;
  size_t batch_tokens;
  atomic_size_t next;
  atomic_int failed;
  size_t rounds;
  pthread_barrier_t start;
  pthread_barrier_t stop;
} bench;

static double now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *work(void *argument) {
  bench *b = argument;
  rr_workspace *workspace = NULL;
  if (rr_workspace_create(b->scorer, b->batch_tokens, &workspace, NULL) != RR_OK) {
    atomic_store(&b->failed, 1);
  }
  for (size_t round = 0; round < b->rounds; round++) {
    (void)pthread_barrier_wait(&b->start);
    for (;;) {
      size_t first = atomic_fetch_add(&b->next, b->per_batch);
      if (first >= b->n_sequences || workspace == NULL) {
        break;
      }
      size_t left = b->n_sequences - first;
      size_t count = left < b->per_batch ? left : b->per_batch;
      if (rr_scorer_forward(workspace, b->sequences + first, count, NULL) != RR_OK) {
        atomic_store(&b->failed, 1);
      }
    }
    (void)pthread_barrier_wait(&b->stop);
  }
  rr_workspace_destroy(workspace);
  return NULL;
}

static double gflop(const rr_model_info *info, double sequences, double length) {
  double hidden = info->hidden_size;
  double wide = info->intermediate_size;
  double linear = 2.0 * (4.0 * hidden * hidden + 2.0 * hidden * wide);
  double whole = length * linear + 4.0 * length * length * hidden;
  /* The last layer of a [CLS] head: one row a sequence, whose heads meet the tokens themselves. */
  double last = 4.0 * length * info->heads * hidden + linear;
  double layers = info->layers;
  double all = info->pooling == RR_POOLING_MEAN ? layers * whole : (layers - 1.0) * whole + last;
  return sequences * all * 1e-9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a;
  double y = *(const double *)b;
  return (x > y) - (x < y);
}

static void fill(bench *b, rr_sequence *sequences, rr_input *inputs, uint32_t length, int32_t *ids,
                 uint8_t *types, float *outputs) {
  const rr_model_info *info = rr_scorer_info(b->scorer);
  uint32_t random = 1;
  for (size_t i = 0; i < b->n_sequences * length; i++) {
    random = random * 1664525u + 1013904223u;
    ids[i] = (int32_t)((random >> 8) % info->vocabulary_size);
    types[i] = 0;
  }
  for (size_t i = 0; i < b->n_sequences; i++) {
    inputs[i] = (rr_input){.ids = ids + i * length,
                           .type_ids = types + i * length,
                           .length = length,
                           .output = outputs + i * info->hidden_size};
    sequences[i] = (rr_sequence){.length = length, .input = &inputs[i]};
    b->sequences[i] = &sequences[i];
  }
}

static int run(bench *b, size_t n_threads, double *times) {
  pthread_t *threads = calloc(n_threads, sizeof *threads);
  if (threads == NULL || pthread_barrier_init(&b->start, NULL, (unsigned)n_threads + 1) != 0 ||
      pthread_barrier_init(&b->stop, NULL, (unsigned)n_threads + 1) != 0) {
    free(threads);
    return 1;
  }
  for (size_t i = 0; i < n_threads; i++) {
    if (pthread_create(&threads[i], NULL, work, b) != 0) {
      (void)fprintf(stderr, "cannot start a thread\n");
      exit(1);
    }
  }
  for (size_t round = 0; round < b->rounds; round++) {
    atomic_store(&b->next, 0);
    (void)pthread_barrier_wait(&b->start);
    double began = now();
    (void)pthread_barrier_wait(&b->stop);
    times[round] = now() - began;
  }
  for (size_t i = 0; i < n_threads; i++) {
    (void)pthread_join(threads[i], NULL);
  }
  free(threads);
  return atomic_load(&b->failed);
}

static size_t argument(char **argv, int at, size_t max) {
  char *end;
  unsigned long long value = strtoull(argv[at], &end, 10);
  if (*end != '\0' || value < 1 || value > max) {
    (void)fprintf(stderr, "argument %d must be a number from 1 to %zu\n", at, max);
    exit(2);
  }
  return (size_t)value;
}

static rr_dtype dtype_of(const char *name) {
  if (strcmp(name, "float32") == 0) {
    return RR_DTYPE_FLOAT32;
  }
  if (strcmp(name, "bfloat16") == 0) {
    return RR_DTYPE_BFLOAT16;
  }
  if (strcmp(name, "int8") != 0) {
    (void)fprintf(stderr, "DTYPE is float32, bfloat16 or int8\n");
    exit(2);
  }
  return RR_DTYPE_INT8;
}

int main(int argc, char **argv) {
  if (argc < 6 || argc > 8) {
    (void)fprintf(
        stderr,
        "usage: forward_bench MODEL_DIR SEQUENCES LENGTH BATCH_TOKENS THREADS [ROUNDS [DTYPE]]\n");
    return 2;
  }
  bench b = {.n_sequences = argument(argv, 2, 100000), .batch_tokens = argument(argv, 4, 1 << 20)};
  size_t length = argument(argv, 3, 1 << 16);
  size_t n_threads = argument(argv, 5, 1024);
  b.rounds = argc >= 7 ? argument(argv, 6, ROUNDS_MAX) : 7;
  rr_dtype dtype = dtype_of(argc == 8 ? argv[7] : "float32");
  rr_scorer *scorer;
  rr_error err = {.message = ""};
  const rr_load_options load = {.dtype = dtype};
  if (rr_scorer_load(argv[1], &load, &scorer, &err) != RR_OK) {
    (void)fprintf(stderr, "%s\n", err.message);
    return 1;
  }
  const rr_model_info *info = rr_scorer_info(scorer);
  b.scorer = scorer;
  b.per_batch = b.batch_tokens < length ? 1 : b.batch_tokens / length;
  size_t tokens = b.n_sequences * length;
  b.sequences = calloc(b.n_sequences, sizeof(rr_sequence *));
  rr_sequence *sequences = calloc(b.n_sequences, sizeof *sequences);
  rr_input *inputs = calloc(b.n_sequences, sizeof *inputs);
  int32_t *ids = calloc(tokens, sizeof *ids);
  uint8_t *types = calloc(tokens, sizeof *types);
  float *outputs = calloc(b.n_sequences * info->hidden_size, sizeof *outputs);
  if (b.sequences == NULL || sequences == NULL || inputs == NULL || ids == NULL || types == NULL ||
      outputs == NULL) {
    (void)fprintf(stderr, "out of memory\n");
    return 1;
  }
  fill(&b, sequences, inputs, (uint32_t)length, ids, types, outputs);
  double times[ROUNDS_MAX];
  int failed = run(&b, n_threads, times);
  qsort(times, b.rounds, sizeof *times, by_value);
  double work_done = gflop(info, (double)b.n_sequences, (double)length);
  (void)printf(
      "%s: %zu x %zu tokens, batch %zu, threads %zu: min %.1f ms, median %.1f ms, %.1f GFLOP, "
      "%.1f GFLOP/s\n",
      info->kernels, b.n_sequences, length, b.batch_tokens, n_threads, times[0] * 1e3,
      times[b.rounds / 2] * 1e3, work_done, work_done / times[0]);
  free(outputs);
  free(types);
  free(ids);
  free(inputs);
  free(sequences);
  free(b.sequences);
  rr_scorer_destroy(scorer);
  return failed;
}
