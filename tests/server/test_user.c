/* Finding users, becoming one without capabilities, and which files keep root from it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/confine_files.h"
#include "server/system/user.h"

enum { SOMEBODY = 12345, STATUS_BYTES = 4096 };

static char folder[] = "/tmp/rerankd-user-XXXXXX";

static void accounts_are_found_by_name_and_number(void **state) {
  (void)state;
  user who;
  assert_int_equal(user_find("root", &who, NULL), RR_OK);
  assert_int_equal(who.uid, 0);
  assert_int_equal(who.gid, 0);
  assert_string_equal(who.name, "root");
  assert_int_equal(user_find("12345", &who, NULL), RR_OK); /* with or without an entry */
  assert_int_equal(who.uid, SOMEBODY);
  assert_int_equal(user_find("12345:root", &who, NULL), RR_OK);
  assert_int_equal(who.gid, 0);
  assert_int_equal(user_find("root:77", &who, NULL), RR_OK);
  assert_int_equal(who.uid, 0);
  assert_int_equal(who.gid, 77);
}

static void what_is_no_account_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      ":",
      ":root",
      "root:",
      "no-such-user-here",
      "root:no-such-group",
      "-1",
      "4294967295",
      "0x10",
      "root:4294967295",
      "a-name-that-is-longer-than-any-account-may-have-in-sixty-four-bytes-x"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    user who;
    rr_error error;
    assert_int_equal(user_find(bad[i], &who, &error), RR_ERR_INPUT);
    assert_true(error.message[0] != '\0');
  }
}

static void need_root(void) {
  if (geteuid() != 0) {
    skip();
  }
}

/* The value of a line of /proc/self/status. */
static bool status_is(const char *name, const char *value) {
  static char text[STATUS_BYTES];
  int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  (void)close(fd);
  text[got < 0 ? 0 : got] = '\0';
  const char *line = strstr(text, name);
  if (line == NULL) {
    return false;
  }
  line += strlen(name) + strspn(line + strlen(name), ":\t ");
  return strncmp(line, value, strlen(value)) == 0 && strchr(" \t\n", line[strlen(value)]) != NULL;
}

/* 0, or which check failed. */
static int become_somebody(void) {
  static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
  const user somebody = {.uid = SOMEBODY, .gid = SOMEBODY, .name = "somebody"};
  struct rlimit core;
  bool all;
  if (user_become(&somebody, NULL) != RR_OK || user_drop_capabilities(&all, NULL) != RR_OK ||
      !all) {
    return 1;
  }
  user_guard_memory(false);
  if (getuid() != SOMEBODY || geteuid() != SOMEBODY || getgid() != SOMEBODY ||
      getegid() != SOMEBODY || getgroups(0, NULL) != 0) {
    return 2;
  }
  for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
    if (!status_is(sets[i], "0000000000000000")) {
      return 10 + (int)i;
    }
  }
  if (setuid(0) == 0 || setgid(0) == 0 || !status_is("NoNewPrivs", "1")) {
    return 3;
  }
  return prctl(PR_GET_DUMPABLE) == 0 && getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0
             ? 0
             : 4;
}

static int in_a_child(int (*act)(void)) {
  int status;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    _exit(act());
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void root_becomes_somebody_for_good(void **state) {
  (void)state;
  need_root();
  assert_int_equal(in_a_child(become_somebody), 0);
}

static rr_status check(void *context, rr_error *err) { return confine_files_check(context, err); }

/* Whether somebody else could use what the options name. */
static bool usable(const options *chosen) {
  const user somebody = {.uid = SOMEBODY, .gid = SOMEBODY, .name = "somebody"};
  rr_error error;
  rr_status status = user_try(&somebody, check, (void *)chosen, &error);
  assert_int_equal(geteuid(), 0);
  assert_int_equal(getegid(), 0);
  assert_true(status == RR_OK || status == RR_ERR_IO);
  return status == RR_OK;
}

static const char *place(const char *name) {
  static char path[4][128];
  static unsigned next;
  char *to = path[next++ % 4];
  (void)snprintf(to, sizeof path[0], "%s/%s", folder, name);
  return to;
}

static void make_file(const char *name, mode_t mode) {
  int fd = open(place(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(fchmod(fd, mode), 0);
  (void)close(fd);
}

static void files_that_only_root_can_use_are_seen(void **state) {
  (void)state;
  need_root();
  char model[128];
  char keys[128];
  char socket_path[128];
  (void)snprintf(model, sizeof model, "%s", place("model"));
  (void)snprintf(keys, sizeof keys, "%s", place("keys"));
  (void)snprintf(socket_path, sizeof socket_path, "%s", place("model/socket"));
  assert_int_equal(chmod(folder, 0755), 0);
  assert_int_equal(mkdir(model, 0755), 0);
  assert_int_equal(chmod(model, 0755), 0);
  make_file("model/config.json", 0644);
  make_file("keys", 0600);
  const options plain = {.model_id = model};
  const options keyed = {.model_id = model, .api_key_file = keys};
  const options packed = {.model_id = model, .pack_cache = true};
  const options socketed = {.model_id = model, .unix_socket = socket_path};
  assert_true(usable(&plain));
  assert_false(usable(&keyed));
  assert_false(usable(&packed));
  assert_false(usable(&socketed));
  assert_int_equal(chmod(keys, 0644), 0);
  assert_int_equal(chmod(model, 0777), 0);
  assert_true(usable(&keyed));
  assert_true(usable(&packed));
  assert_true(usable(&socketed));
  make_file("model/model.safetensors", 0600);
  assert_false(usable(&plain));
  assert_int_equal(chmod(place("model/model.safetensors"), 0644), 0);
  assert_true(usable(&plain));
  assert_int_equal(chmod(folder, 0700), 0);
  assert_false(usable(&plain));
}

static void the_hubs_cache_must_be_theirs_to_write(void **state) {
  (void)state;
  need_root();
  char cache[128];
  (void)snprintf(cache, sizeof cache, "%s", place("hub"));
  const options by_name = {.model_id = "team/none-such-here", .huggingface_hub_cache = cache};
  assert_int_equal(chmod(folder, 0755), 0);
  assert_false(usable(&by_name)); /* somebody cannot make it */
  assert_int_equal(mkdir(cache, 0777), 0);
  assert_int_equal(chmod(cache, 0777), 0);
  assert_true(usable(&by_name));
  assert_int_equal(mkdir(place("hub/models--team--none-such-here"), 0755), 0);
  assert_false(usable(&by_name));
  assert_int_equal(chmod(place("hub/models--team--none-such-here"), 0777), 0);
  assert_true(usable(&by_name));
  make_file("hub/models--team--none-such-here/x.incomplete", 0644);
  assert_false(usable(&by_name)); /* a download that root began */
}

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state) {
  (void)state;
  static const char *const files[] = {"model/config.json", "model/model.safetensors", "keys",
                                      "hub/models--team--none-such-here/x.incomplete"};
  static const char *const folders[] = {"model", "hub/models--team--none-such-here", "hub"};
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    (void)unlink(place(files[i]));
  }
  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
    (void)rmdir(place(folders[i]));
  }
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(accounts_are_found_by_name_and_number),
      cmocka_unit_test(what_is_no_account_is_refused),
      cmocka_unit_test(root_becomes_somebody_for_good),
      cmocka_unit_test(files_that_only_root_can_use_are_seen),
      cmocka_unit_test(the_hubs_cache_must_be_theirs_to_write),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
