#include "server/request/shared.h"

#include <math.h>

#include "server/cache/score_cache.h"
#include "server/request/known.h"

enum { QUESTION_BYTES = 128 }; /* about so many a key */

/* The task's, made when it is first wanted. NULL: there is nothing to ask, or no memory. */
static rerank_shared *shared_of(rerank_task *task) {
  const rerank_sharing *sharing = task->tools.sharing;
  if (task->shared != NULL || sharing == NULL || !redis_client_is_up(sharing->client)) {
    return task->shared;
  }
  size_t texts = task->request.n_texts;
  size_t capacity = texts < REDIS_KEYS_MAX ? texts : REDIS_KEYS_MAX;
  rerank_shared *self = rr_arena_calloc(&task->arena, 1, sizeof *self);
  if (self == NULL) {
    return NULL;
  }
  *self = (rerank_shared){.task = task,
                          .capacity = capacity,
                          .texts = rr_arena_calloc(&task->arena, capacity, sizeof *self->texts),
                          .keys = rr_arena_calloc(&task->arena, capacity, sizeof *self->keys)};
  if (self->texts != NULL && self->keys != NULL) {
    task->shared = self;
  }
  return task->shared;
}

void rerank_shared_add(rerank_task *task, size_t g, const rr_encode_options *options) {
  const rr_rerank_request *request = &task->request;
  const rerank_lookup *lookups = task->lookups + g;
  rerank_shared *self = NULL;
  redis_query hashed;
  for (size_t i = 0; i < rerank_group_size(task); i++) {
    if (lookups[i].hit || lookups[i].first != i) {
      continue;
    }
    if (self == NULL) {
      self = shared_of(task);
      if (self == NULL) {
        return;
      }
      redis_query_init(&hashed, &task->tools.sharing->keys,
                       request->queries == NULL ? request->query : request->queries[g], options);
    }
    if (self->n == self->capacity) {
      return;
    }
    self->keys[self->n] = redis_query_key(&hashed, request->texts[g + i]);
    self->texts[self->n++] = g + i;
  }
}

static bool count(rerank_task *task, size_t bytes) {
  if (!rr_claim_take(&task->claim, bytes)) {
    return false;
  }
  task->shared->counted += bytes;
  return true;
}

bool rerank_shared_prepare(rerank_task *task) {
  rerank_shared *self = task->shared;
  if (self == NULL || self->n == 0) {
    return false;
  }
  redis_lookup *lookup = &self->lookup;
  lookup->n = self->n;
  lookup->answers = rr_arena_calloc(&task->arena, self->n, sizeof *lookup->answers);
  if (lookup->answers != NULL && count(task, self->n * (size_t)QUESTION_BYTES)) {
    lookup->command = redis_commands_question(&task->tools.sharing->commands, self->keys, self->n,
                                              &lookup->command_size);
  }
  return lookup->command != NULL;
}

bool rerank_shared_is_due(const rerank_task *task) {
  return task->shared != NULL && task->shared->lookup.command != NULL;
}

void rerank_shared_take(rerank_task *task) {
  rerank_shared *self = task->shared;
  for (size_t k = 0; k < self->n; k++) {
    const redis_answer *answer = &self->lookup.answers[k];
    rerank_lookup *text = &task->lookups[self->texts[k]];
    if (answer->size == 0) {
      self->damaged += answer->strange;
    } else if (!redis_value_read(&task->tools.sharing->keys, &self->keys[k], answer->bytes,
                                 answer->size, &text->value)) {
      self->damaged++;
    } else {
      text->hit = true;
      self->hits++;
      lfu_insert(task->tools.cache->entries, text->key, &text->value);
    }
  }
}

void rerank_shared_keep(rerank_task *task) {
  rerank_shared *self = task->shared;
  const rerank_sharing *sharing = task->tools.sharing;
  if (self == NULL || !self->answered || self->hits == self->n) {
    return;
  }
  if (!count(task, (self->n - self->hits) * sharing->commands.store_size)) {
    return;
  }
  self->stores = redis_commands_stores(&sharing->commands, self->n - self->hits);
  for (size_t k = 0; self->stores != NULL && k < self->n; k++) {
    const rerank_lookup *text = &task->lookups[self->texts[k]];
    if (!text->hit && isfinite(text->value.raw)) {
      uint8_t value[REDIS_VALUE_BYTES];
      redis_value_write(&sharing->keys, &self->keys[k], &text->value, value);
      redis_commands_put(&sharing->commands, self->stores, self->n_stores++, &self->keys[k], value);
    }
  }
}
