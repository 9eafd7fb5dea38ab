#include "server/engine.h"

#include <pthread.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/clock.h"

enum {
  SEQUENCES_MAX = 1024,  /* of a micro-batch */
  MIN_BATCH_TOKENS = 128 /* smaller GEMMs waste more than an uneven end costs */
};

typedef struct worker {
  struct engine *engine;
  rr_workspace *workspace;
  pthread_t thread;
  bool started;
  batcher_item items[SEQUENCES_MAX];
  rr_sequence *sequences[SEQUENCES_MAX];
} worker;

struct engine {
  pthread_mutex_t lock;
  pthread_cond_t work;
  bool stopping;
  batcher batcher;
  engine_stats stats;
  engine_config config;
  unsigned n_workers;
  worker *workers;
};

static void count_batch(engine *self, size_t sequences, size_t tokens) {
  histogram_add(&self->stats.batch_sequences, (double)sequences);
  histogram_add(&self->stats.batch_tokens, (double)tokens);
  histogram_add(&self->stats.batch_fill, (double)tokens / (double)self->config.max_batch_tokens);
}

/* Blocks until there is work; returns the number of sequences, 0 to stop. */
static size_t take_work(engine *self, worker *me) {
  size_t tokens = 0;
  size_t n = 0;
  (void)pthread_mutex_lock(&self->lock);
  while (!self->stopping &&
         (n = batcher_cut(&self->batcher, clock_now(), me->items, SEQUENCES_MAX, &tokens)) == 0) {
    (void)pthread_cond_wait(&self->work, &self->lock);
  }
  if (n > 0) {
    count_batch(self, n, tokens);
  }
  (void)pthread_mutex_unlock(&self->lock);
  return n;
}

/* Books a micro-batch; puts jobs that are complete into the front of me->items and returns their
 * number. A failed micro-batch fails its jobs, whose waiting sequences are dropped. */
static size_t book_work(engine *self, worker *me, size_t n, const rr_error *error) {
  uint64_t now = clock_now();
  size_t complete = 0;
  (void)pthread_mutex_lock(&self->lock);
  for (size_t i = 0; i < n; i++) {
    engine_job *job = (engine_job *)me->items[i].job;
    if (error->status != RR_OK && job->error.status == RR_OK) {
      job->error = *error;
      job->open_sequences -= batcher_remove(&self->batcher, &job->queue);
    }
    job->open_sequences--;
    if (job->open_sequences == 0) {
      job->finished_at = now;
      me->items[complete++].job = &job->queue;
    }
  }
  (void)pthread_mutex_unlock(&self->lock);
  return complete;
}

static void *work(void *argument) {
  worker *me = argument;
  engine *self = me->engine;
  size_t n;
  while ((n = take_work(self, me)) > 0) {
    for (size_t i = 0; i < n; i++) {
      me->sequences[i] = ((engine_job *)me->items[i].job)->sequences[me->items[i].position];
    }
    rr_error error = {.status = RR_OK, .message = ""};
    (void)rr_scorer_forward(me->workspace, me->sequences, n, &error);
    size_t complete = book_work(self, me, n, &error);
    for (size_t i = 0; i < complete; i++) {
      engine_job *job = (engine_job *)me->items[i].job;
      job->done(job);
    }
  }
  return NULL;
}

static rr_status start_workers(engine *self, const rr_scorer *scorer, rr_error *err) {
  for (unsigned i = 0; i < self->n_workers; i++) {
    worker *me = &self->workers[i];
    me->engine = self;
    rr_status status =
        rr_workspace_create(scorer, self->config.max_batch_tokens, &me->workspace, err);
    if (status != RR_OK) {
      return status;
    }
    int failure = pthread_create(&me->thread, NULL, work, me);
    if (failure != 0) {
      return rr_fail(err, RR_ERR_MEMORY, "cannot start a worker thread: %s", strerror(failure));
    }
    me->started = true;
  }
  return RR_OK;
}

rr_status engine_create(const rr_scorer *scorer, const engine_config *config, engine **ret_engine,
                        rr_error *err) {
  engine *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the workers");
  }
  self->config = *config;
  self->n_workers = config->threads;
  (void)pthread_mutex_init(&self->lock, NULL);
  (void)pthread_cond_init(&self->work, NULL);
  engine_stats_init(&self->stats);
  batcher_config policy = {.max_jobs = config->max_jobs,
                           .max_tokens = config->max_batch_tokens,
                           .min_tokens = MIN_BATCH_TOKENS,
                           .workers = config->threads};
  self->workers = rr_calloc(config->threads, sizeof *self->workers);
  rr_status status;
  if (self->workers == NULL || !batcher_init(&self->batcher, &policy)) {
    status = rr_fail(err, RR_ERR_MEMORY, "out of memory for the workers");
  } else {
    status = start_workers(self, scorer, err);
  }
  if (status != RR_OK) {
    engine_destroy(self);
    return status;
  }
  *ret_engine = self;
  return RR_OK;
}

void engine_destroy(engine *self) {
  if (self == NULL) {
    return;
  }
  (void)pthread_mutex_lock(&self->lock);
  self->stopping = true;
  (void)pthread_cond_broadcast(&self->work);
  (void)pthread_mutex_unlock(&self->lock);
  for (unsigned i = 0; self->workers != NULL && i < self->n_workers; i++) {
    if (self->workers[i].started) {
      (void)pthread_join(self->workers[i].thread, NULL);
    }
    rr_workspace_destroy(self->workers[i].workspace);
  }
  batcher_finish(&self->batcher);
  rr_free(self->workers);
  (void)pthread_cond_destroy(&self->work);
  (void)pthread_mutex_destroy(&self->lock);
  rr_free(self);
}

bool engine_submit(engine *self, engine_job *job) {
  job->error = (rr_error){.status = RR_OK, .message = ""};
  job->open_sequences = job->queue.n;
  (void)pthread_mutex_lock(&self->lock);
  bool added = batcher_add(&self->batcher, &job->queue, clock_now());
  /* Every idle worker may find a share: a request is cut among them. */
  (void)pthread_cond_broadcast(&self->work);
  (void)pthread_mutex_unlock(&self->lock);
  return added;
}

void engine_read_stats(engine *self, engine_stats *ret_stats) {
  (void)pthread_mutex_lock(&self->lock);
  *ret_stats = self->stats;
  ret_stats->queued_requests = self->batcher.n_jobs;
  ret_stats->queued_sequences = self->batcher.waiting_sequences;
  ret_stats->queued_tokens = self->batcher.waiting_tokens;
  (void)pthread_mutex_unlock(&self->lock);
}
