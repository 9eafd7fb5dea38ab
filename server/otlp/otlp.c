#include "server/otlp/otlp.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/http/coding.h"
#include "server/observe/log.h"
#include "server/otlp/json.h"
#include "server/otlp/post.h"

enum { BATCH_BYTES = 1 << 20, NS_PER_SECOND = 1000000000 };

static const uint64_t GATHER =
    1ull * NS_PER_SECOND; /* from a batch's first record to its sending */
static const uint64_t POST_LIMIT = 10ull * NS_PER_SECOND; /* one try */
static const uint64_t FIRST_WAIT =
    NS_PER_SECOND / 4; /* before the second try; then twice as long */
static const uint64_t WAIT_MOST = 30ull * NS_PER_SECOND; /* whatever the collector asks for */
static const uint64_t QUIET = 60ull * NS_PER_SECOND;     /* between two complaints in the log */

struct otlp {
  const otlp_settings *settings;
  otlp_post *post;

  pthread_mutex_t lock; /* guards all up to `ended` */
  pthread_cond_t filled;
  pthread_cond_t over;
  otlp_record *ring;
  size_t first;
  size_t count;
  otlp_stats stats;
  bool stopping;
  uint64_t last; /* when all must be over, once it is stopping */
  bool ended;

  bool running;
  pthread_t thread;

  /* The thread's own. */
  uint64_t seed;
  bool failing;
  uint64_t complained_at;
};

static bool make_condition(pthread_cond_t *condition) {
  pthread_condattr_t monotonic;
  if (pthread_condattr_init(&monotonic) != 0) {
    return false;
  }
  bool made = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(condition, &monotonic) == 0;
  (void)pthread_condattr_destroy(&monotonic);
  return made;
}

rr_status otlp_create(const otlp_settings *settings, otlp **ret_otlp, rr_error *err) {
  otlp *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for spans");
  }
  self->settings = settings;
  (void)pthread_mutex_init(&self->lock, NULL);
  self->ring = rr_calloc(OTLP_QUEUE_RECORDS, sizeof *self->ring);
  if (self->ring == NULL || !make_condition(&self->filled) || !make_condition(&self->over)) {
    otlp_destroy(self);
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for spans");
  }
  rr_status status = otlp_post_create(settings, &self->post, err);
  if (status != RR_OK) {
    otlp_destroy(self);
    return status;
  }
  if (getrandom(&self->seed, sizeof self->seed, GRND_NONBLOCK) != (ssize_t)sizeof self->seed) {
    self->seed = clock_now();
  }
  *ret_otlp = self;
  return RR_OK;
}

void otlp_offer(otlp *self, const otlp_record *record) {
  (void)pthread_mutex_lock(&self->lock);
  if (self->count == OTLP_QUEUE_RECORDS) {
    self->stats.dropped += otlp_spans(record);
  } else {
    self->ring[(self->first + self->count) % OTLP_QUEUE_RECORDS] = *record;
    self->count++;
    if (self->count == 1 || self->count == OTLP_BATCH_RECORDS) {
      (void)pthread_cond_signal(&self->filled);
    }
  }
  (void)pthread_mutex_unlock(&self->lock);
}

void otlp_read_stats(otlp *self, otlp_stats *ret_stats) {
  (void)pthread_mutex_lock(&self->lock);
  *ret_stats = self->stats;
  (void)pthread_mutex_unlock(&self->lock);
}

/* Waits for a signal until a monotonic time; false where that came first. The lock is held. */
static bool wait_until(otlp *self, pthread_cond_t *condition, uint64_t until) {
  const struct timespec end = {.tv_sec = (time_t)(until / NS_PER_SECOND),
                               .tv_nsec = (long)(until % NS_PER_SECOND)};
  return pthread_cond_timedwait(condition, &self->lock, &end) == 0;
}

/* Records for one batch, which lie beside each other and are the thread's until it takes them off;
 * 0: it is over. */
static size_t next_batch(otlp *self, const otlp_record **ret_records) {
  (void)pthread_mutex_lock(&self->lock);
  while (self->count == 0 && !self->stopping) {
    (void)pthread_cond_wait(&self->filled, &self->lock);
  }
  uint64_t until = clock_now() + GATHER;
  while (self->count < OTLP_BATCH_RECORDS && !self->stopping &&
         wait_until(self, &self->filled, until)) {
  }
  size_t n = self->count < OTLP_BATCH_RECORDS ? self->count : OTLP_BATCH_RECORDS;
  if (n > OTLP_QUEUE_RECORDS - self->first) {
    n = OTLP_QUEUE_RECORDS - self->first;
  }
  *ret_records = &self->ring[self->first];
  (void)pthread_mutex_unlock(&self->lock);
  return n;
}

static void take_off(otlp *self, size_t n) {
  (void)pthread_mutex_lock(&self->lock);
  self->first = (self->first + n) % OTLP_QUEUE_RECORDS;
  self->count -= n;
  (void)pthread_mutex_unlock(&self->lock);
}

static void count(otlp *self, uint64_t exported, uint64_t dropped, uint64_t failed) {
  (void)pthread_mutex_lock(&self->lock);
  self->stats.exported += exported;
  self->stats.dropped += dropped;
  self->stats.failed += failed;
  (void)pthread_mutex_unlock(&self->lock);
}

