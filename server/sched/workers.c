#include "server/sched/workers.h"

#include <pthread.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"

enum {
  SEQUENCES_MAX = 1024,  /* of a micro-batch */
  MIN_BATCH_TOKENS = 128 /* smaller GEMMs waste more than an uneven end costs */
};

/* Attention takes 2 * hidden * L multiplications a token, the rest of a layer 12 * hidden^2: a
 * sixth of L / hidden. It runs at about half the speed. */
#define SQUARES_PER_HIDDEN (1.0 / 3)

typedef struct worker {
  struct workers *crew;
  rr_workspace *workspace;
  pthread_t thread;
  bool started;
  uint64_t busy_until; /* ns, predicted; 0: idle */
  uint64_t busy_since; /* ns; 0: it waits for work */
  batcher_item items[SEQUENCES_MAX];
  rr_sequence *sequences[SEQUENCES_MAX];
} worker;

struct workers {
  pthread_mutex_t lock;
  pthread_cond_t work;
  bool stopping;
  batcher batcher;
  estimate speed;
  workers_stats stats;
  workers_config config;
  unsigned n_workers;
  worker *workers;
};

static void count_batch(workers *self, size_t sequences, size_t tokens) {
  histogram_add(&self->stats.batch_sequences, (double)sequences);
  histogram_add(&self->stats.batch_tokens, (double)tokens);
  histogram_add(&self->stats.batch_fill, (double)tokens / (double)self->config.max_batch_tokens);
}

static workload work_of(const worker *me, size_t n) {
  workload sum = {0};
  for (size_t i = 0; i < n; i++) {
    workload_add(&sum, me->items[i].job->lengths[me->items[i].position]);
  }
  return sum;
}

/* Blocks until there is work; returns the number of sequences, 0 to stop. */
static size_t take_work(workers *self, worker *me, uint64_t *ret_begin) {
  size_t tokens = 0;
  size_t n = 0;
  (void)pthread_mutex_lock(&self->lock);
  self->stats.busy_ns += me->busy_since == 0 ? 0 : clock_now() - me->busy_since;
  me->busy_since = 0;
  while (!self->stopping &&
         (n = batcher_cut(&self->batcher, clock_now(), me->items, SEQUENCES_MAX, &tokens)) == 0) {
    (void)pthread_cond_wait(&self->work, &self->lock);
  }
  if (n > 0) {
    count_batch(self, n, tokens);
    *ret_begin = clock_now();
    me->busy_since = *ret_begin;
    me->busy_until = *ret_begin + estimate_ns(&self->speed, work_of(me, n)) + 1;
  }
  (void)pthread_mutex_unlock(&self->lock);
  return n;
}

/* Books one sequence; whether its job is complete with it. */
static bool book_sequence(workers *self, const batcher_item *item, const rr_error *error,
                          uint64_t now) {
  workers_job *job = (workers_job *)item->job;
  if (error->status != RR_OK && job->error.status == RR_OK) {
    job->error = *error;
    job->open_sequences -= batcher_remove(&self->batcher, &job->queue);
  } else if (job->computed != NULL && !job->detached && error->status == RR_OK) {
    job->computed[item->position] = 1;
  }
  job->open_sequences--;
  if (job->open_sequences > job->queue.dropped) {
    return false;
  }
  job->finished_at = now;
  if (!job->detached && job->queue.dropped == 0 && job->error.status == RR_OK) {
    estimate_check(&self->speed, job->predicted, now - job->queue.added_at);
  }
  return true;
}

/* Books a micro-batch; puts jobs that are complete into the front of me->items and returns their
 * number. A failed micro-batch fails its jobs, whose waiting sequences are dropped. */
static size_t book_work(workers *self, worker *me, size_t n, uint64_t begin,
                        const rr_error *error) {
  size_t complete = 0;
  (void)pthread_mutex_lock(&self->lock);
  uint64_t now = clock_now();
  me->busy_until = 0;
  if (error->status == RR_OK) {
    estimate_observe(&self->speed, work_of(me, n), now - begin);
  }
  for (size_t i = 0; i < n; i++) {
    batcher_item item = me->items[i];
    if (book_sequence(self, &item, error, now)) {
      me->items[complete++] = item;
    }
  }
  (void)pthread_mutex_unlock(&self->lock);
  return complete;
}

static void *work(void *argument) {
  worker *me = argument;
  workers *self = me->crew;
  size_t n;
  uint64_t begin = 0;
  while ((n = take_work(self, me, &begin)) > 0) {
    for (size_t i = 0; i < n; i++) {
      me->sequences[i] = ((workers_job *)me->items[i].job)->sequences[me->items[i].position];
    }
    rr_error error = {.status = RR_OK, .message = ""};
    (void)rr_scorer_forward(me->workspace, me->sequences, n, &error);
    size_t complete = book_work(self, me, n, begin, &error);
    for (size_t i = 0; i < complete; i++) {
      workers_job *job = (workers_job *)me->items[i].job;
      job->done(job);
    }
  }
  return NULL;
}

static rr_status start_workers(workers *self, const rr_scorer *scorer, rr_error *err) {
  for (unsigned i = 0; i < self->n_workers; i++) {
    worker *me = &self->workers[i];
    me->crew = self;
    rr_status status =
        rr_workspace_create(scorer, self->config.max_batch_tokens, &me->workspace, err);
    if (status != RR_OK) {
      return status;
    }
    self->stats.workspace_bytes += rr_workspace_bytes(me->workspace);
    int failure = pthread_create(&me->thread, NULL, work, me);
    if (failure != 0) {
      return rr_fail(err, RR_ERR_MEMORY, "cannot start a worker thread: %s", strerror(failure));
    }
    me->started = true;
  }
  return RR_OK;
}

