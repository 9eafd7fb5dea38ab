#include "server/observe/process_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void read_memory(process_stats *stats) {
  char text[128];
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (file >= 0) {
    (void)close(file);
  }
  if (size <= 0) {
    return;
  }
  text[size] = '\0';
  char *next;
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  stats->virtual_bytes = strtoull(text, &next, 10) * page;
  stats->resident_bytes = strtoull(next, NULL, 10) * page;
}

/* The folder's size is their number since Linux 6.2; before, they are counted one by one. */
static uint64_t count_descriptors(void) {
  struct stat about;
  if (stat("/proc/self/fd", &about) == 0 && about.st_size > 0) {
    return (uint64_t)about.st_size;
  }
  DIR *folder = opendir("/proc/self/fd");
  if (folder == NULL) {
    return 0;
  }
  uint64_t count = 0;
  while (readdir(folder) != NULL) {
    count++;
  }
  (void)closedir(folder);
  return count > 3 ? count - 3 : 0; /* . and .. and the folder's own */
}

static double seconds(struct timeval time) {
  return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

void process_stats_read(process_stats *ret_stats) {
  struct rusage usage;
  struct rlimit limit;
  *ret_stats = (process_stats){.open_descriptors = count_descriptors()};
  read_memory(ret_stats);
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    ret_stats->cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    ret_stats->max_descriptors = limit.rlim_cur;
  }
}
