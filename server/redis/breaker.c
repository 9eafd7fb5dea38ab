#include "server/redis/breaker.h"

void shared_breaker_greeted(shared_breaker *self) {
  self->closed = true;
  self->failures = 0;
}

void shared_breaker_answered(shared_breaker *self) {
  self->failures = 0;
  self->tries = 0;
}

bool shared_breaker_failed(shared_breaker *self, uint64_t now, uint32_t chance) {
  if (!self->closed || ++self->failures < SHARED_FAILURES_MAX) {
    return false;
  }
  shared_breaker_lost(self, now, chance);
  return true;
}

void shared_breaker_lost(shared_breaker *self, uint64_t now, uint32_t chance) {
  uint64_t wait = SHARED_WAIT_FIRST;
  for (unsigned i = 0; i < self->tries && wait < SHARED_WAIT_MAX; i++) {
    wait *= 2;
  }
  wait = wait < SHARED_WAIT_MAX ? wait : SHARED_WAIT_MAX;
  self->closed = false;
  self->failures = 0;
  self->tries++;
  self->until = now + wait / 2 + wait / 2000 * chance / UINT32_MAX * 1000;
}
