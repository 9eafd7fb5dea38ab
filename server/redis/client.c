#include "server/redis/client.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/base/loop_thread.h"
#include "server/observe/log.h"
#include "server/redis/breaker.h"
#include "server/redis/clock.h"
#include "server/redis/link.h"
#include "server/redis/stores.h"

enum { GREETING_MS = 1000, NS_PER_MS = 1000000 };

/* A reply, or several of one kind, that the server owes. */
typedef enum owed_kind { OWED_GREETING, OWED_LOOKUP, OWED_STORES } owed_kind;
typedef struct owed {
  owed_kind kind;
  size_t n;             /* replies, or a look-up's keys */
  redis_lookup *lookup; /* NULL: nobody waits any more */
} owed;

struct redis_client {
  redis_client_config config;
  redis_metrics *counters;
  uv_loop_t *loop;
  redis_link link;
  redis_reader reader;
  redis_breaker breaker;
  uv_timer_t retry;   /* the next try; while one is under way, its end */
  redis_clock expiry; /* of the first look-up */
  atomic_bool up;
  bool told_down;            /* the log knows that it is not asked */
  owed owed[REDIS_OWED_MAX]; /* a ring */
  size_t first;
  size_t n_owed;
  redis_lookup *oldest;
  redis_lookup *newest;
  redis_stores stores;
  bool storing; /* a step is under way */
  uint64_t random;
};

/* --- what is owed --- */

/* What the reader is to make of the next reply. */
static void expect_next(redis_client *self) {
  const owed *next = self->n_owed == 0 ? NULL : &self->owed[self->first];
  bool lookup = next != NULL && next->kind == OWED_LOOKUP;
  redis_reader_expect(&self->reader, lookup && next->lookup != NULL ? next->lookup->answers : NULL,
                      lookup ? next->n : 0);
}

/* Takes the bytes. False where they cannot be sent. */
static bool send_command(redis_client *self, const owed *what, char *bytes, size_t size) {
  if (self->n_owed == REDIS_OWED_MAX) {
    rr_free(bytes);
    return false;
  }
  if (!redis_link_write(&self->link, bytes, size)) {
    return false;
  }
  size_t place = (self->first + self->n_owed++) % REDIS_OWED_MAX;
  self->owed[place] = *what;
  if (what->lookup != NULL) {
    what->lookup->place = place;
  }
  if (self->n_owed == 1) {
    expect_next(self);
  }
  return true;
}

/* --- look-ups --- */

static void set_expiry(redis_client *self) {
  redis_clock_set(&self->expiry, self->oldest == NULL ? 0
                                                      : self->oldest->asked_at +
                                                            self->config.timeout_ms * NS_PER_MS);
}

/* Nobody waits for it any more; its reply may still come. */
static void take_out(redis_client *self, redis_lookup *lookup) {
  bool first = self->oldest == lookup;
  *(lookup->before == NULL ? &self->oldest : &lookup->before->next) = lookup->next;
  *(lookup->next == NULL ? &self->newest : &lookup->next->before) = lookup->before;
  self->owed[lookup->place].lookup = NULL;
  if (lookup->place == self->first) {
    expect_next(self);
  }
  if (first) {
    set_expiry(self);
  }
}

/* Of one that was taken out. What it is for may go, and others may be asked. */
static void end_lookup(redis_client *self, redis_lookup *lookup, redis_outcome outcome) {
  self->counters->lookups[outcome]++;
  histogram_add(&self->counters->wait, (double)(clock_now() - lookup->asked_at) / 1e9);
  lookup->done(lookup, outcome == REDIS_ANSWERED);
}

static void end_all(redis_client *self) {
  while (self->oldest != NULL) {
    redis_lookup *lookup = self->oldest;
    take_out(self, lookup);
    end_lookup(self, lookup, REDIS_LOST);
  }
}

bool redis_client_ask(redis_client *self, redis_lookup *lookup) {
  assert_loop_thread();
  bool room = self->n_owed < REDIS_OWED_MAX && redis_link_waiting(&self->link) < REDIS_WAITING_MAX;
  if (!self->breaker.closed || !room) {
    self->counters->lookups[REDIS_NOT_ASKED]++;
    return false;
  }
  char *command = lookup->command;
  lookup->command = NULL;
  lookup->asked_at = clock_now();
  const owed what = {.kind = OWED_LOOKUP, .n = lookup->n, .lookup = lookup};
  if (!send_command(self, &what, command, lookup->command_size)) {
    self->counters->lookups[REDIS_NOT_ASKED]++;
    return false;
  }
  lookup->next = NULL;
  lookup->before = self->newest;
  *(self->newest == NULL ? &self->oldest : &self->newest->next) = lookup;
  self->newest = lookup;
  if (self->oldest == lookup) {
    set_expiry(self);
  }
  return true;
}

