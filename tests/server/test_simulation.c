/* The scheduling policy in virtual time: estimate, admission and batcher, as the workers put them
 * together, under 100,000 seeded requests of all sizes, priorities and deadlines, with bursts over
 * capacity, clients that leave, noise and stalls. Nothing here measures real time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/request/deadline.h"
#include "server/sched/admission.h"
#include "server/sched/batcher.h"
#include "server/sched/estimate.h"

enum {
  REQUESTS = 100000,
  REQUESTS_SLOW = 20000, /* under sanitizers and valgrind */
  WORKERS = 4,
  MAX_JOBS = 256,
  BATCH_TOKENS = 1024,
  ITEMS = 1024,
  POOL = 1 << 16,
  LARGEST = 1000, /* sequences of a request */
  PRIORITY_MOST = 3,
  PHASES = 4,
  FULL = 1,
  BURST = 2,
  COUNTERFACTUAL_EACH = 40 /* of so many refusals one is looked at */
};

static const uint64_t ms = 1000000;
static const uint64_t second = 1000000000;
static const uint64_t max_tokens = 400000;
static const uint64_t never = UINT64_MAX;

typedef enum ending { OPEN, DONE, LATE, REFUSED, LEFT } ending;

typedef struct request {
  batcher_job job;                /* first */
  deadline cut, leaving, arrival; /* cut: of time; leaving: the client's; arrival: the next try */
  uint64_t begun_at_tokens;       /* of the virtual clock when it was admitted */
  uint64_t last_at_tokens;        /* when its last sequence was handed out */
  uint64_t tokens;
  uint32_t booked, handed;
  uint64_t alone, predicted; /* ns: for it alone, and as it came */
  uint64_t came_at;
  uint64_t timeout;
  bool all_or_nothing, admitted, retried;
  ending end;
  int endings;
} request;

typedef struct worker {
  uint64_t until; /* never: idle */
  uint64_t begin, predicted;
  size_t n;
  batcher_item items[ITEMS];
} worker;

typedef struct totals {
  unsigned admitted, refused, asked_again, kept_out, kept_out_told, retried, retried_in,
      with_deadline, in_time, done, late, left;
  unsigned looked_at, too_soon, most_jobs, by_verdict[ADMISSION_VERDICTS];
  uint64_t work_ns, end; /* ns that workers worked */
} totals;

static uint32_t pool[POOL]; /* lengths: each request's are a piece of it */
static request *requests;
static int n_requests;
static batcher queue;
static estimate speed;
static worker workers[WORKERS];
static deadlines cuts, leavings, arrivals;
static totals sum;
static uint64_t now, random_state;

static uint64_t draw(uint64_t below) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (random_state >> 33) % below;
}

/* --- the machine: 10 us a token and 20 ns a square, a tenth of noise, a stall now and then --- */

static uint64_t true_ns(workload work) {
  uint64_t ns = 10000 * work.tokens + 20 * work.squares;
  ns = ns * (90 + draw(21)) / 100;
  return draw(2000) == 0 ? 8 * ns : ns;
}

static workload work_of(const batcher_item *items, size_t n) {
  workload work = {0};
  for (size_t i = 0; i < n; i++) {
    workload_add(&work, items[i].job->lengths[items[i].position]);
  }
  return work;
}

/* --- requests --- */

static void end_request(request *self, ending how) {
  self->end = how;
  self->endings++;
  deadlines_remove(&cuts, &self->cut);
  deadlines_remove(&leavings, &self->leaving);
}

static uint32_t draw_size(void) {
  uint64_t kind = draw(100);
  return kind < 60   ? 1 + (uint32_t)draw(12)
         : kind < 99 ? 20 + (uint32_t)draw(100)
                     : LARGEST - (uint32_t)draw(300);
}

/* Phases of 10 s in turn: calm, at capacity, three times capacity, calm. A request is about 10 ms
 * of the machine. */
static uint64_t next_gap(uint64_t at) {
  static const uint64_t mean_us[PHASES] = {20000, 10300, 3400, 20000};
  uint64_t mean = mean_us[at / (10 * second) % PHASES] * 1000;
  return draw(2 * mean);
}

