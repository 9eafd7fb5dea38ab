/* What the kernel tells of this process, under the names that Prometheus has for it. Needs /proc
 * for most of it. */
#ifndef RR_SERVER_OBSERVE_PROCESS_STATS_H
#define RR_SERVER_OBSERVE_PROCESS_STATS_H

#include <stdint.h>

/* 0 where it cannot be known. */
typedef struct process_stats {
  uint64_t resident_bytes;
  uint64_t virtual_bytes;
  uint64_t open_descriptors;
  uint64_t max_descriptors;
  double cpu_seconds;
} process_stats;

/* Microseconds, without waiting for a disk. */
void process_stats_read(process_stats *ret_stats);

#endif
