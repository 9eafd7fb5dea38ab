/* Points in time in the order in which they come, for one timer. Pure; one thread. */
#ifndef RR_SERVER_REQUEST_DEADLINE_H
#define RR_SERVER_REQUEST_DEADLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in what the deadline is for; all zeros: not in any list. */
typedef struct deadline {
  uint64_t at;  /* ns */
  size_t place; /* the list's own: 0, or 1 and its index */
} deadline;

typedef struct deadlines {
  deadline **heap; /* soonest first */
  size_t n;
  size_t capacity;
} deadlines;

/* Room for `capacity` of them. False when memory is out. */
bool deadlines_init(deadlines *self, size_t capacity);
void deadlines_finish(deadlines *self);

/* Adds what is not in the list; false when it is full. */
bool deadlines_add(deadlines *self, deadline *entry, uint64_t at);
void deadlines_remove(deadlines *self,
                      deadline *entry); /* one that is not in the list is allowed */

/* The soonest, or NULL. */
deadline *deadlines_first(const deadlines *self);

#endif
