#include "server/sched/batcher.h"

#include "core/base/alloc.h"

static const size_t not_queued = SIZE_MAX;

bool batcher_init(batcher *self, const batcher_config *config) {
  batcher_job **heap = rr_calloc(config->max_jobs, sizeof(batcher_job *));
  if (heap == NULL) {
    return false;
  }
  *self = (batcher){.config = *config, .heap = heap};
  return true;
}

void batcher_finish(batcher *self) {
  rr_free(self->heap);
  *self = (batcher){.heap = NULL};
}

static bool before(const batcher_job *a, const batcher_job *b) {
  return a->key < b->key || (a->key == b->key && a->arrival < b->arrival);
}

static void place(batcher *self, size_t index, batcher_job *job) {
  self->heap[index] = job;
  job->heap_index = index;
}

static void sift_up(batcher *self, size_t index) {
  batcher_job *job = self->heap[index];
  while (index > 0) {
    size_t parent = (index - 1) / 2;
    if (!before(job, self->heap[parent])) {
      break;
    }
    place(self, index, self->heap[parent]);
    index = parent;
  }
  place(self, index, job);
}

static void sift_down(batcher *self, size_t index) {
  batcher_job *job = self->heap[index];
  for (;;) {
    size_t child = 2 * index + 1;
    if (child >= self->n_jobs) {
      break;
    }
    if (child + 1 < self->n_jobs && before(self->heap[child + 1], self->heap[child])) {
      child++;
    }
    if (!before(self->heap[child], job)) {
      break;
    }
    place(self, index, self->heap[child]);
    index = child;
  }
  place(self, index, job);
}

static void take_out(batcher *self, batcher_job *job) {
  size_t index = job->heap_index;
  self->n_jobs--;
  if (index != self->n_jobs) {
    place(self, index, self->heap[self->n_jobs]);
    sift_down(self, index);
    sift_up(self, index);
  }
  job->heap_index = not_queued;
}

static int64_t key_of(const batcher *self, uint64_t tokens, int32_t priority) {
  int64_t steps = priority < -BATCHER_PRIORITY_MAX  ? -BATCHER_PRIORITY_MAX
                  : priority > BATCHER_PRIORITY_MAX ? BATCHER_PRIORITY_MAX
                                                    : priority;
  return (int64_t)(self->handed_out + tokens) + steps * (int64_t)self->config.priority_step;
}

bool batcher_add(batcher *self, batcher_job *job, uint64_t now) {
  if (self->n_jobs == self->config.max_jobs) {
    return false;
  }
  workload own = {0};
  for (uint32_t i = 0; i < job->n; i++) {
    workload_add(&own, job->lengths[i]);
  }
  job->next = 0;
  job->dropped = 0;
  job->waiting = own;
  job->key = key_of(self, own.tokens, job->priority);
  job->arrival = self->arrivals++;
  job->added_at = now;
  job->started_at = 0;
  self->waiting.tokens += own.tokens;
  self->waiting.squares += own.squares;
  self->waiting_sequences += job->n;
  place(self, self->n_jobs, job);
  self->n_jobs++;
  sift_up(self, self->n_jobs - 1);
  return true;
}

workload batcher_ahead(const batcher *self, uint64_t tokens, int32_t priority) {
  int64_t key = key_of(self, tokens, priority);
  workload sum = {0};
  for (size_t i = 0; i < self->n_jobs; i++) {
    const batcher_job *job = self->heap[i];
    if (job->key <= key) {
      sum.tokens += job->waiting.tokens;
      sum.squares += job->waiting.squares;
    }
  }
  return sum;
}

/* An even share of what waits, twice over, so that the last micro-batches are the small ones. */
static size_t token_budget(const batcher *self) {
  uint64_t share = self->waiting.tokens / (2u * (uint64_t)self->config.workers);
  if (share < self->config.min_tokens) {
    share = self->config.min_tokens;
  }
  return share < self->config.max_tokens ? (size_t)share : self->config.max_tokens;
}

static void take_off(workload *from, uint64_t length) {
  from->tokens -= length;
  from->squares -= length * length;
}

static void hand_out(batcher *self, batcher_job *job, uint64_t now, batcher_item *item) {
  uint32_t length = job->lengths[job->next];
  *item = (batcher_item){.job = job, .position = job->next};
  if (job->next == 0) {
    job->started_at = now;
  }
  job->next++;
  take_off(&job->waiting, length);
  take_off(&self->waiting, length);
  self->waiting_sequences--;
  self->handed_out += length;
  if (job->next == job->n) {
    take_out(self, job);
  }
}

/* When a micro-batch that begins now would end. */
static uint64_t end_of(const batcher *self, uint64_t now, workload batch) {
  return self->config.speed == NULL ? now : now + estimate_ns(self->config.speed, batch);
}

static uint64_t sooner(uint64_t limit, const batcher_job *job) {
  return job->deadline != 0 && job->deadline < limit ? job->deadline : limit;
}

/* The job that goes next, after those were dropped that would come too late; NULL: nothing
 * waits. */
static batcher_job *next_in_time(batcher *self, uint64_t now) {
  while (self->n_jobs > 0) {
    batcher_job *job = self->heap[0];
    workload one = {0};
    workload_add(&one, job->lengths[job->next]);
    bool late = job->deadline != 0 && job->deadline <= now;
    if (!late && (self->n_jobs == 1 || end_of(self, now, one) <= sooner(UINT64_MAX, job))) {
      return job;
    }
    job->dropped = batcher_remove(self, job);
  }
  return NULL;
}

size_t batcher_cut(batcher *self, uint64_t now, batcher_item *items, size_t capacity,
                   size_t *ret_tokens) {
  workload batch = {0};
  uint64_t limit = UINT64_MAX;
  size_t n = 0;
  *ret_tokens = 0;
  if (capacity == 0 || next_in_time(self, now) == NULL) {
    return 0;
  }
  size_t budget = token_budget(self);
  while (n < capacity && self->n_jobs > 0) {
    batcher_job *job = self->heap[0];
    workload larger = batch;
    workload_add(&larger, job->lengths[job->next]);
    limit = sooner(limit, job);
    if (n > 0 && (larger.tokens > budget || end_of(self, now, larger) > limit)) {
      break;
    }
    batch = larger;
    hand_out(self, job, now, &items[n++]);
  }
  *ret_tokens = (size_t)batch.tokens;
  return n;
}

uint32_t batcher_remove(batcher *self, batcher_job *job) {
  uint32_t left = job->n - job->next;
  if (left == 0 || job->heap_index == not_queued) {
    return 0;
  }
  take_out(self, job);
  self->waiting.tokens -= job->waiting.tokens;
  self->waiting.squares -= job->waiting.squares;
  self->waiting_sequences -= left;
  job->waiting = (workload){0};
  job->next = job->n;
  return left;
}