rr_status workers_create(const rr_scorer *scorer, const workers_config *config,
                         workers **ret_workers, rr_error *err) {
  workers *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the workers");
  }
  self->config = *config;
  self->n_workers = config->threads;
  (void)pthread_mutex_init(&self->lock, NULL);
  (void)pthread_cond_init(&self->work, NULL);
  workers_stats_init(&self->stats);
  batcher_config policy = {.max_jobs = config->max_jobs,
                           .max_tokens = config->max_batch_tokens,
                           .min_tokens = MIN_BATCH_TOKENS,
                           .workers = config->threads,
                           .priority_step = config->max_batch_tokens,
                           .speed = &self->speed};
  estimate_init(&self->speed, SQUARES_PER_HIDDEN / rr_scorer_info(scorer)->hidden_size);
  self->workers = rr_calloc(config->threads, sizeof *self->workers);
  rr_status status;
  if (self->workers == NULL || !batcher_init(&self->batcher, &policy)) {
    status = rr_fail(err, RR_ERR_MEMORY, "out of memory for the workers");
  } else {
    status = start_workers(self, scorer, err);
  }
  if (status != RR_OK) {
    workers_destroy(self);
    return status;
  }
  *ret_workers = self;
  return RR_OK;
}

void workers_destroy(workers *self) {
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

/* ns that the micro-batches under way are predicted to need yet, over all workers; whether there
 * are any. */
static uint64_t running(const workers *self, bool *ret_working) {
  uint64_t now = clock_now();
  uint64_t sum = 0;
  *ret_working = false;
  for (unsigned i = 0; i < self->n_workers; i++) {
    uint64_t until = self->workers[i].busy_until;
    *ret_working = *ret_working || until != 0;
    sum += until > now ? until - now : 0;
  }
  return sum;
}

/* ns that all workers have been busy, the micro-batches under way included. */
static uint64_t busy(const workers *self) {
  uint64_t now = clock_now();
  uint64_t sum = self->stats.busy_ns;
  for (unsigned i = 0; i < self->n_workers; i++) {
    uint64_t since = self->workers[i].busy_since;
    sum += since != 0 && now > since ? now - since : 0;
  }
  return sum;
}

static admission ask(const workers *self, const admission_outlook *outlook) {
  bool working;
  uint64_t left = running(self, &working);
  return admission_ask(&self->config.limits, &self->batcher, left, working, outlook);
}

admission workers_ask(workers *self, const admission_outlook *outlook) {
  (void)pthread_mutex_lock(&self->lock);
  admission answer = ask(self, outlook);
  (void)pthread_mutex_unlock(&self->lock);
  return answer;
}

admission workers_submit(workers *self, workers_job *job) {
  uint64_t now = clock_now();
  uint64_t deadline = job->queue.deadline;
  admission_outlook outlook = {.request = {.time_left = deadline == 0    ? ADMISSION_NO_DEADLINE
                                                        : deadline > now ? deadline - now
                                                                         : 0,
                                           .all_or_nothing = job->all_or_nothing},
                               .priority = job->queue.priority};
  for (uint32_t i = 0; i < job->queue.n; i++) {
    workload_add(&outlook.request.own, job->queue.lengths[i]);
  }
  (void)pthread_mutex_lock(&self->lock);
  admission answer = ask(self, &outlook);
  if (answer.verdict == ADMISSION_GRANTED) {
    job->error = (rr_error){.status = RR_OK, .message = ""};
    job->open_sequences = job->queue.n;
    job->predicted = answer.predicted;
    job->finished_at = 0;
    job->detached = false;
    if (!batcher_add(&self->batcher, &job->queue, now)) {
      answer.verdict = ADMISSION_REQUESTS;
    }
    /* Every idle worker may find a share: a request is cut among them. */
    (void)pthread_cond_broadcast(&self->work);
  }
  (void)pthread_mutex_unlock(&self->lock);
  return answer;
}

workers_detached workers_detach(workers *self, workers_job *job) {
  (void)pthread_mutex_lock(&self->lock);
  workers_detached result = WORKERS_FINISHED;
  if (job->finished_at == 0) {
    uint32_t never = job->queue.dropped + batcher_remove(&self->batcher, &job->queue);
    job->queue.dropped = 0;
    job->open_sequences -= never;
    job->detached = true;
    result = job->open_sequences > 0 ? WORKERS_HELD : WORKERS_FREE;
  }
  (void)pthread_mutex_unlock(&self->lock);
  return result;
}

void workers_read_stats(workers *self, workers_stats *ret_stats) {
  (void)pthread_mutex_lock(&self->lock);
  *ret_stats = self->stats;
  ret_stats->workers = self->n_workers;
  ret_stats->busy_ns = busy(self);
  ret_stats->queued_requests = self->batcher.n_jobs;
  ret_stats->queued_sequences = self->batcher.waiting_sequences;
  ret_stats->queued_tokens = self->batcher.waiting.tokens;
  bool working;
  uint64_t all = running(self, &working) + estimate_ns(&self->speed, self->batcher.waiting);
  ret_stats->queued_ns = all / self->n_workers;
  ret_stats->tokens_per_second = estimate_tokens_per_second(&self->speed, self->n_workers);
  (void)pthread_mutex_unlock(&self->lock);
}
