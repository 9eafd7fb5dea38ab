#include "bench/load/run.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bench/load/client.h"
#include "bench/load/journal.h"
#include "bench/load/progress.h"

enum { STARTS_A_TURN = 64, TICK_MS = 500, REST_MS = 100 };
static const uint64_t second_ns = 1000000000, head_start_ns = 5000000;

typedef struct run run;

typedef struct request {
  run *owner;
  struct request *next_free;
  uint64_t intended, begun;
  size_t documents, bytes;
  bool measured;
} request;

struct run {
  const run_input *input;
  const options *settings;
  stats *figures;
  run_result *result;
  uv_loop_t loop;
  client *client;
  int alarm_fd;
  uv_poll_t alarm; /* of the open loop: libuv's own timers know whole milliseconds only */
  uv_timer_t tick, rest;
  uv_signal_t interrupt, terminate;
  request *pool, *free;
  size_t in_flight, bytes_in_flight;
  size_t resting; /* connections of the closed loop that could not be made and wait a little */
  uint64_t begin, end, next_at; /* end: UINT64_MAX without a bound */
  uint64_t started, measured;
  bool window_open, stopped;
  progress shown;
};

static void maybe_finish(run *self);
static void start_closed(run *self);

/* --- one request ------------------------------------------------------------------------------ */

static void open_window(run *self, uint64_t at) {
  double ns = self->settings->duration * (double)second_ns;
  self->window_open = true;
  self->end = isfinite(ns) && ns < 0x1p62 ? at + (uint64_t)ns : UINT64_MAX;
  stats_begin(self->figures, at);
}

/* Whether this start counts; opens the window with the first one after a warm-up by requests. */
static bool is_measured(run *self, uint64_t intended) {
  uint64_t warm_at = self->begin + (uint64_t)(self->settings->warmup * (double)second_ns);
  if (self->started <= self->settings->warmup_requests || intended < warm_at) {
    return false;
  }
  if (!self->window_open) {
    open_window(self, intended);
  }
  self->measured++;
  return true;
}

static void release(run *self, request *ended) {
  self->in_flight--;
  self->bytes_in_flight -= ended->bytes;
  ended->next_free = self->free;
  self->free = ended;
}

static void on_outcome(void *tag, const client_outcome *outcome) {
  request *ended = tag;
  run *self = ended->owner;
  const options *settings = self->settings;
  stats_event event = {.kind = outcome->kind,
                       .status = outcome->status,
                       .intended = ended->intended,
                       .begun = ended->begun,
                       .ended = uv_hrtime(),
                       .documents = ended->documents};
  if (outcome->kind == OUTCOME_ANSWER && outcome->status == 200) {
    event.verdict = check_answer(settings->spoken, outcome->body, outcome->size, ended->documents,
                                 settings->top_n);
  }
  if (ended->measured) {
    stats_end(self->figures, &event);
    journal_end(self->input->journal, self->figures->begin, &event);
  }
  release(self, ended);
  if (self->input->starts == NULL && !self->stopped) {
    if (outcome->kind == OUTCOME_CONNECT) {
      self->resting++;
    } else {
      start_closed(self);
    }
  }
  maybe_finish(self);
}

/* False: there is no room for it. */
static bool send_request(run *self, const mix_plan *plan, uint64_t intended, bool measured) {
  const options *settings = self->settings;
  const run_input *input = self->input;
  const char *model = input->model;
  size_t size = dialect_body(settings->spoken, input->texts, plan, model, settings->top_n, NULL);
  size_t room = (settings->max_buffer_mb << 20) - self->bytes_in_flight;
  request *fresh = self->free;
  char *bytes;
  size_t head, whole;
  if (fresh == NULL || size > room ||
      target_request(input->where, size, &bytes, &head, &whole) != RR_OK) {
    return false;
  }
  (void)dialect_body(settings->spoken, input->texts, plan, model, settings->top_n, bytes + head);
  request *next_free = fresh->next_free;
  *fresh = (request){self, NULL, intended, uv_hrtime(), plan->n, size, measured};
  if (!client_send(self->client, bytes, whole, on_outcome, fresh)) {
    fresh->next_free = next_free;
    free(bytes);
    return false;
  }
  self->free = next_free;
  self->in_flight++;
  self->bytes_in_flight += size;
  self->result->most_in_flight = self->in_flight > self->result->most_in_flight
                                     ? self->in_flight
                                     : self->result->most_in_flight;
  return true;
}

static bool start(run *self, uint64_t intended) {
  self->started++;
  bool measured = is_measured(self, intended);
  mix_plan plan = mix_next(self->input->requests);
  bool sent = send_request(self, &plan, intended, measured);
  if (measured) {
    stats_offer(self->figures, intended, !sent);
    if (!sent) {
      journal_drop(self->input->journal, self->figures->begin, intended);
    }
    self->result->documents += sent ? plan.n : 0;
    self->result->repeats += sent ? plan.repeats : 0;
  }
  return sent;
}

/* --- the two loops ---------------------------------------------------------------------------- */

static bool is_enough(const run *self) {
  return self->settings->requests > 0 && self->measured >= self->settings->requests;
}

static void stop_starts(run *self) {
  self->stopped = true;
  maybe_finish(self);
}

static void start_closed(run *self) {
  uint64_t now = uv_hrtime();
  if (is_enough(self) || (self->window_open && now >= self->end)) {
    self->stopped = true; /* the caller looks whether that was the last */
  } else if (!start(self, now)) {
    self->resting++; /* out of memory: perhaps not for long */
  }
}

static void on_rest(uv_timer_t *timer) {
  run *self = timer->data;
  for (size_t n = self->resting; n > 0 && !self->stopped; n--) {
    self->resting--;
    start_closed(self);
  }
  maybe_finish(self);
}

