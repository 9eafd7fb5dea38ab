#include "server/system/memory_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
  PATH_BYTES = 4096,
  LINE_BYTES = 256,
  ENOUGH = 32 << 20 /* bytes: requests are a few MB each */
};

/* "No limit" of version 1 is the largest multiple of a page; nobody has an exbibyte. */
static const uint64_t beyond_reason = UINT64_C(1) << 60;
static const double mib = 1 << 20;

static bool read_line(const char *path, char line[LINE_BYTES]) {
  FILE *file = fopen(path, "re");
  if (file == NULL) {
    return false;
  }
  bool got = fgets(line, LINE_BYTES, file) != NULL;
  (void)fclose(file);
  return got;
}

/* A file's number, which may be lower than what there is; "max", nonsense and no file are none.
 * `group`: its folder below the mount. */
static void consider(const char *mount, const char *group, const char *name, memory_limit *least) {
  char path[PATH_BYTES];
  char line[LINE_BYTES];
  int length = snprintf(path, sizeof path, "%s%s/%s", mount, group, name);
  if (length < 0 || (size_t)length >= sizeof path || !read_line(path, line)) {
    return;
  }
  char *end;
  errno = 0;
  unsigned long long bytes = strtoull(line, &end, 10);
  if (end == line || line[0] == '-' || errno != 0 || bytes == 0 || bytes >= beyond_reason) {
    return;
  }
  if (least->bytes == 0 || bytes < least->bytes) {
    least->bytes = bytes;
    (void)snprintf(least->source, sizeof least->source, "%s of cgroup %.100s", name,
                   group[0] == '\0' ? "/" : group);
  }
}

/* From the group up to the mount: every level's limit binds. Where a container sees its own group
 * as the root, the levels that
 * the path names are not there, and the mount itself has its limits. */
static void consider_upwards(const char *mount, const char *group, const char *const *names,
                             memory_limit *least) {
  char place[PATH_BYTES];
  int length = snprintf(place, sizeof place, "%s", strcmp(group, "/") == 0 ? "" : group);
  if (length < 0 || (size_t)length >= sizeof place) {
    place[0] = '\0';
  }
  for (;;) {
    for (size_t i = 0; names[i] != NULL; i++) {
      consider(mount, place, names[i], least);
    }
    char *slash = strrchr(place, '/');
    if (slash == NULL) {
      return;
    }
    *slash = '\0';
  }
}

/* Whether a list with commas has "memory". */
static bool names_memory(const char *list, size_t size) {
  for (size_t at = 0; at < size;) {
    size_t length = strcspn(list + at, ",:");
    if (length == 6 && strncmp(list + at, "memory", 6) == 0) {
      return true;
    }
    at += length + 1;
  }
  return false;
}

void memory_limit_of_cgroup(const char *cgroup_file, const char *mount, memory_limit *ret_limit) {
  static const char *const old_names[] = {"memory.limit_in_bytes", NULL};
  static const char *const new_names[] = {"memory.max", "memory.high", NULL};
  char line[PATH_BYTES];
  char below[PATH_BYTES];
  *ret_limit = (memory_limit){.bytes = 0};
  FILE *file = fopen(cgroup_file, "re");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    const char *list = strchr(line, ':');
    const char *group = list == NULL ? NULL : strchr(list + 1, ':');
    if (group == NULL || group[1] != '/') {
      continue;
    }
    size_t size = (size_t)(group - list - 1);
    if (size == 0) { /* version 2, alone or beside version 1 */
      (void)snprintf(below, sizeof below, "%s/unified", mount);
      consider_upwards(mount, group + 1, new_names, ret_limit);
      consider_upwards(below, group + 1, new_names, ret_limit);
    } else if (names_memory(list + 1, size)) {
      int length = snprintf(below, sizeof below, "%s/%.*s", mount, (int)size, list + 1);
      if (length > 0 && (size_t)length < sizeof below) {
        consider_upwards(below, group + 1, old_names, ret_limit);
      }
    }
  }
  if (file != NULL) {
    (void)fclose(file);
  }
}

