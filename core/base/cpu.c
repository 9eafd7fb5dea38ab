#include "core/base/cpu.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, CPUS_MAX = 4096 };

static bool read_line(const char *path, char *line, int size) {
  FILE *file = fopen(path, "re");
  if (file == NULL) {
    return false;
  }
  bool got = fgets(line, size, file) != NULL;
  (void)fclose(file);
  return got;
}

/* quota and period in microseconds; a quota of zero or less means none. */
static unsigned cores_of(long long quota, long long period) {
  if (quota <= 0 || period <= 0) {
    return 0;
  }
  long long cores = quota / period + (quota % period != 0 ? 1 : 0);
  return cores > CPUS_MAX ? 0 : (unsigned)cores;
}

static unsigned quota_v2(const char *folder) {
  char path[PATH_BYTES];
  char line[128];
  long long quota;
  long long period;
  int length = snprintf(path, sizeof path, "%s/cpu.max", folder);
  if (length < 0 || (size_t)length >= sizeof path || !read_line(path, line, sizeof line) ||
      sscanf(line, "%lld %lld", &quota, &period) != 2) {
    return 0; /* "max 100000" does not parse: no quota */
  }
  return cores_of(quota, period);
}

static unsigned quota_v1(const char *folder) {
  char path[PATH_BYTES];
  char line[128];
  int length = snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
  if (length < 0 || (size_t)length >= sizeof path || !read_line(path, line, sizeof line)) {
    return 0;
  }
  long long quota = strtoll(line, NULL, 10);
  length = snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
  if (length < 0 || (size_t)length >= sizeof path || !read_line(path, line, sizeof line)) {
    return 0;
  }
  return cores_of(quota, strtoll(line, NULL, 10));
}

static unsigned smaller(unsigned a, unsigned b) {
  if (a == 0 || b == 0) {
    return a + b;
  }
  return a < b ? a : b;
}

/* Walks from the group up to the mount: every level's quota binds. */
static unsigned quota_upwards(const char *mount, const char *group,
                              unsigned (*quota_at)(const char *folder)) {
  char folder[PATH_BYTES];
  int length = snprintf(folder, sizeof folder, "%s%s", mount, group);
  if (length < 0 || (size_t)length >= sizeof folder) {
    return 0;
  }
  size_t root = strlen(mount);
  unsigned least = 0;
  for (;;) {
    least = smaller(least, quota_at(folder));
    char *slash = strrchr(folder, '/');
    if (slash == NULL || (size_t)(slash - folder) < root) {
      return least;
    }
    *slash = '\0';
  }
}

/* True if the comma-separated controller list names "cpu". */
static bool names_cpu(const char *controllers, size_t size) {
  for (size_t at = 0; at < size;) {
    size_t length = strcspn(controllers + at, ",:");
    if (length == 3 && strncmp(controllers + at, "cpu", 3) == 0) {
      return true;
    }
    at += length + 1;
  }
  return false;
}

unsigned rr_cpu_quota(const char *cgroup_file, const char *mount) {
  FILE *file = fopen(cgroup_file, "re");
  if (file == NULL) {
    return 0;
  }
  char line[PATH_BYTES];
  char v1_mount[PATH_BYTES];
  unsigned least = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL) {
      continue;
    }
    size_t names = (size_t)(group - controllers - 1);
    if (names == 0) {
      least = smaller(least, quota_upwards(mount, group + 1, quota_v2));
    } else if (names_cpu(controllers + 1, names)) {
      int length =
          snprintf(v1_mount, sizeof v1_mount, "%s/%.*s", mount, (int)names, controllers + 1);
      if (length > 0 && (size_t)length < sizeof v1_mount) {
        least = smaller(least, quota_upwards(v1_mount, group + 1, quota_v1));
      }
    }
  }
  (void)fclose(file);
  return least;
}

static unsigned affinity(void) {
  cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
  if (set == NULL) {
    return 1;
  }
  size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
  int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 1;
  CPU_FREE(set);
  return count < 1 ? 1 : (unsigned)count;
}

unsigned rr_cpu_count(void) {
  return smaller(affinity(), rr_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
}