void redis_client_cancel(redis_client *self, redis_lookup *lookup) {
  assert_loop_thread();
  self->counters->lookups[REDIS_CANCELLED]++;
  take_out(self, lookup);
}

/* --- stores --- */

/* The next few, unless some are under way. */
static void go_on_storing(redis_client *self) {
  char *commands = NULL;
  size_t n =
      self->storing || !self->breaker.closed ? 0 : redis_stores_step(&self->stores, &commands);
  if (n == 0) {
    return;
  }
  self->storing =
      send_command(self, &(owed){.kind = OWED_STORES, .n = n}, commands, n * self->stores.each);
  self->counters->stores_dropped += self->storing ? 0 : n;
}

void redis_client_store(redis_client *self, char *stores, size_t n) {
  assert_loop_thread();
  if (!self->breaker.closed) {
    rr_free(stores);
    self->counters->stores_dropped += n;
    return;
  }
  self->counters->stores_dropped += redis_stores_add(&self->stores, stores, n) ? 0 : n;
  go_on_storing(self);
}

/* --- the connection --- */

static uint32_t
chance(redis_client *self) { /* xorshift: replicas need not agree, and that is all */
  self->random ^= self->random << 13;
  self->random ^= self->random >> 7;
  self->random ^= self->random << 17;
  return (uint32_t)(self->random >> 32);
}

static void on_retry(uv_timer_t *timer);

/* There is no connection; there may be one later. The breaker knows. */
static void go_down(redis_client *self, const char *reason) {
  atomic_store(&self->up, false);
  redis_link_close(&self->link);
  redis_reader_finish(&self->reader);
  self->storing = false;
  self->n_owed = 0;
  self->counters->stores_dropped += redis_stores_drop(&self->stores);
  end_all(self);
  if (!self->told_down) {
    log_text(LOG_LEVEL_WARN, "the shared cache is not asked: %s", reason);
  }
  self->told_down = true;
  uint64_t now = clock_now();
  uint64_t wait = self->breaker.until > now ? (self->breaker.until - now) / NS_PER_MS + 1 : 1;
  uv_update_time(self->loop);
  (void)uv_timer_start(&self->retry, on_retry, wait, 0);
}

static void on_down(void *context, const char *reason) {
  redis_client *self = context;
  redis_breaker_lost(&self->breaker, clock_now(), chance(self));
  go_down(self, reason);
}

/* A look-up was of no use; whether there still is a connection. */
static bool count_failure(redis_client *self, const char *reason) {
  if (redis_breaker_failed(&self->breaker, clock_now(), chance(self))) {
    go_down(self, reason);
  }
  return self->breaker.closed;
}

static void on_expiry(void *context) {
  redis_client *self = context;
  uint64_t limit = self->config.timeout_ms * NS_PER_MS;
  while (self->oldest != NULL && clock_now() - self->oldest->asked_at >= limit) {
    redis_lookup *lookup = self->oldest;
    take_out(self, lookup);
    end_lookup(self, lookup, REDIS_LATE);
    if (!count_failure(self, "it answers too late")) {
      return;
    }
  }
  set_expiry(self);
}

static bool greet(redis_client *self, const char *const *words, size_t n) {
  size_t size = 0;
  char *command = redis_commands_plain(words, n, &size);
  return command != NULL &&
         send_command(self, &(owed){.kind = OWED_GREETING, .n = 1}, command, size);
}

static void on_up(void *context) {
  redis_client *self = context;
  const redis_address *address = self->config.address;
  char database[16];
  (void)snprintf(database, sizeof database, "%u", address->database);
  const char *const with_user[] = {"AUTH", address->user, address->password};
  const char *const without[] = {"AUTH", address->password};
  const char *const choose[] = {"SELECT", database};
  const char *const ping[] = {"PING"};
  bool sent = redis_reader_init(&self->reader);
  if (sent && address->password[0] != '\0') {
    sent = address->user[0] != '\0' ? greet(self, with_user, 3) : greet(self, without, 2);
  }
  sent = sent && (address->database == 0 || greet(self, choose, 2));
  if (!sent || !greet(self, ping, 1)) {
    on_down(self, "out of memory");
  }
}

static void on_retry(uv_timer_t *timer) {
  redis_client *self = timer->data;
  if (self->link.wanted) { /* the try has had its time */
    on_down(self, "no answer to the greetings");
    return;
  }
  self->counters->connects++;
  (void)uv_timer_start(&self->retry, on_retry, GREETING_MS, 0);
  redis_link_open(&self->link);
}

/* Greeted. */
static void come_up(redis_client *self) {
  (void)uv_timer_stop(&self->retry);
  redis_breaker_greeted(&self->breaker);
  atomic_store(&self->up, true);
  self->told_down = false;
  log_text(LOG_LEVEL_INFO, "the shared cache at %s%s%s is asked", self->config.address->host,
           self->config.address->local ? "" : " port ", self->config.address->port);
}

