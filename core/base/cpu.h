/* How many cores this process may use. */
#ifndef RR_CORE_BASE_CPU_H
#define RR_CORE_BASE_CPU_H

/* Cores allowed by the affinity mask and by the cgroup's CPU quota (v2 and v1, every level up to
 * the root), at least 1. A fractional quota counts as the next whole core. Any thread. */
unsigned rr_cpu_count(void);

/* The cgroup part alone, for tests: `cgroup_file` is what /proc/self/cgroup holds, `mount` where
 * the hierarchy is mounted (/sys/fs/cgroup). Returns the quota in cores, rounded up, or 0 for
 * none. */
unsigned rr_cpu_quota(const char *cgroup_file, const char *mount);

#endif