static memory_limit limit_of(const char *source, uint64_t bytes) {
  memory_limit limit = {.bytes = bytes};
  (void)snprintf(limit.source, sizeof limit.source, "%s", source);
  return limit;
}

static memory_limit resource(const char *source, __rlimit_resource_t which) {
  struct rlimit limit;
  bool none = getrlimit(which, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
              limit.rlim_cur >= beyond_reason;
  return limit_of(source, none ? 0 : limit.rlim_cur);
}

void memory_limits_read(memory_limits *ret_limits) {
  long pages = sysconf(_SC_PHYS_PAGES);
  long page = sysconf(_SC_PAGESIZE);
  memory_limit_of_cgroup("/proc/self/cgroup", "/sys/fs/cgroup", &ret_limits->cgroup);
  ret_limits->machine =
      limit_of("this machine", pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0);
  ret_limits->address_space = resource("RLIMIT_AS", RLIMIT_AS);
  ret_limits->data = resource("RLIMIT_DATA", RLIMIT_DATA);
}

void memory_use_read(memory_use *ret_use) {
  char line[LINE_BYTES];
  unsigned long long size = 0;
  unsigned long long resident = 0;
  unsigned long long of_files = 0;
  unsigned long long data = 0;
  *ret_use = (memory_use){.resident = 0};
  if (!read_line("/proc/self/statm", line) ||
      sscanf(line, "%llu %llu %llu %*u %*u %llu", &size, &resident, &of_files, &data) != 4) {
    return;
  }
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  ret_use->address_space = size * page;
  ret_use->resident = (resident > of_files ? resident - of_files : 0) * page;
  ret_use->data = data * page;
}

const memory_limit *memory_limits_least(const memory_limits *limits) {
  const memory_limit *const all[] = {&limits->cgroup, &limits->machine, &limits->address_space,
                                     &limits->data};
  const memory_limit *least = &limits->machine;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    if (all[i]->bytes > 0 && (least->bytes == 0 || all[i]->bytes < least->bytes)) {
      least = all[i];
    }
  }
  return least;
}

/* One limit, what is used of it, and the quarters of the rest that requests may have. */
typedef struct part {
  const memory_limit *limit;
  uint64_t used;
  unsigned quarters;
  uint64_t share;
} part;

uint64_t memory_for_requests(const memory_limits *limits, const memory_use *use,
                             char ret_note[MEMORY_NOTE_MAX], bool *ret_short) {
  part parts[] = {{&limits->cgroup, use->resident + use->promised, 3, 0},
                  {&limits->machine, use->resident + use->promised, 2, 0},
                  {&limits->address_space, use->address_space + use->promised, 2, 0},
                  {&limits->data, use->data + use->promised, 3, 0}};
  const part *least = NULL;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    uint64_t bytes = parts[i].limit->bytes;
    uint64_t left = bytes > parts[i].used ? bytes - parts[i].used : 0;
    parts[i].share = left / 4 * parts[i].quarters;
    if (bytes > 0 && (least == NULL || parts[i].share < least->share)) {
      least = &parts[i];
    }
  }
  if (least == NULL) { /* nobody says anything */
    *ret_short = false;
    (void)snprintf(ret_note, MEMORY_NOTE_MAX, "nothing says how much there is");
    return UINT64_C(1) << 30;
  }
  *ret_short = least->share < ENOUGH;
  (void)snprintf(
      ret_note, MEMORY_NOTE_MAX,
      "%s what model, workers, caches and connections (%.1f MiB) leave of the %.1f MiB by %s",
      least->quarters == 2 ? "half of" : "three quarters of", (double)least->used / mib,
      (double)least->limit->bytes / mib, least->limit->source);
  return least->share > REQUEST_MEMORY_MIN ? least->share : REQUEST_MEMORY_MIN;
}