static void make_requests(int n) {
  uint64_t at = 0;
  n_requests = n;
  requests = calloc((size_t)n, sizeof *requests);
  assert_non_null(requests);
  for (int i = 0; i < POOL; i++) {
    pool[i] = 10 + (uint32_t)draw(draw(10) == 0 ? 400 : 120);
  }
  for (int i = 0; i < n; i++) {
    request *self = &requests[i];
    self->job.n = draw_size();
    self->job.lengths = pool + draw(POOL - LARGEST);
    self->job.priority = draw(5) == 0 ? (int32_t)draw(2 * PRIORITY_MOST + 1) - PRIORITY_MOST : 0;
    self->timeout = draw(3) == 0    ? 0
                    : draw(10) == 0 ? (10 + draw(50)) * ms
                                    : (100 + draw(3000)) * ms;
    self->all_or_nothing = draw(2) == 0;
    at += next_gap(at);
    assert_true(deadlines_add(&arrivals, &self->arrival, at));
    for (uint32_t s = 0; s < self->job.n; s++) {
      self->tokens += self->job.lengths[s];
    }
  }
}

/* --- what the workers do --- */

static admission ask(const request *self, const batcher *at, const uint64_t *until, uint64_t time) {
  static const admission_limits limits = {.max_wait = 800000000, .max_tokens = 400000};
  uint64_t running = 0;
  bool working = false;
  for (int i = 0; i < WORKERS; i++) {
    working = working || until[i] != never;
    running += until[i] != never && until[i] > time ? until[i] - time : 0;
  }
  admission_outlook outlook = {
      .priority = self->job.priority,
      .request = {.time_left = self->timeout == 0 ? ADMISSION_NO_DEADLINE : self->timeout,
                  .all_or_nothing = self->all_or_nothing}};
  for (uint32_t i = 0; i < self->job.n; i++) {
    workload_add(&outlook.request.own, self->job.lengths[i]);
  }
  return admission_ask(&limits, at, running, working, &outlook);
}

static void dispatch(void) {
  for (int i = 0; i < WORKERS; i++) {
    worker *me = &workers[i];
    size_t tokens;
    if (me->until != never || (me->n = batcher_cut(&queue, now, me->items, ITEMS, &tokens)) == 0) {
      continue;
    }
    workload work = work_of(me->items, me->n);
    uint64_t took = true_ns(work);
    me->begin = now;
    me->predicted = estimate_ns(&speed, work);
    me->until = now + took;
    sum.work_ns += took;
    for (size_t k = 0; k < me->n; k++) {
      request *owner = (request *)me->items[k].job;
      assert_int_equal(owner->end, OPEN); /* nothing of what has ended is begun */
      assert_int_equal(owner->handed++, me->items[k].position);
      owner->last_at_tokens = queue.handed_out;
    }
  }
}

static void finish_batch(worker *me) {
  estimate_observe(&speed, work_of(me->items, me->n), now - me->begin);
  me->until = never;
  for (size_t i = 0; i < me->n; i++) {
    request *owner = (request *)me->items[i].job;
    if (++owner->booked == owner->job.n && owner->end == OPEN) {
      estimate_check(&speed, owner->predicted, now - owner->came_at);
      end_request(owner, DONE);
    }
  }
}

/* What would become of the queue if nobody else came, on copies of everything. */
typedef struct future {
  batcher queue;
  batcher_job *own; /* the request that is looked at, let in; NULL: it is not */
  uint32_t open;    /* its sequences that are not computed */
  uint64_t at, until[WORKERS];
  uint32_t held[WORKERS];
} future;

