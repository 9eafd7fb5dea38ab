#include "server/sched/admission.h"

static const double surely =
    1.5; /* an estimate so far over the time left is no error of the estimate */
enum { SECOND = 1000000000, RETRY_MOST = 3600, ASKED_AGAIN = 8 };

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
  if ((double)verdict.alone > surely * (double)left) {
    return refuse(verdict, ADMISSION_NEVER, 0);
  }
  /* So near that the estimate may be wrong: it may try once nothing goes before it. */
  return wait == 0 ? verdict : refuse(verdict, ADMISSION_DEADLINE, wait);
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

static uint64_t less(uint64_t value, double by) {
  return (double)value > by ? value - (uint64_t)by : 0;
}

/* The queue after so many ns in which nobody came, with what goes first then. */
static admission_queue later(const batcher *jobs, const admission_queue *queue,
                             const admission_outlook *outlook, uint64_t ns) {
  double all = (double)estimate_ns(jobs->config.speed, queue->waiting);
  double done = (double)ns * queue->workers - (double)queue->running; /* ns of the waiting work */
  double share = done <= 0 || all <= 0 ? 0 : done < all ? done / all : 1;
  double tokens = share * (double)queue->waiting.tokens;
  double squares = share * (double)queue->waiting.squares;
  admission_queue self = *queue;
  self.running = less(queue->running, (double)ns * queue->workers);
  self.before =
      batcher_ahead(jobs, outlook->request.own.tokens + (uint64_t)tokens, outlook->priority);
  self.before.tokens = less(self.before.tokens + outlook->ahead.tokens, tokens);
  self.before.squares = less(self.before.squares + outlook->ahead.squares, squares);
  self.waiting.tokens = less(queue->waiting.tokens, tokens);
  self.waiting.squares = less(queue->waiting.squares, squares);
  self.delay = less(queue->delay, (double)ns);
  self.idle = self.waiting.tokens == 0 && self.running == 0 && self.before.tokens == 0;
  return self;
}

admission admission_ask(const admission_limits *limits, const batcher *jobs, uint64_t running,
                        bool working, const admission_outlook *outlook) {
  const admission_request *request = &outlook->request;
  const estimate *speed = jobs->config.speed;
  admission_queue queue = {.before = batcher_ahead(jobs, request->own.tokens, outlook->priority),
                           .waiting = jobs->waiting,
                           .running = running,
                           .delay = outlook->delay,
                           .idle = jobs->n_jobs == 0 && !working && !outlook->busy,
                           .workers = jobs->config.workers,
                           .batch_tokens = jobs->config.max_tokens};
  queue.before.tokens += outlook->ahead.tokens;
  queue.before.squares += outlook->ahead.squares;
  admission answer = admission_decide(limits, &queue, request, speed);
  for (int i = 0; i < ASKED_AGAIN && answer.retry_after > 0; i++) {
    admission_queue then = later(jobs, &queue, outlook, answer.retry_after);
    admission again = admission_decide(limits, &then, request, speed);
    if (again.retry_after == 0) {
      break;
    }
    answer.retry_after += again.retry_after;
  }
  return answer;
}

unsigned admission_seconds(uint64_t ns) {
  uint64_t seconds = ns / SECOND + (ns % SECOND > 0);
  return seconds < 1 ? 1 : seconds > RETRY_MOST ? RETRY_MOST : (unsigned)seconds;
}
