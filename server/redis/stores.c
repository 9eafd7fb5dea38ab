#include "server/redis/stores.h"

#include <string.h>

#include "core/base/alloc.h"

typedef struct redis_batch {
  struct redis_batch *next;
  char *commands;
  size_t n;
  size_t taken;
} redis_batch;

bool redis_stores_add(redis_stores *self, char *commands, size_t n) {
  bool fits =
      n <= REDIS_STORES_MAX / self->each && self->bytes + n * self->each <= REDIS_STORES_MAX;
  redis_batch *batch = fits ? rr_calloc(1, sizeof *batch) : NULL;
  if (batch == NULL) {
    rr_free(commands);
    return false;
  }
  batch->commands = commands;
  batch->n = n;
  *(self->first == NULL ? &self->first : &self->newest->next) = batch;
  self->newest = batch;
  self->bytes += n * self->each;
  return true;
}

static void drop_first(redis_stores *self) {
  redis_batch *batch = self->first;
  self->first = batch->next;
  self->bytes -= batch->n * self->each;
  rr_free(batch->commands);
  rr_free(batch);
}

size_t redis_stores_step(redis_stores *self, char **ret_commands) {
  redis_batch *batch = self->first;
  if (batch == NULL) {
    return 0;
  }
  size_t left = batch->n - batch->taken;
  size_t n = left < REDIS_STORE_STEP ? left : REDIS_STORE_STEP;
  char *commands = rr_malloc(n * self->each);
  if (commands == NULL) {
    return 0;
  }
  memcpy(commands, batch->commands + batch->taken * self->each, n * self->each);
  batch->taken += n;
  if (batch->taken == batch->n) {
    drop_first(self);
  }
  *ret_commands = commands;
  return n;
}

size_t redis_stores_drop(redis_stores *self) {
  size_t dropped = 0;
  while (self->first != NULL) {
    dropped += self->first->n - self->first->taken;
    drop_first(self);
  }
  return dropped;
}
