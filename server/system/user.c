#include "server/system/user.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ENTRY_BYTES = 16 * 1024, GROUPS_MAX = 65536, DROP_WAIT_MS = 500 };

/* Of the names, what fits is taken: an account with a longer one is not found by it. */
static bool split(const char *text, char name[USER_NAME_BYTES], char group[USER_NAME_BYTES]) {
  const char *colon = strchr(text, ':');
  size_t size = colon == NULL ? strlen(text) : (size_t)(colon - text);
  if (size == 0 || size >= USER_NAME_BYTES ||
      (colon != NULL && (colon[1] == '\0' || strlen(colon + 1) >= USER_NAME_BYTES))) {
    return false;
  }
  memcpy(name, text, size);
  name[size] = '\0';
  (void)snprintf(group, USER_NAME_BYTES, "%s", colon == NULL ? "" : colon + 1);
  return true;
}

/* The largest number stands for "no change" in these calls. */
static bool parse_id(const char *text, uint32_t *ret_id) {
  char *end;
  errno = 0;
  unsigned long number = strtoul(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number >= UINT32_MAX) {
    return false;
  }
  *ret_id = (uint32_t)number;
  return true;
}

static bool find_account(const char *name, user *to) {
  char buffer[ENTRY_BYTES];
  struct passwd entry;
  struct passwd *found = NULL;
  uint32_t id;
  bool numbered = parse_id(name, &id);
  int status = numbered ? getpwuid_r(id, &entry, buffer, sizeof buffer, &found)
                        : getpwnam_r(name, &entry, buffer, sizeof buffer, &found);
  if (status == 0 && found != NULL) {
    to->uid = entry.pw_uid;
    to->gid = entry.pw_gid;
    int length = snprintf(to->home, sizeof to->home, "%s", entry.pw_dir);
    if (length < 0 || (size_t)length >= sizeof to->home) {
      to->home[0] = '\0';
    }
    return true;
  }
  if (numbered) { /* containers often have no entry */
    to->uid = id;
    to->gid = id;
    to->home[0] = '\0';
  }
  return numbered;
}

static bool find_group(const char *name, user *to) {
  char buffer[ENTRY_BYTES];
  struct group entry;
  struct group *found = NULL;
  uint32_t id;
  if (parse_id(name, &id)) {
    to->gid = id;
    return true;
  }
  if (getgrnam_r(name, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL) {
    return false;
  }
  to->gid = entry.gr_gid;
  return true;
}

rr_status user_find(const char *text, user *ret_user, rr_error *err) {
  char group[USER_NAME_BYTES];
  user found;
  if (!split(text, found.name, group)) {
    return rr_fail(err, RR_ERR_INPUT, "'%.100s' is not NAME or NAME:GROUP", text);
  }
  if (!find_account(found.name, &found)) {
    return rr_fail(err, RR_ERR_INPUT, "there is no user %.60s", found.name);
  }
  if (group[0] != '\0' && !find_group(group, &found)) {
    return rr_fail(err, RR_ERR_INPUT, "there is no group %.60s", group);
  }
  *ret_user = found;
  return RR_OK;
}

rr_status user_try(const user *who, rr_status (*check)(void *context, rr_error *err), void *context,
                   rr_error *err) {
  static gid_t groups[GROUPS_MAX];
  int n = getgroups(GROUPS_MAX, groups);
  gid_t own = getegid();
  if (n < 0 || setgroups(0, NULL) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot become %s: %s", who->name, strerror(errno));
  }
  bool switched = setegid(who->gid) == 0 && seteuid(who->uid) == 0;
  int problem = errno;
  rr_status status = switched ? check(context, err) : RR_ERR_IO;
  if (seteuid(0) != 0 || setegid(own) != 0 || setgroups((size_t)n, groups) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot be root again: %s", strerror(errno));
  }
  return switched ? status
                  : rr_fail(err, status, "cannot become %s: %s", who->name, strerror(problem));
}

/* Only who has CAP_SETPCAP can; for others the set is idle, since no exec gives anything any
 * more. */
static void empty_bounding_set(void) {
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
       capability++) {
    (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
}

rr_status user_become(const user *who, rr_error *err) {
  empty_bounding_set();
  if (setgroups(0, NULL) != 0 || setresgid(who->gid, who->gid, who->gid) != 0 ||
      setresuid(who->uid, who->uid, who->uid) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot become %s: %s", who->name, strerror(errno));
  }
  if (who->uid != 0 && setuid(0) == 0) { /* belt and braces: there must be no way back */
    return rr_fail(err, RR_ERR_IO, "cannot become %s: root's rights stayed", who->name);
  }
  return RR_OK;
}

static bool has_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};
  return syscall(SYS_capget, &header, sets) != 0 || (sets[0].permitted | sets[1].permitted) != 0;
}

/* Of the calling thread: the kernel knows no others. Fit for a signal handler. */
static bool drop_own(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
  empty_bounding_set();
  (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* not before Linux 4.3 */
  return syscall(SYS_capset, &header, none) == 0;
}

static atomic_uint dropped;

static void on_drop(int number) {
  (void)number;
  int saved = errno;
  if (drop_own()) {
    atomic_fetch_add(&dropped, 1);
  }
  errno = saved;
}

/* Asks every other thread, by a signal. Returns how many there are. */
static unsigned ask_others(int number) {
  unsigned asked = 0;
  DIR *tasks = opendir("/proc/self/task");
  const struct dirent *entry;
  while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
    long task = strtol(entry->d_name, NULL, 10);
    if (task > 0 && task != syscall(SYS_gettid) &&
        syscall(SYS_tgkill, getpid(), task, number) == 0) {
      asked++;
    }
  }
  if (tasks != NULL) {
    (void)closedir(tasks);
  }
  return asked;
}

/* Libraries start threads of their own before main: OpenBLAS does. */
static bool drop_in_others(void) {
  const struct timespec pause = {.tv_nsec = 1000000};
  struct sigaction before;
  struct sigaction act = {.sa_handler = on_drop, .sa_flags = SA_RESTART};
  atomic_store(&dropped, 0);
  if (sigaction(SIGRTMAX, &act, &before) != 0) {
    return false;
  }
  unsigned asked = ask_others(SIGRTMAX);
  for (int i = 0; i < DROP_WAIT_MS && atomic_load(&dropped) < asked; i++) {
    (void)nanosleep(&pause, NULL);
  }
  bool all = atomic_load(&dropped) == asked;
  if (all) { /* a signal that is still on its way would end the process otherwise */
    (void)sigaction(SIGRTMAX, &before, NULL);
  }
  return all;
}

rr_status user_drop_capabilities(bool *ret_all, rr_error *err) {
  bool all = !has_capabilities() || drop_in_others();
  if (!drop_own()) {
    return rr_fail(err, RR_ERR_IO, "cannot drop the capabilities: %s", strerror(errno));
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot rule out new privileges: %s", strerror(errno));
  }
  *ret_all = all;
  return RR_OK;
}

void user_guard_memory(bool debugging) {
  const struct rlimit none = {0, 0};
  if (!debugging) {
    (void)setrlimit(RLIMIT_CORE, &none);
  }
  (void)prctl(PR_SET_DUMPABLE, debugging ? 1 : 0, 0, 0, 0);
}
