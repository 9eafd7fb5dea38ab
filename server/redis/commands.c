#include "server/redis/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"

/* Bytes of a command's head, and of a string beside its own. */
enum {
  HEAD = 24,
  EXTRA = 28,
  STORE_MAX = 6 * EXTRA + HEAD + REDIS_PREFIX_MAX + REDIS_DIGEST_BYTES + REDIS_VALUE_BYTES + 32
};

/* Each writes to `to`, where there is room, and returns where it ends. */
static char *put_number(char *to, char mark, size_t value) {
  return to + snprintf(to, HEAD, "%c%zu\r\n", mark, value);
}

static char *put_begin(char *to, size_t n_strings) { return put_number(to, '*', n_strings); }

static char *put_joined(char *to, const void *head, size_t head_size, const void *tail,
                        size_t tail_size) {
  to = put_number(to, '$', head_size + tail_size);
  memcpy(to, head, head_size);
  memcpy(to + head_size, tail, tail_size);
  memcpy(to + head_size + tail_size, "\r\n", 2);
  return to + head_size + tail_size + 2;
}

static char *put_string(char *to, const void *bytes, size_t size) {
  return put_joined(to, bytes, size, "", 0);
}

static char *put_key(const redis_commands *self, char *to, const redis_digest *key) {
  return put_joined(to, self->prefix, strlen(self->prefix), key->bytes, sizeof key->bytes);
}

static char *put_store(const redis_commands *self, char *to, const redis_digest *key,
                       const uint8_t *value) {
  to = put_begin(to, 5);
  to = put_string(to, "SET", 3);
  to = put_key(self, to, key);
  to = put_string(to, value, REDIS_VALUE_BYTES);
  to = put_string(to, "EX", 2);
  return put_string(to, self->ttl, strlen(self->ttl));
}

void redis_commands_init(redis_commands *ret_commands, const char *prefix, uint64_t ttl) {
  char trial[STORE_MAX];
  const uint8_t value[REDIS_VALUE_BYTES] = {0};
  const redis_digest key = {{0}};
  *ret_commands = (redis_commands){.prefix = prefix};
  (void)snprintf(ret_commands->ttl, sizeof ret_commands->ttl, "%" PRIu64, ttl);
  ret_commands->store_size = (size_t)(put_store(ret_commands, trial, &key, value) - trial);
}

char *redis_commands_question(const redis_commands *self, const redis_digest *keys, size_t n,
                              size_t *ret_size) {
  char *command =
      rr_malloc(2 * HEAD + EXTRA + n * (EXTRA + strlen(self->prefix) + REDIS_DIGEST_BYTES));
  if (command == NULL) {
    return NULL;
  }
  char *to = put_begin(command, n + 1);
  to = put_string(to, "MGET", 4);
  for (size_t i = 0; i < n; i++) {
    to = put_key(self, to, &keys[i]);
  }
  *ret_size = (size_t)(to - command);
  return command;
}

char *redis_commands_stores(const redis_commands *self, size_t n) {
  return rr_malloc(n * self->store_size);
}

void redis_commands_put(const redis_commands *self, char *stores, size_t i, const redis_digest *key,
                        const uint8_t value[REDIS_VALUE_BYTES]) {
  char command[STORE_MAX];
  (void)put_store(self, command, key, value);
  memcpy(stores + i * self->store_size, command, self->store_size);
}

char *redis_commands_plain(const char *const *words, size_t n, size_t *ret_size) {
  size_t room = HEAD;
  for (size_t i = 0; i < n; i++) {
    room += EXTRA + strlen(words[i]);
  }
  char *command = rr_malloc(room);
  if (command == NULL) {
    return NULL;
  }
  char *to = put_begin(command, n);
  for (size_t i = 0; i < n; i++) {
    to = put_string(to, words[i], strlen(words[i]));
  }
  *ret_size = (size_t)(to - command);
  return command;
}
