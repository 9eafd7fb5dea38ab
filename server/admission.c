#include "server/admission.h"

static const double surely = 1.5; /* an estimate so far over the time left is no error of the estimate */
enum { SECOND = 1000000000, RETRY_MOST = 3600 };

/* Shared by all workers, but for the end: one worker has the last micro-batch to itself. */
static uint64_t alone(const admission_queue *queue, workload own, const estimate *speed) {
  uint64_t all = estimate_ns(speed, own);
  uint64_t last = all;
  if (own.tokens > queue->batch_tokens) {
    last = (uint64_t)((double)all * (double)queue->batch_tokens / (double)own.tokens);
  }
  return all / queue->workers + last - last / queue->workers;
}

/* ns until so many of the waiting tokens are gone. */
static uint64_t drain(const admission_queue *queue, uint64_t tokens, const estimate *speed) {
  if (tokens >= queue->waiting.tokens) {
    return (estimate_ns(speed, queue->waiting) + queue->running) / queue->workers;
  }
  double share = (double)tokens / (double)queue->waiting.tokens;
  return (uint64_t)(share * (double)estimate_ns(speed, queue->waiting)) / queue->workers;
}

static admission refuse(admission verdict, admission_verdict why, uint64_t retry_after) {
  verdict.verdict = why;
  verdict.retry_after = retry_after;
  return verdict;
}

static admission decide_time(admission verdict, const admission_request *request, uint64_t wait,
                             const estimate *speed) {
  uint64_t left = request->time_left;
  uint64_t usable = (uint64_t)((double)left / speed->margin);
  if (left == ADMISSION_NO_DEADLINE || verdict.predicted <= usable) {
    return verdict;
  }
  if (verdict.alone <= usable) {
    return refuse(verdict, ADMISSION_DEADLINE, verdict.predicted - usable);
  }
  if (!request->all_or_nothing) { /* half of its time should be its own */
    return wait <= usable / 2 ? verdict : refuse(verdict, ADMISSION_DEADLINE, wait - usable / 2);
  }
  return (double)verdict.alone > surely * (double)left ? refuse(verdict, ADMISSION_NEVER, 0)
                                                       : refuse(verdict, ADMISSION_DEADLINE, wait);
}

admission admission_decide(const admission_limits *limits, const admission_queue *queue,
                           const admission_request *request, const estimate *speed) {
  uint64_t wait = (estimate_ns(speed, queue->before) + queue->running) / queue->workers;
  wait = wait > queue->delay ? wait : queue->delay;
  admission verdict = {.alone = alone(queue, request->own, speed)};
  verdict.predicted = wait + verdict.alone;
  if (queue->idle) {
    return verdict;
  }
  uint64_t tokens = queue->waiting.tokens + request->own.tokens;
  if (queue->waiting.tokens > 0 && tokens > limits->max_tokens) {
    return refuse(verdict, ADMISSION_TOKENS, drain(queue, tokens - limits->max_tokens, speed));
  }
  if (wait > limits->max_wait) {
    return refuse(verdict, ADMISSION_WAIT, wait - limits->max_wait);
  }
  return decide_time(verdict, request, wait, speed);
}

unsigned admission_seconds(uint64_t ns) {
  uint64_t seconds = ns / SECOND + (ns % SECOND > 0);
  return seconds < 1 ? 1 : seconds > RETRY_MOST ? RETRY_MOST : (unsigned)seconds;
}
