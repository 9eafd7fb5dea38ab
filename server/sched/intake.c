#include "server/sched/intake.h"

enum {
  BYTES_OF_ANY = 2048
}; /* what the fixed part of reading a body takes is worth so many of its bytes */

static const double memory = 0.95; /* what is left of a body's weight after the next one */

bool intake_init(intake *self, unsigned threads, size_t max_jobs) {
  *self = (intake){.threads = threads};
  estimate_init(&self->speed, 0);
  const batcher_config policy = {
      .max_jobs = max_jobs, .max_tokens = 1, .min_tokens = 1, .workers = 1};
  return batcher_init(&self->queue, &policy);
}

void intake_finish(intake *self) { batcher_finish(&self->queue); }

static uint32_t bounded(size_t bytes) {
  return bytes < 1 ? 1 : bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

static workload bytes_as_work(uint64_t bytes) { return (workload){.tokens = bytes}; }
static workload body_as_work(uint64_t bytes) { return bytes_as_work(bytes + BYTES_OF_ANY); }

workload intake_expect(const intake *self, size_t bytes) {
  if (self->bytes <= 0) {
    return (workload){0};
  }
  double share = (double)bytes / self->bytes;
  return (workload){.tokens = (uint64_t)(share * self->tokens),
                    .squares = (uint64_t)(share * self->squares)};
}

static void add_smaller(workload *sum, const intake_job *job, uint64_t tokens) {
  if (job->expected.tokens <= tokens) {
    sum->tokens += job->expected.tokens;
    sum->squares += job->expected.squares;
  }
}

workload intake_ahead(const intake *self, uint64_t tokens) {
  workload sum = {0};
  for (const intake_job *job = self->running_jobs; job != NULL; job = job->next_running) {
    add_smaller(&sum, job, tokens);
  }
  for (size_t i = 0; i < self->queue.n_jobs; i++) {
    add_smaller(&sum, (const intake_job *)self->queue.heap[i], tokens);
  }
  return sum;
}

uint64_t intake_delay(const intake *self, size_t bytes, int32_t priority) {
  /* Of those under way, half is done on the average. */
  uint64_t before = batcher_ahead(&self->queue, bytes, priority).tokens + self->running_bytes / 2;
  return estimate_ns(&self->speed, bytes_as_work(before)) / self->threads +
         estimate_ns(&self->speed, body_as_work(bytes));
}

bool intake_add(intake *self, intake_job *job, size_t bytes, uint64_t now) {
  job->bytes = bounded(bytes);
  job->expected = intake_expect(self, bytes);
  job->queue.lengths = &job->bytes;
  job->queue.n = 1;
  return batcher_add(&self->queue, &job->queue, now);
}

intake_job *intake_next(intake *self, uint64_t now) {
  batcher_item item;
  size_t bytes;
  if (self->running == self->threads || batcher_cut(&self->queue, now, &item, 1, &bytes) == 0) {
    return NULL;
  }
  self->running++;
  intake_job *job = (intake_job *)item.job;
  self->running_bytes += job->bytes;
  job->next_running = self->running_jobs;
  self->running_jobs = job;
  return job;
}

void intake_done(intake *self, intake_job *job, uint64_t took, const workload *found) {
  self->running--;
  self->running_bytes -= job->bytes;
  for (intake_job **place = &self->running_jobs; *place != NULL; place = &(*place)->next_running) {
    if (*place == job) {
      *place = job->next_running;
      break;
    }
  }
  if (found == NULL) {
    return;
  }
  estimate_observe(&self->speed, body_as_work(job->bytes), took);
  self->bytes = memory * self->bytes + job->bytes;
  self->tokens = memory * self->tokens + (double)found->tokens;
  self->squares = memory * self->squares + (double)found->squares;
}

void intake_remove(intake *self, intake_job *job) {
  (void)batcher_remove(&self->queue, &job->queue);
}

bool intake_is_empty(const intake *self) { return self->running == 0 && self->queue.n_jobs == 0; }
