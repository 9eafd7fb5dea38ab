#include "server/redis/breaker.h"

void redis_breaker_greeted(redis_breaker *self) {
  self->closed = true;
  self->failures = 0;
}

void redis_breaker_answered(redis_breaker *self) {
  self->failures = 0;
  self->tries = 0;
}

bool redis_breaker_failed(redis_breaker *self, uint64_t now, uint32_t chance) {
  if (!self->closed || ++self->failures < REDIS_FAILURES_MAX) {
    return false;
  }
  redis_breaker_lost(self, now, chance);
  return true;
}

void redis_breaker_lost(redis_breaker *self, uint64_t now, uint32_t chance) {
  uint64_t wait = REDIS_WAIT_FIRST;
  for (unsigned i = 0; i < self->tries && wait < REDIS_WAIT_MAX; i++) {
    wait *= 2;
  }
  wait = wait < REDIS_WAIT_MAX ? wait : REDIS_WAIT_MAX;
  self->closed = false;
  self->failures = 0;
  self->tries++;
  self->until = now + wait / 2 + wait / 2000 * chance / UINT32_MAX * 1000;
}