/* The log hears of the first failure, then once a minute, and of the end of it. */
static void tell(otlp *self, const otlp_reply *reply) {
  uint64_t now = clock_now();
  if (reply->problem[0] == '\0') {
    if (self->failing) {
      log_text(LOG_LEVEL_INFO, "spans: the collector takes them again");
    }
    self->failing = false;
  } else if (!self->failing || now - self->complained_at > QUIET) {
    log_text(LOG_LEVEL_WARN, "spans: the collector does not take them: %s", reply->problem);
    self->failing = true;
    self->complained_at = now;
  }
}

/* Before try number tried + 1. False where it is over; a wait that the end cuts short is followed
 * by a last try. */
static bool wait_for_again(otlp *self, unsigned tried, const otlp_reply *reply) {
  uint64_t wait = reply->retry_after > 0 ? reply->retry_after : FIRST_WAIT << (tried - 1);
  uint64_t until = clock_now() + (wait < WAIT_MOST ? wait : WAIT_MOST);
  (void)pthread_mutex_lock(&self->lock);
  bool was_stopping = self->stopping;
  if (was_stopping && until > self->last) {
    until = 0;
  }
  while (until > 0 && self->stopping == was_stopping && wait_until(self, &self->filled, until)) {
  }
  (void)pthread_mutex_unlock(&self->lock);
  return until > 0;
}

/* One batch, as often as it takes. */
static void deliver(otlp *self, const char *body, size_t size, bool packed, uint64_t spans) {
  otlp_reply reply;
  otlp_outcome outcome =
      otlp_post_send(self->post, body, size, packed, clock_now() + POST_LIMIT, &reply);
  tell(self, &reply);
  for (unsigned tried = 1;
       outcome == OTLP_AGAIN && tried < OTLP_TRIES && wait_for_again(self, tried, &reply);
       tried++) {
    outcome = otlp_post_send(self->post, body, size, packed, clock_now() + POST_LIMIT, &reply);
    tell(self, &reply);
  }
  uint64_t failed = outcome != OTLP_DONE ? spans : reply.rejected < spans ? reply.rejected : spans;
  count(self, spans - failed, 0, failed);
}

static bool is_over(otlp *self) {
  (void)pthread_mutex_lock(&self->lock);
  bool over = self->stopping && clock_now() >= self->last;
  (void)pthread_mutex_unlock(&self->lock);
  return over;
}

/* Encodes and sends the first of the records; returns how many those were. */
static size_t export(otlp *self, const otlp_record *records, size_t n) {
  size_t taken;
  size_t size;
  uint64_t spans = 0;
  char *body = otlp_encode(self->settings, records, n, BATCH_BYTES, &self->seed, &taken, &size);
  for (size_t i = 0; i < taken; i++) {
    spans += otlp_spans(&records[i]);
  }
  take_off(self, taken); /* others may come while these are on their way */
  if (body == NULL) {
    count(self, 0, spans, 0);
    return taken;
  }
  char *packed = NULL;
  size_t packed_size = 0;
  if (self->settings->gzip) {
    packed =
        coding_encode(CODING_GZIP, body, size, &packed_size); /* without memory for it, as it is */
  }
  deliver(self, packed != NULL ? packed : body, packed != NULL ? packed_size : size, packed != NULL,
          spans);
  rr_free(packed);
  rr_free(body);
  return taken;
}

static void drop(otlp *self, const otlp_record *records, size_t n) {
  uint64_t spans = 0;
  for (size_t i = 0; i < n; i++) {
    spans += otlp_spans(&records[i]);
  }
  take_off(self, n);
  count(self, 0, spans, 0);
}

static void *run(void *context) {
  otlp *self = context;
  const otlp_record *records;
  size_t n;
  while ((n = next_batch(self, &records)) > 0) {
    if (is_over(self)) {
      drop(self, records, n);
    } else {
      (void)export(self, records, n);
    }
  }
  (void)pthread_mutex_lock(&self->lock);
  self->ended = true;
  (void)pthread_cond_signal(&self->over);
  (void)pthread_mutex_unlock(&self->lock);
  return NULL;
}

bool otlp_start(otlp *self) {
  self->running = pthread_create(&self->thread, NULL, run, self) == 0;
  return self->running;
}

/* Whether the thread has ended in time. */
static bool stop(otlp *self) {
  const uint64_t grace =
      NS_PER_SECOND; /* for a thread that gets no time of the processor just then */
  (void)pthread_mutex_lock(&self->lock);
  self->stopping = true;
  self->last = clock_now() + (uint64_t)OTLP_LAST_SECONDS * NS_PER_SECOND;
  (void)pthread_cond_signal(&self->filled);
  otlp_post_hurry(self->post, self->last);
  while (!self->ended && wait_until(self, &self->over, self->last + grace)) {
  }
  bool ended = self->ended;
  const otlp_stats stats = self->stats;
  (void)pthread_mutex_unlock(&self->lock);
  log_text(LOG_LEVEL_INFO, "spans: %llu sent, %llu dropped, %llu not taken",
           (unsigned long long)stats.exported, (unsigned long long)stats.dropped,
           (unsigned long long)stats.failed);
  return ended;
}

void otlp_destroy(otlp *self) {
  if (self == NULL) {
    return;
  }
  if (self->running) {
    if (!stop(self)) { /* who looks a name up for minutes shall not keep the process from ending */
      (void)pthread_detach(self->thread);
      return;
    }
    (void)pthread_join(self->thread, NULL);
  }
  otlp_post_destroy(self->post);
  rr_free(self->ring);
  (void)pthread_cond_destroy(&self->filled);
  (void)pthread_cond_destroy(&self->over);
  (void)pthread_mutex_destroy(&self->lock);
  rr_free(self);
}
