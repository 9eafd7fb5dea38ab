/* Preloaded by test_surroundings.py: the wall clock jumps by up to a day, there and back, at every
 * look. The monotonic clock stays as it is. */
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { DAY = 86400 };

int clock_gettime(clockid_t clock, struct timespec *ret_time);
time_t time(time_t *ret_time);
int gettimeofday(struct timeval *restrict ret_time, void *restrict zone);

static time_t jump(void) {
  static atomic_uint looks;
  return (time_t)(atomic_fetch_add(&looks, 1) % 5 * 2 * DAY / 4) - DAY;
}

int clock_gettime(clockid_t clock, struct timespec *ret_time) {
  int status = (int)syscall(SYS_clock_gettime, clock, ret_time);
  if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    ret_time->tv_sec += jump();
  }
  return status;
}

time_t time(time_t *ret_time) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  if (ret_time != NULL) {
    *ret_time = now.tv_sec;
  }
  return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret_time, void *restrict zone) {
  (void)zone;
  struct timespec now;
  int status = clock_gettime(CLOCK_REALTIME, &now);
  *ret_time = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return status;
}
