/* Scores that wait to be written to the shared cache, oldest first, bounded in bytes. One thread. */
#ifndef RR_SERVER_REDIS_STORES_H
#define RR_SERVER_REDIS_STORES_H

#include <stdbool.h>
#include <stddef.h>

enum {
  SHARED_STORES_MAX = 8 << 20, /* bytes */
  SHARED_STORE_STEP = 32       /* commands written at once */
};

struct shared_batch;

typedef struct shared_stores {
  struct shared_batch *first;
  struct shared_batch *newest;
  size_t each;  /* bytes of a command */
  size_t bytes; /* of what waits, what of the first was written included */
} shared_stores;

/* Takes n commands of `each` bytes, heap memory. False: no room or memory, and they are freed. */
bool shared_stores_add(shared_stores *self, char *commands, size_t n);

/* Takes out the next up to SHARED_STORE_STEP commands as memory for rr_free. Returns how many; 0: none, or no memory. */
size_t shared_stores_step(shared_stores *self, char **ret_commands);

/* Forgets all; returns how many. */
size_t shared_stores_drop(shared_stores *self);

#endif
