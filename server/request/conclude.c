/* From scores to a reply: ranked, encoded, packed. On the worker that ended the task's last
 * sequence, or on a thread of the pool. */
#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/base/loop_thread.h"
#include "server/request/documents.h"
#include "server/request/known.h"
#include "server/request/partial.h"
#include "server/request/shared.h"
#include "server/request/task.h"

enum { WORTH_PACKING = 1024 /* bytes: below, a reply fits into a packet anyway */ };

static bool make_outcome(rerank_task *task, task_outcome *ret_out) {
  size_t n = task->request.n_texts;
  ret_out->scores = rr_arena_calloc(&task->arena, n, sizeof *ret_out->scores);
  ret_out->kept = rr_arena_calloc(&task->arena, n, sizeof *ret_out->kept);
  ret_out->computed = 0;
  ret_out->unscored = rr_arena_calloc(&task->arena, n, sizeof *ret_out->unscored);
  ret_out->ranked = rr_arena_calloc(&task->arena, n, sizeof *ret_out->ranked);
  ret_out->tokens = rr_arena_calloc(&task->arena, n, sizeof *ret_out->tokens);
  return ret_out->scores != NULL && ret_out->kept != NULL && ret_out->unscored != NULL &&
         ret_out->ranked != NULL && ret_out->tokens != NULL;
}

bool rerank_collect_scores(rerank_task *task, task_outcome *out) {
  rr_error problem;
  if (task->cut_short) {
    return partial_scores(task, out->scores, out->unscored, out->tokens, &task->n_unscored);
  }
  for (size_t g = 0; g < task->n_groups; g++) { /* group g begins with text g */
    rr_status status =
        rerank_group_scores(task, g, NULL, out->scores + g, out->tokens + g, &problem);
    if (status != RR_OK) {
      rerank_fail(task, status == RR_ERR_MEMORY ? RR_API_MEMORY : RR_API_BACKEND, problem.message);
      return false;
    }
  }
  return true;
}

static void order(const rr_rerank_request *request, const task_outcome *out) {
  if (!request->in_order) {
    rr_rank(out->scores, request->n_texts, out->ranked);
    return;
  }
  for (size_t i = 0; i < request->n_texts; i++) {
    out->ranked[i] = (rr_ranked){.index = (uint32_t)i, .score = out->scores[i]};
  }
}

/* Packs the reply where the client wants it and it helps; else it stays as it is. */
static void pack(rerank_task *task) {
  size_t room = task->reply_size;
  size_t size = 0;
  char *packed = NULL;
  if (task->reply_coding != CODING_IDENTITY && room >= WORTH_PACKING &&
      rr_claim_take(&task->claim, room)) {
    packed = coding_encode(task->reply_coding, task->reply, room, &size);
    rr_claim_give(&task->claim, packed == NULL ? room : room - size);
  }
  if (packed == NULL) {
    task->reply_coding = CODING_IDENTITY;
    return;
  }
  rr_claim_give(&task->claim, task->reply_held);
  rr_free(task->reply);
  task->reply = packed;
  task->reply_size = size;
  task->reply_held = size;
}

static void make_reply(rerank_task *task) {
  const rr_rerank_request *request = &task->request;
  task_outcome out;
  if (!make_outcome(task, &out)) {
    rerank_fail(task, RR_API_MEMORY, "out of memory");
    return;
  }
  if (!task->purpose->collect(task, &out)) {
    return;
  }
  rerank_shared_keep(task);
  order(request, &out);
  partial_fill(out.ranked, request->n_texts);
  size_t n =
      request->top_n == 0 || request->top_n > request->n_texts ? request->n_texts : request->top_n;
  const rr_result result = {
      .request = request,
      .ranked = out.ranked,
      .n = n,
      .text_tokens = out.tokens,
      .unscored = task->n_unscored > 0 ? out.unscored : NULL,
      .n_unscored = task->n_unscored,
      .kept = out.kept,
      .n_computed = out.computed,
      .tokens = task->tokens,
      .created = task->created,
      .id = task->id,
      .model = task->tools.config.model_name,
      .label = rr_scorer_info(task->tools.scorer)->label,
  };
  size_t before = rr_claim_taken(&task->claim);
  task->reply = rr_dialect_encode(task->dialect, &result, &task->claim, &task->reply_size);
  if (task->reply == NULL) {
    rerank_fail(task, RR_API_MEMORY, "out of memory");
    return;
  }
  task->reply_held = rr_claim_taken(&task->claim) - before;
  pack(task);
}

void rerank_conclude(rerank_task *task) {
  assert_other_thread();
  task->encode.begin = clock_now();
  make_reply(task);
  rerank_blame_memory(task);
  task->encode.end = clock_now();
}

void rerank_computed(workers_job *job) {
  rerank_task *task = (rerank_task *)job;
  if (!job->detached) { /* else the loop has answered, or will */
    task->cut_short = job->queue.dropped > 0;
    if (job->error.status != RR_OK) {
      rerank_fail(task, RR_API_BACKEND, job->error.message);
    } else {
      rerank_conclude(task);
    }
  }
  mailbox_post(task->tools.released, &task->released);
}
