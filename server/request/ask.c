/* The loop's side of shared.h. */
#include "core/base/alloc.h"
#include "server/base/loop_thread.h"
#include "server/request/own.h"
#include "server/request/shared.h"

static void on_done(redis_lookup *lookup, bool answered) {
  rerank_shared *self = (rerank_shared *)lookup;
  self->answered = answered;
  self->go_on(self->task);
}

static void discount(rerank_task *task) {
  rr_claim_give(&task->claim, task->shared->counted);
  task->shared->counted = 0;
}

bool rerank_shared_ask(rerank_task *task, void (*go_on)(rerank_task *task)) {
  assert_loop_thread();
  rerank_shared *self = task->shared;
  self->go_on = go_on;
  self->lookup.done = on_done;
  bool asked = redis_client_ask(task->own->service->sharing->client, &self->lookup);
  rr_free(self->lookup.command); /* what was asked has none any more */
  self->lookup.command = NULL;
  discount(task);
  return asked;
}

void rerank_shared_cancel(rerank_task *task) {
  assert_loop_thread();
  redis_client_cancel(task->own->service->sharing->client, &task->shared->lookup);
}

void rerank_shared_release(rerank_task *task) {
  assert_loop_thread();
  rerank_shared *self = task->shared;
  if (self == NULL) {
    return;
  }
  redis_metrics *counters = &task->own->service->metrics->shared;
  counters->hits += self->hits;
  counters->misses += self->answered ? self->n - self->hits : 0;
  counters->damaged += self->damaged;
  rr_free(self->lookup.command);
  discount(task);
  if (self->n_stores > 0) {
    redis_client_store(task->own->service->sharing->client, self->stores, self->n_stores);
  } else {
    rr_free(self->stores);
  }
  task->shared = NULL;
}
