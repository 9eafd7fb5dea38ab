#include "server/observe/slow_log.h"

static const uint64_t interval = 1000000000; /* ns */

/* The virtual scheduling of a leaky bucket: told_at runs an interval ahead with each that is told,
 * and may be so many intervals ahead of the time. */
bool slow_log_tell(slow_log *self, uint64_t now, uint64_t *ret_untold) {
  uint64_t from = self->told_at > now ? self->told_at : now;
  if (from - now > (SLOW_LOG_AT_ONCE - 1) * interval) {
    self->untold++;
    return false;
  }
  self->told_at = from + interval;
  *ret_untold = self->untold;
  self->untold = 0;
  return true;
}
