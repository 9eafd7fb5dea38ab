#include "server/batcher.h"

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

bool batcher_add(batcher *self, batcher_job *job, uint64_t now) {
  if (self->n_jobs == self->config.max_jobs) {
    return false;
  }
  uint64_t tokens = 0;
  for (uint32_t i = 0; i < job->n; i++) {
    tokens += job->lengths[i];
  }
  job->next = 0;
  job->waiting_tokens = tokens;
  job->key = self->handed_out + tokens;
  job->arrival = self->arrivals++;
  job->added_at = now;
  job->started_at = 0;
  self->waiting_tokens += tokens;
  self->waiting_sequences += job->n;
  place(self, self->n_jobs, job);
  self->n_jobs++;
  sift_up(self, self->n_jobs - 1);
  return true;
}

/* An even share of what waits, twice over, so that the last micro-batches are the small ones. */
static size_t token_budget(const batcher *self) {
  uint64_t share = self->waiting_tokens / (2u * (uint64_t)self->config.workers);
  if (share < self->config.min_tokens) {
    share = self->config.min_tokens;
  }
  return share < self->config.max_tokens ? (size_t)share : self->config.max_tokens;
}

static void hand_out(batcher *self, batcher_job *job, uint64_t now, batcher_item *item) {
  uint32_t length = job->lengths[job->next];
  *item = (batcher_item){.job = job, .position = job->next};
  if (job->next == 0) {
    job->started_at = now;
  }
  job->next++;
  job->waiting_tokens -= length;
  self->waiting_tokens -= length;
  self->waiting_sequences--;
  self->handed_out += length;
  if (job->next == job->n) {
    take_out(self, job);
  }
}

size_t batcher_cut(batcher *self, uint64_t now, batcher_item *items, size_t capacity, size_t *ret_tokens) {
  size_t budget = token_budget(self);
  size_t n = 0;
  size_t tokens = 0;
  while (n < capacity && self->n_jobs > 0) {
    batcher_job *job = self->heap[0];
    uint32_t length = job->lengths[job->next];
    if (n > 0 && tokens + length > budget) {
      break;
    }
    hand_out(self, job, now, &items[n]);
    tokens += length;
    n++;
  }
  *ret_tokens = tokens;
  return n;
}

uint32_t batcher_remove(batcher *self, batcher_job *job) {
  uint32_t left = job->n - job->next;
  if (left == 0 || job->heap_index == not_queued) {
    return 0;
  }
  take_out(self, job);
  self->waiting_tokens -= job->waiting_tokens;
  self->waiting_sequences -= left;
  job->waiting_tokens = 0;
  job->next = job->n;
  return left;
}
