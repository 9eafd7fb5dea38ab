#include "server/request/deadline.h"

#include "core/base/alloc.h"

bool deadlines_init(deadlines *self, size_t capacity) {
  *self = (deadlines){.heap = rr_calloc(capacity, sizeof(deadline *)), .capacity = capacity};
  return self->heap != NULL;
}

void deadlines_finish(deadlines *self) {
  rr_free(self->heap);
  *self = (deadlines){.heap = NULL};
}

static void put(deadlines *self, size_t index, deadline *entry) {
  self->heap[index] = entry;
  entry->place = index + 1;
}

static void rise(deadlines *self, size_t index) {
  deadline *entry = self->heap[index];
  while (index > 0 && entry->at < self->heap[(index - 1) / 2]->at) {
    put(self, index, self->heap[(index - 1) / 2]);
    index = (index - 1) / 2;
  }
  put(self, index, entry);
}

static void sink(deadlines *self, size_t index) {
  deadline *entry = self->heap[index];
  for (size_t child = 2 * index + 1; child < self->n; child = 2 * index + 1) {
    if (child + 1 < self->n && self->heap[child + 1]->at < self->heap[child]->at) {
      child++;
    }
    if (self->heap[child]->at >= entry->at) {
      break;
    }
    put(self, index, self->heap[child]);
    index = child;
  }
  put(self, index, entry);
}

bool deadlines_add(deadlines *self, deadline *entry, uint64_t at) {
  if (self->n == self->capacity) {
    return false;
  }
  entry->at = at;
  self->n++;
  put(self, self->n - 1, entry);
  rise(self, self->n - 1);
  return true;
}

void deadlines_remove(deadlines *self, deadline *entry) {
  if (entry->place == 0) {
    return;
  }
  size_t index = entry->place - 1;
  self->n--;
  if (index != self->n) {
    put(self, index, self->heap[self->n]);
    sink(self, index);
    rise(self, index);
  }
  entry->place = 0;
}

deadline *deadlines_first(const deadlines *self) { return self->n == 0 ? NULL : self->heap[0]; }