static future look_ahead(const request *added) {
  static batcher_job copies[MAX_JOBS + 1];
  static batcher_job *heap[MAX_JOBS + 1];
  future self = {.queue = queue, .at = now};
  self.queue.heap = heap;
  self.queue.config.max_jobs = MAX_JOBS + 1;
  for (size_t i = 0; i < queue.n_jobs; i++) {
    copies[i] = *queue.heap[i];
    heap[i] = &copies[i];
  }
  for (int i = 0; i < WORKERS; i++) {
    self.until[i] = workers[i].until == never ? now : workers[i].until;
  }
  if (added != NULL) {
    self.own = &copies[queue.n_jobs];
    *self.own = added->job;
    self.own->deadline = 0;
    self.open = self.own->n;
    assert_true(batcher_add(&self.queue, self.own, now));
  }
  return self;
}

/* Goes on to a time, or to the end of what is looked at. */
static void go_on(future *self, uint64_t time) {
  static batcher_item items[ITEMS];
  while (self->own == NULL || self->open > 0) {
    int next = 0;
    for (int i = 1; i < WORKERS; i++) {
      next = self->until[i] < self->until[next] ? i : next;
    }
    if (self->until[next] > time) {
      self->at = time;
      return;
    }
    self->at = self->until[next];
    self->open -= self->held[next];
    self->held[next] = 0;
    size_t tokens;
    size_t n = batcher_cut(&self->queue, self->at, items, ITEMS, &tokens);
    self->until[next] = n == 0 ? never : self->at + true_ns(work_of(items, n));
    for (size_t i = 0; i < n; i++) {
      self->held[next] += items[i].job == self->own;
    }
  }
}

static uint64_t time_if_let_in(const request *refused) {
  future self = look_ahead(refused);
  uint64_t state_before = random_state;
  go_on(&self, never - 1);
  random_state = state_before;
  return self.at - now;
}

/* Whether it would be let in when it came again after so long. */
static bool would_get_in(const request *refused, uint64_t ns) {
  future self = look_ahead(NULL);
  uint64_t state_before = random_state;
  go_on(&self, now + ns);
  random_state = state_before;
  return ask(refused, &self.queue, self.until, self.at).verdict == ADMISSION_GRANTED;
}

/* What was said to a request that is refused is true if, nobody else coming, it would be let in
 * after the time that it was told, a tenth more for the noise; and would, let in now, miss its
 * deadline, within what margin and noise explain. */
static void look_at_refusal(const request *self, const admission *answer) {
  if (answer->verdict == ADMISSION_NEVER || sum.refused++ % COUNTERFACTUAL_EACH != 0) {
    return;
  }
  sum.asked_again++;
  sum.kept_out += !would_get_in(self, answer->retry_after * 11 / 10);
  sum.kept_out_told += !would_get_in(self, admission_seconds(answer->retry_after) * second);
  if (answer->verdict != ADMISSION_DEADLINE || answer->alone * 2 > self->timeout) {
    return;
  }
  uint64_t took = time_if_let_in(self);
  sum.looked_at++;
  sum.too_soon += took < self->timeout * 9 / 10;
  assert_true(took >=
              self->timeout * 6 / 10); /* 1 / 1.5, the largest margin, less a tenth of noise */
}

static void arrive(request *self) {
  uint64_t until[WORKERS]; /* as it is predicted */
  for (int i = 0; i < WORKERS; i++) {
    until[i] = workers[i].until == never ? never : workers[i].begin + workers[i].predicted;
  }
  admission answer = ask(self, &queue, until, now);
  sum.by_verdict[answer.verdict]++;
  uint64_t phase = now / (10 * second) % PHASES;
  bool again =
      self->retried && phase != FULL && phase != BURST; /* into those there is no promise */
  sum.retried += again;
  if (answer.verdict == ADMISSION_GRANTED) {
    self->job.deadline = self->timeout == 0 ? 0 : now + self->timeout;
    if (queue.n_jobs < MAX_JOBS) {
      self->begun_at_tokens = queue.handed_out;
      self->admitted = true;
      self->alone = answer.alone;
      self->predicted = answer.predicted;
      self->came_at = now;
      sum.admitted++;
      sum.retried_in += again;
      assert_true(batcher_add(&queue, &self->job, now));
      assert_true(self->timeout == 0 || deadlines_add(&cuts, &self->cut, self->job.deadline));
      assert_true(draw(20) > 0 || deadlines_add(&leavings, &self->leaving, now + draw(500) * ms));
      return;
    }
    answer.retry_after = ms;
  }
  look_at_refusal(self, &answer);
  assert_true(answer.retry_after > 0 || answer.verdict == ADMISSION_NEVER);
  if (self->retried || answer.verdict == ADMISSION_NEVER ||
      draw(4) > 0) { /* one of four comes again, once */
    end_request(self, REFUSED);
    return;
  }
  self->retried = true;
  assert_true(deadlines_add(&arrivals, &self->arrival,
                            now + admission_seconds(answer.retry_after) * second));
}

