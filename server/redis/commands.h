/* What the server behind the shared cache is told, in RESP: arrays of strings, each with its
 * length. Pure; any thread. */
#ifndef RR_SERVER_REDIS_COMMANDS_H
#define RR_SERVER_REDIS_COMMANDS_H

#include <stddef.h>
#include <stdint.h>

#include "server/redis/keys.h"

enum { REDIS_PREFIX_MAX = 64 };

typedef struct redis_commands {
  const char *prefix; /* of all keys; borrowed */
  char ttl[24];
  size_t store_size; /* bytes of a command that writes a score: all have as many */
} redis_commands;

/* prefix: up to REDIS_PREFIX_MAX bytes, borrowed. ttl: seconds that a score is kept. */
void redis_commands_init(redis_commands *ret_commands, const char *prefix, uint64_t ttl);

/* Asks for n keys. Heap memory for rr_free, as all of these; NULL when memory is out. */
char *redis_commands_question(const redis_commands *self, const redis_digest *keys, size_t n,
                              size_t *ret_size);

/* Room for commands that write n scores. */
char *redis_commands_stores(const redis_commands *self, size_t n);

/* Writes command i of these. */
void redis_commands_put(const redis_commands *self, char *stores, size_t i, const redis_digest *key,
                        const uint8_t value[REDIS_VALUE_BYTES]);

/* A command of terminated words. */
char *redis_commands_plain(const char *const *words, size_t n, size_t *ret_size);

#endif
