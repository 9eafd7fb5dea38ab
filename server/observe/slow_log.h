/* Which slow requests get a warning in the log. Pure: of one thread, no clock.
 *
 * A few at once, then one a second: what overload makes slow is told by numbers, and every request
 * has its usual line.
 */
#ifndef RR_SERVER_OBSERVE_SLOW_LOG_H
#define RR_SERVER_OBSERVE_SLOW_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum { SLOW_LOG_AT_ONCE = 10 };

/* Zeros are the beginning. */
typedef struct slow_log {
  uint64_t told_at; /* ns: when as many as can be at once would have been told, one a second */
  uint64_t untold;  /* since the last that was told */
} slow_log;

/* Whether a request that was slow is told at `now` (ns); *ret_untold: how many before it were not,
 * if so. */
bool slow_log_tell(slow_log *self, uint64_t now, uint64_t *ret_untold);

#endif