static void take_back(request *self, ending how) {
  (void)batcher_remove(&queue, &self->job);
  end_request(self, how);
}

static uint64_t first_of(const deadlines *list) {
  const deadline *first = deadlines_first(list);
  return first == NULL ? never : first->at;
}

#define OWNER(entry, member) ((request *)(void *)((char *)(entry)-offsetof(request, member)))

/* The next thing that happens; false at the end. */
static bool step(void) {
  worker *ending_worker = &workers[0];
  for (int i = 1; i < WORKERS; i++) {
    ending_worker = workers[i].until < ending_worker->until ? &workers[i] : ending_worker;
  }
  uint64_t cut = first_of(&cuts), leaving = first_of(&leavings), arrival = first_of(&arrivals);
  uint64_t soonest = cut < leaving ? cut : leaving;
  soonest = arrival < soonest ? arrival : soonest;
  if (ending_worker->until <= soonest) {
    if (ending_worker->until == never) {
      return false;
    }
    now = ending_worker->until;
    finish_batch(ending_worker);
    return true;
  }
  now = soonest;
  if (cut == now) {
    take_back(OWNER(deadlines_first(&cuts), cut), LATE);
  } else if (leaving == now) {
    take_back(OWNER(deadlines_first(&leavings), leaving), LEFT);
  } else {
    request *self = OWNER(deadlines_first(&arrivals), arrival);
    deadlines_remove(&arrivals, &self->arrival);
    arrive(self);
  }
  return true;
}

static void check_bounds(uint64_t largest) {
  uint64_t most = max_tokens > largest ? max_tokens : largest;
  assert_true(queue.n_jobs <= MAX_JOBS && queue.waiting.tokens <= most);
  sum.most_jobs = queue.n_jobs > sum.most_jobs ? (unsigned)queue.n_jobs : sum.most_jobs;
  for (int i = 0; i < WORKERS; i++) {
    assert_true(workers[i].until != never ||
                queue.n_jobs == 0); /* nobody idles while something waits */
  }
}

static uint64_t largest_request(void) {
  uint64_t largest = 0;
  for (int i = 0; i < n_requests; i++) {
    largest = requests[i].tokens > largest ? requests[i].tokens : largest;
  }
  return largest;
}

/* Of what arrives after a job of t tokens and p steps, nothing passes it once t + (p + P) * step
 * tokens were handed out; what waits by then is bounded by the queue. So much, and no more, is
 * handed out before its last sequence. */
static void check_starvation(const request *self, uint64_t largest) {
  uint64_t steps = (uint64_t)(self->job.priority + PRIORITY_MOST) * BATCH_TOKENS;
  uint64_t waiting = max_tokens > largest ? max_tokens : largest;
  assert_true(self->last_at_tokens - self->begun_at_tokens <=
              self->tokens + steps + waiting + BATCH_TOKENS);
}

static void count(uint64_t largest) {
  for (int i = 0; i < n_requests; i++) {
    const request *self = &requests[i];
    assert_int_equal(self->endings, 1); /* answered, and once */
    assert_true(self->booked == self->handed && self->handed <= self->job.n);
    assert_true((self->end == DONE) <= (self->booked == self->job.n));
    assert_true(self->admitted == (self->end != REFUSED));
    sum.done += self->end == DONE;
    sum.late += self->end == LATE;
    sum.left += self->end == LEFT;
    if (self->end == DONE) {
      check_starvation(self, largest);
    }
    if (self->timeout > 0 && (self->end == DONE || self->end == LATE) &&
        self->alone * 3 / 2 < self->timeout) {
      sum.with_deadline++;
      sum.in_time += self->end == DONE;
    }
  }
}