static void set_alarm(run *self) {
  struct itimerspec at = {
      .it_value = {(time_t)(self->next_at / second_ns), (long)(self->next_at % second_ns)}};
  (void)timerfd_settime(self->alarm_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void plan_next(run *self) {
  uint64_t offset;
  if (is_enough(self) || !arrivals_next(self->input->starts, &offset)) {
    self->stopped = true;
    return;
  }
  self->next_at = self->begin + offset;
  if (self->window_open && self->next_at >= self->end) {
    self->figures->end = self->end; /* the window is full */
    self->stopped = true;
  }
}

/* Some starts at a time, so that answers are read in between however late the starts are. */
static void on_alarm(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  run *self = poll->data;
  uint64_t expirations;
  (void)!read(self->alarm_fd, &expirations, sizeof expirations);
  for (int i = 0; i < STARTS_A_TURN && !self->stopped && self->next_at <= uv_hrtime(); i++) {
    (void)start(self, self->next_at);
    plan_next(self);
  }
  if (self->stopped) {
    stop_starts(self);
  } else {
    set_alarm(self);
  }
}

/* --- the run ---------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer) {
  run *self = timer->data;
  progress_show(&self->shown, self->figures, uv_hrtime(), self->window_open, self->in_flight);
}

static void on_signal(uv_signal_t *handle, int number) {
  (void)number;
  run *self = handle->data;
  if (self->client == NULL) {
    return; /* it is over */
  }
  self->result->interrupted = true;
  self->stopped = true;
  if (self->window_open) {
    self->figures->end = uv_hrtime();
  }
  client_cancel(self->client);
  maybe_finish(self);
}

static void close_handle(uv_handle_t *handle, void *unused) {
  (void)unused;
  if (!uv_is_closing(handle)) {
    uv_close(handle, NULL);
  }
}

static void maybe_finish(run *self) {
  if (self->stopped && self->in_flight == 0 && self->client != NULL) {
    client *ended = self->client;
    self->client = NULL;
    client_destroy(ended);
    uv_walk(&self->loop, close_handle, NULL);
  }
}

static rr_status prepare(run *self, rr_error *err) {
  client_config config = {self->input->where->address, self->settings->timeout_ms,
                          self->settings->max_buffer_mb << 20};
  size_t n =
      self->settings->connections > 0 ? self->settings->connections : self->settings->max_in_flight;
  self->pool = calloc(n, sizeof *self->pool);
  self->client = client_create(&self->loop, &config);
  if (self->pool == NULL || self->client == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    self->pool[i].next_free = self->free;
    self->free = &self->pool[i];
  }
  self->tick.data = self->rest.data = self->alarm.data = self->interrupt.data =
      self->terminate.data = self;
  (void)uv_timer_init(&self->loop, &self->tick);
  (void)uv_timer_init(&self->loop, &self->rest);
  (void)uv_signal_init(&self->loop, &self->interrupt);
  (void)uv_signal_init(&self->loop, &self->terminate);
  int problem = uv_signal_start(&self->interrupt, on_signal, SIGINT);
  problem = problem == 0 ? uv_signal_start(&self->terminate, on_signal, SIGTERM) : problem;
  problem = problem == 0 ? uv_poll_init(&self->loop, &self->alarm, self->alarm_fd) : problem;
  if (problem == 0 && progress_wanted(self->settings->quiet)) {
    problem = uv_timer_start(&self->tick, on_tick, TICK_MS, TICK_MS);
  }
  return problem == 0 ? RR_OK : rr_fail(err, RR_ERR_IO, "event loop: %s", uv_strerror(problem));
}

static rr_status begin(run *self, rr_error *err) {
  self->begin = uv_hrtime() + (self->input->starts == NULL ? 0 : head_start_ns);
  self->end = UINT64_MAX;
  if (self->settings->warmup_requests == 0) {
    open_window(self, self->begin + (uint64_t)(self->settings->warmup * (double)second_ns));
  }
  if (self->input->starts == NULL) {
    for (size_t i = 0; i < self->settings->connections && !self->stopped; i++) {
      start_closed(self);
    }
    (void)uv_timer_start(&self->rest, on_rest, REST_MS, REST_MS);
    maybe_finish(self);
    return RR_OK;
  }
  plan_next(self);
  int problem = uv_poll_start(&self->alarm, UV_READABLE, on_alarm);
  if (problem != 0) {
    return rr_fail(err, RR_ERR_IO, "event loop: %s", uv_strerror(problem));
  }
  set_alarm(self);
  maybe_finish(self);
  return RR_OK;
}

rr_status run_load(const run_input *input, stats *figures, run_result *ret_result, rr_error *err) {
  run_result result = {0};
  run self = {.input = input, .settings = input->settings, .figures = figures, .result = &result};
  self.alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (self.alarm_fd < 0 || uv_loop_init(&self.loop) != 0) {
    if (self.alarm_fd >= 0) {
      (void)close(self.alarm_fd);
    }
    return rr_fail(err, RR_ERR_IO, "event loop: %s", strerror(errno));
  }
  rr_status status = prepare(&self, err);
  if (status == RR_OK) {
    status = begin(&self, err);
  }
  if (status != RR_OK) {
    client_destroy(self.client);
    uv_walk(&self.loop, close_handle, NULL);
  }
  (void)uv_run(&self.loop, UV_RUN_DEFAULT);
  (void)uv_loop_close(&self.loop);
  (void)close(self.alarm_fd);
  progress_clear(&self.shown);
  free(self.pool);
  if (status == RR_OK) {
    if (input->starts == NULL) {
      figures->end = figures->last_end; /* the loop itself is the window */
    }
    *ret_result = result;
  }
  return status;
}
