/* Scores that wait to be written to the shared cache, oldest first, bounded in bytes. One
 * thread. */
#ifndef RR_SERVER_REDIS_STORES_H
#define RR_SERVER_REDIS_STORES_H

#include <stdbool.h>
#include <stddef.h>

enum {
  REDIS_STORES_MAX = 8 << 20, /* bytes */
  REDIS_STORE_STEP = 32       /* commands written at once */
};

struct redis_batch;

typedef struct redis_stores {
  struct redis_batch *first;
  struct redis_batch *newest;
  size_t each;  /* bytes of a command */
  size_t bytes; /* of what waits, what of the first was written included */
} redis_stores;

/* Takes n commands of `each` bytes, heap memory. False: no room or memory, and they are freed. */
bool redis_stores_add(redis_stores *self, char *commands, size_t n);

/* Takes out the next up to REDIS_STORE_STEP commands as memory for rr_free. Returns how many; 0:
 * none, or no memory. */
size_t redis_stores_step(redis_stores *self, char **ret_commands);

/* Forgets all; returns how many. */
size_t redis_stores_drop(redis_stores *self);

#endif