/* --- replies --- */

static bool take_greeting(redis_client *self, const redis_reply *reply) {
  char reason[REDIS_TEXT_BYTES + 32];
  if (reply->kind != REDIS_STATUS) {
    (void)snprintf(reason, sizeof reason, "it refuses the greetings: %s",
                   reply->kind == REDIS_ERROR ? reply->text : "with what is no answer");
    on_down(self, reason);
    return false;
  }
  if (self->n_owed == 0) {
    come_up(self);
  }
  return true;
}

/* lookup: NULL where nobody waits any more. */
static bool take_lookup(redis_client *self, redis_lookup *lookup, size_t n,
                        const redis_reply *reply) {
  bool whole = reply->kind == REDIS_ARRAY && reply->n == n;
  if (lookup != NULL) {
    end_lookup(self, lookup, whole ? REDIS_ANSWERED : REDIS_REFUSED);
  }
  if (whole && lookup != NULL) {
    redis_breaker_answered(&self->breaker);
  }
  if (whole || lookup == NULL) {
    return true; /* what comes too late was counted when it was due */
  }
  char reason[REDIS_TEXT_BYTES + 32];
  (void)snprintf(reason, sizeof reason, "it does not answer: %s",
                 reply->kind == REDIS_ERROR ? reply->text : "");
  return count_failure(self, reason);
}

/* False: there is no connection any more. */
static bool take_reply(redis_client *self, const redis_reply *reply) {
  if (self->n_owed == 0) {
    on_down(self, "it answers what nobody asked");
    return false;
  }
  owed *next = &self->owed[self->first];
  if (next->kind == OWED_STORES) {
    self->counters->stores++;
    self->counters->stores_failed += reply->kind != REDIS_STATUS;
    if (--next->n > 0) {
      return true;
    }
  }
  const owed what = *next;
  if (what.lookup != NULL) {
    take_out(self, what.lookup);
  }
  self->first = (self->first + 1) % REDIS_OWED_MAX;
  self->n_owed--;
  expect_next(self);
  switch (what.kind) {
  case OWED_GREETING: return take_greeting(self, reply);
  case OWED_LOOKUP: return take_lookup(self, what.lookup, what.n, reply);
  case OWED_STORES: break;
  }
  self->storing = false;
  go_on_storing(self);
  return true;
}

static void on_received(void *context, const char *bytes, size_t size) {
  redis_client *self = context;
  redis_reply reply;
  if (!redis_reader_feed(&self->reader, bytes, size)) {
    on_down(self, "out of memory");
    return;
  }
  redis_read found;
  while ((found = redis_reader_next(&self->reader, &reply)) == REDIS_READ_REPLY) {
    if (!take_reply(self, &reply)) {
      return;
    }
  }
  if (found == REDIS_READ_BROKEN) {
    on_down(self, "what it answers is no answer");
  }
}

/* --- life --- */

redis_client *redis_client_create(uv_loop_t *loop, const redis_client_config *config,
                                  redis_metrics *counters) {
  loop_thread_claim();
  redis_client *self = rr_calloc(1, sizeof *self);
  if (self == NULL) {
    return NULL;
  }
  self->config = *config;
  self->counters = counters;
  self->loop = loop;
  self->random = clock_now() | 1;
  self->stores.each = config->commands->store_size;
  if (!redis_clock_init(&self->expiry, loop, on_expiry, self)) {
    rr_free(self);
    return NULL;
  }
  const redis_link_events events = {
      .context = self, .up = on_up, .received = on_received, .down = on_down};
  redis_link_init(&self->link, loop, config->address, &events);
  (void)uv_timer_init(loop, &self->retry);
  self->retry.data = self;
  return self;
}

void redis_client_start(redis_client *self) {
  assert_loop_thread();
  on_retry(&self->retry);
}

void redis_client_close(redis_client *self) {
  assert_loop_thread();
  atomic_store(&self->up, false);
  self->breaker.closed = false;
  redis_link_close(&self->link);
  self->counters->stores_dropped += redis_stores_drop(&self->stores);
  end_all(self);
  uv_close((uv_handle_t *)&self->retry, NULL);
  redis_clock_close(&self->expiry);
}

bool redis_client_lingers(const redis_client *self) {
  assert_loop_thread();
  return self != NULL && redis_link_lingers(&self->link);
}

void redis_client_destroy(redis_client *self) {
  assert_loop_thread();
  if (self != NULL) {
    redis_reader_finish(&self->reader);
    rr_free(self);
  }
}

bool redis_client_is_up(const redis_client *self) { return atomic_load(&self->up); }

void redis_client_gauge(redis_client *self) {
  assert_loop_thread();
  self->counters->up = atomic_load(&self->up);
  self->counters->stores_bytes = self->stores.bytes + redis_link_waiting(&self->link);
}
