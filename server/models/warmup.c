#include "server/models/warmup.h"

#include <semaphore.h>

enum { TEXTS = 64, ARENA_LIMIT = 256 << 20 /* MaxSim keeps a vector a token */ };

typedef struct warmup {
  workers_job job; /* first */
  sem_t finished;
} warmup;

static void on_done(workers_job *job) { (void)sem_post(&((warmup *)job)->finished); }

static rr_status compute(workers *crew, rr_encoded *encoded, rr_arena *arena, rr_error *err) {
  size_t n = encoded->n_sequences;
  rr_sequence **sequences = rr_arena_calloc(arena, n, sizeof(rr_sequence *));
  uint32_t *lengths = rr_arena_calloc(arena, n, sizeof *lengths);
  if (sequences == NULL || lengths == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    sequences[i] = &encoded->sequences[i];
    lengths[i] = encoded->sequences[i].length;
  }
  warmup self = {.job = {.queue = {.lengths = lengths, .n = (uint32_t)n},
                         .sequences = sequences,
                         .done = on_done}};
  (void)sem_init(&self.finished, 0, 0);
  rr_status status = RR_OK;
  if (workers_submit(crew, &self.job).verdict != ADMISSION_GRANTED) {
    status = rr_fail(err, RR_ERR_INPUT, "the workers take no job");
  } else {
    while (sem_wait(&self.finished) != 0) { /* interrupted by a signal */
    }
    status = self.job.error.status == RR_OK
                 ? RR_OK
                 : rr_fail(err, self.job.error.status, "%s", self.job.error.message);
  }
  (void)sem_destroy(&self.finished);
  return status;
}

rr_status warmup_run(const rr_scorer *scorer, workers *crew, rr_error *err) {
  static const char query[] = "how do rivers find their way to the sea";
  static const char text[] =
      "Water runs downhill. Brooks meet and become streams, streams become "
      "rivers, and a river follows the lowest ground until it reaches the sea.";
  rr_text texts[TEXTS];
  for (size_t i = 0; i < TEXTS; i++) {
    texts[i] = (rr_text){text, sizeof text - 1 - i}; /* of many lengths */
  }
  rr_arena arena;
  rr_arena_init(&arena, ARENA_LIMIT);
  const rr_encode_options options = {.truncate = true, .side = RR_TRUNCATE_RIGHT};
  rr_encoded encoded;
  float scores[TEXTS];
  rr_status status = rr_scorer_encode(scorer, (rr_text){query, sizeof query - 1}, texts, TEXTS,
                                      &options, &arena, &encoded, err);
  if (status == RR_OK) {
    status = compute(crew, &encoded, &arena, err);
  }
  if (status == RR_OK) {
    status = rr_scorer_scores(scorer, &encoded, false, scores, err);
  }
  rr_arena_finish(&arena);
  return status;
}