static void run(int n, uint64_t seed) {
  random_state = seed;
  sum = (totals){0};
  now = 0;
  estimate_init(&speed, 0.001);
  const batcher_config config = {.max_jobs = MAX_JOBS,
                                 .max_tokens = BATCH_TOKENS,
                                 .min_tokens = 128,
                                 .workers = WORKERS,
                                 .priority_step = BATCH_TOKENS,
                                 .speed = &speed};
  assert_true(batcher_init(&queue, &config) && deadlines_init(&cuts, MAX_JOBS) &&
              deadlines_init(&leavings, MAX_JOBS) && deadlines_init(&arrivals, (size_t)n));
  for (int i = 0; i < WORKERS; i++) {
    workers[i].until = never;
  }
  make_requests(n);
  uint64_t largest = largest_request();
  while (step()) {
    dispatch();
    check_bounds(largest);
  }
  assert_int_equal(
      queue.n_jobs + queue.waiting.tokens + queue.waiting.squares + queue.waiting_sequences, 0);
  count(largest);
  sum.end = now;
  batcher_finish(&queue);
  deadlines_finish(&cuts);
  deadlines_finish(&leavings);
  deadlines_finish(&arrivals);
  free(requests);
}

static void many_requests_keep_every_promise(void **state) {
  const uint64_t *seed = *state;
  run(getenv("RR_SLOW") != NULL ? REQUESTS_SLOW : REQUESTS, *seed);
  print_message(
      "# %u done, %u late, %u left; verdicts %u %u %u %u %u %u; %.1f s of %.1f; %u jobs at most\n",
      sum.done, sum.late, sum.left, sum.by_verdict[0], sum.by_verdict[1], sum.by_verdict[2],
      sum.by_verdict[3], sum.by_verdict[4], sum.by_verdict[5], (double)sum.work_ns / 1e9 / WORKERS,
      (double)sum.end / 1e9, sum.most_jobs);
  print_message("# in time %u of %u; again %u of %u; asked again %u, kept out %u, %u; looked at "
                "%u, too soon %u; margin %.2f\n",
                sum.in_time, sum.with_deadline, sum.retried_in, sum.retried, sum.asked_again,
                sum.kept_out, sum.kept_out_told, sum.looked_at, sum.too_soon, speed.margin);
  /* Who was let in, and could have been done in its time alone, was done in time: but for one in
   * twenty. */
  assert_true(sum.in_time * 20 >= sum.with_deadline * 19);
  /* Who was refused would have been late, but for one in ten that would have had a tenth of its
   * time left. */
  assert_true(sum.looked_at > 0 && sum.too_soon * 10 <= sum.looked_at);
  /* After the predicted wait (a tenth more) it would be let in, but for one in five; after the
   * whole seconds that it is told, but for one in fifty; and amid newcomers, in calm, mostly. */
  assert_true(sum.kept_out * 5 <= sum.asked_again && sum.kept_out_told * 50 <= sum.asked_again);
  assert_true(sum.retried_in * 2 > sum.retried);
  /* Every kind of end has come. */
  assert_true(sum.done > 0 && sum.late > 0 && sum.left > 0);
  for (int i = 0; i < ADMISSION_VERDICTS; i++) {
    /* Neither is decided by admission itself. */
    assert_true(i == ADMISSION_REQUESTS || i == ADMISSION_MEMORY || sum.by_verdict[i] > 0);
  }
}

int main(void) {
  static uint64_t seeds[] = {20, 21, 22};
  const struct CMUnitTest tests[] = {
      {"a_hundred_thousand_requests", many_requests_keep_every_promise, NULL, NULL, &seeds[0]},
      {"a_hundred_thousand_others", many_requests_keep_every_promise, NULL, NULL, &seeds[1]},
      {"and_a_third_time", many_requests_keep_every_promise, NULL, NULL, &seeds[2]},
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
