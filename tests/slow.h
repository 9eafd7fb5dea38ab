/* How often tests repeat where programs are slow. RR_SLOW in the environment says how slow: absent,
 * as they are; 1, several times (sanitizers); 2, some twenty times (valgrind). */
#ifndef RR_TESTS_SLOW_H
#define RR_TESTS_SLOW_H

#include <stdlib.h>

/* The step through cases that are much alike: 1, `sanitized` or `valgrind`. */
static inline unsigned long slow_step(unsigned long sanitized, unsigned long valgrind) {
  const char *slow = getenv("RR_SLOW");
  return slow == NULL ? 1 : slow[0] == '2' ? valgrind : sanitized;
}

#endif
