/* How a task fails: what its client and the log are told. */
#include <inttypes.h>

#include "server/request/task.h"

void rerank_fail(rerank_task *task, rr_api_error_kind kind, const char *message) {
  task->failed = true;
  (void)rr_api_fail(&task->error, kind, "%s", message);
}

void rerank_late(size_t timeout_ms, rr_api_error *ret_error) {
  (void)rr_api_fail(ret_error, RR_API_TIMEOUT, "not done within the request's %zu ms", timeout_ms);
}

void rerank_fail_late(rerank_task *task) {
  task->failed = true;
  rerank_late(task->timeout_ms, &task->error);
}

void rerank_refuse(rerank_task *task, const admission *verdict) {
  const uint64_t ms = 1000000;
  task->failed = true;
  task->refused = verdict->verdict;
  if (verdict->verdict == ADMISSION_NEVER) {
    (void)rr_api_fail(&task->error, RR_API_TIMEOUT,
                      "the request would take about %" PRIu64 " ms, and is given %zu",
                      verdict->alone / ms, task->timeout_ms);
    return;
  }
  static const char *const words[ADMISSION_VERDICTS] = {
      [ADMISSION_REQUESTS] = "too many requests",
      [ADMISSION_TOKENS] = "too many tokens wait",
      [ADMISSION_WAIT] = "the queue is too long",
      [ADMISSION_DEADLINE] = "it would be too late",
      [ADMISSION_MEMORY] = "requests take all the memory that they may"};
  (void)rr_api_fail(&task->error, RR_API_OVERLOADED, "Model is overloaded: %s",
                    words[verdict->verdict]);
  task->error.retry_after = admission_seconds(verdict->retry_after);
}

void rerank_blame_memory(rerank_task *task) {
  const rerank_config *config = &task->tools.config;
  if (!task->failed || task->error.kind != RR_API_MEMORY) {
    return;
  }
  switch (task->claim.refused) {
  case RR_REFUSAL_NONE: break;
  case RR_REFUSAL_OWN:
    (void)rr_api_fail(&task->error, RR_API_TOO_LARGE,
                      "the request needs more than the %zu bytes of memory that one may take (by "
                      "--payload-limit)",
                      config->request_limit);
    break;
  case RR_REFUSAL_NEVER:
    (void)rr_api_fail(&task->error, RR_API_TOO_LARGE,
                      "the request needs more than the %zu bytes of memory that one may take (by "
                      "--request-memory)",
                      rr_budget_most(config->memory));
    break;
  case RR_REFUSAL_FULL: {
    workers_stats stats;
    workers_read_stats(task->tools.workers, &stats);
    uint64_t each = stats.queued_ns / (stats.queued_requests > 0 ? stats.queued_requests : 1);
    rerank_refuse(task, &(admission){.verdict = ADMISSION_MEMORY,
                                     .retry_after = each}); /* one is done then */
    break;
  }
  }
}
