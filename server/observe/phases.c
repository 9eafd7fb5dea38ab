#include "server/observe/phases.h"

#include <stdio.h>
#include <time.h>

#include "server/base/clock.h"

static const char *const names[REQUEST_PHASES] = {
    [PHASE_READ] = "read",   [PHASE_POOL] = "pool",       [PHASE_PARSE] = "parse",
    [PHASE_SHARE] = "share", [PHASE_RESUME] = "resume",   [PHASE_TOKENIZE] = "tokenize",
    [PHASE_QUEUE] = "queue", [PHASE_COMPUTE] = "compute", [PHASE_ENCODE] = "encode",
    [PHASE_WRITE] = "write",
};

const char *phase_name(request_phase which) { return names[which]; }

void phases_begin(request_phases *self) {
  struct timespec wall;
  (void)clock_gettime(CLOCK_REALTIME, &wall);
  *self = (request_phases){.begun = clock_now(),
                           .wall = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec};
  self->of[PHASE_READ].begin = self->begun;
}

void phases_end(request_phases *self) {
  self->ended = clock_now();
  for (int i = 0; i < REQUEST_PHASES; i++) {
    phase_span *span = &self->of[i];
    if (span->begin != 0 && span->end == 0) {
      span->end = self->ended;
    }
  }
}

uint64_t phases_total(const request_phases *self) {
  return (self->ended == 0 ? clock_now() : self->ended) - self->begun;
}

uint64_t phases_between(const request_phases *self) {
  uint64_t sum = 0;
  for (int i = 0; i < REQUEST_PHASES; i++) {
    sum += phase_ns(self->of[i]);
  }
  uint64_t total = phases_total(self);
  return total > sum ? total - sum : 0;
}

/* A day and more is told as a day less a microsecond: the header stays within its bound. */
static void add(char *text, size_t *at, const char *name, uint64_t ns) {
  const uint64_t us_per_ms = 1000;
  const uint64_t most = (uint64_t)86400 * 1000000 - 1;
  uint64_t us = ns / 1000 < most ? ns / 1000 : most;
  int length =
      snprintf(text + *at, PHASES_TEXT_MAX - *at, "%s%s;dur=%llu.%03llu", *at == 0 ? "" : ", ",
               name, (unsigned long long)(us / us_per_ms), (unsigned long long)(us % us_per_ms));
  *at += length < 0 ? 0 : (size_t)length;
}

/* At most eleven entries of 8 letters, 9 and 3 digits, and 8 signs between. */
_Static_assert((REQUEST_PHASES + 1) * (8 + 12 + 8) < PHASES_TEXT_MAX, "the header has room");

void phases_server_timing(const request_phases *self, char ret_text[PHASES_TEXT_MAX]) {
  size_t at = 0;
  for (int i = 0; i < REQUEST_PHASES; i++) {
    if (self->of[i].begin != 0 && self->of[i].end != 0) {
      add(ret_text, &at, names[i], phase_ns(self->of[i]));
    }
  }
  add(ret_text, &at, "total", phases_total(self));
}
