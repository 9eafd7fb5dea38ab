/* How much memory this process may have, by whom, and what of that is left for requests. Reading,
 * and pure arithmetic. */
#ifndef RR_SERVER_SYSTEM_MEMORY_LIMIT_H
#define RR_SERVER_SYSTEM_MEMORY_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEMORY_SOURCE_MAX = 160, MEMORY_NOTE_MAX = 512, REQUEST_MEMORY_MIN = 1 << 20 };

typedef struct memory_limit {
  uint64_t bytes;                 /* 0: none */
  char source[MEMORY_SOURCE_MAX]; /* "memory.max of cgroup /a/b" */
} memory_limit;

typedef struct memory_limits {
  memory_limit cgroup;
  memory_limit machine;
  memory_limit address_space; /* RLIMIT_AS */
  memory_limit data;          /* RLIMIT_DATA */
} memory_limits;

/* What the process has once the model is there. Bytes. */
typedef struct memory_use {
  uint64_t resident; /* without pages of files */
  uint64_t address_space;
  uint64_t data;
  uint64_t promised; /* to workspaces, caches and connections, taken yet or not */
} memory_use;

/* The least limit along the way from the process's cgroups to their roots, of version 1
 * (memory.limit_in_bytes) and 2 (memory.max,
 * memory.high). cgroup_file: "/proc/self/cgroup", or a test's own; mount: "/sys/fs/cgroup". bytes
 * is 0 where there is none. */
void memory_limit_of_cgroup(const char *cgroup_file, const char *mount, memory_limit *ret_limit);

/* All of them. */
void memory_limits_read(memory_limits *ret_limits);

/* The memory that the kernel says this process has; promised is 0. */
void memory_use_read(memory_use *ret_use);

/* The limit that binds as long as nothing is known of the process's own use: the smallest. */
const memory_limit *memory_limits_least(const memory_limits *limits);

/* What requests may have together: of what the use leaves of each limit three quarters, of a
 * machine's memory or an address
 * space, which others use too, half; the least of these, but REQUEST_MEMORY_MIN at least. ret_note:
 * how that came about, for
 * the log. *ret_short tells that less was left than requests need. */
uint64_t memory_for_requests(const memory_limits *limits, const memory_use *use,
                             char ret_note[MEMORY_NOTE_MAX], bool *ret_short);

#endif
