#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/cpu.h"

static char root[64];

static void put(const char *name, const char *text) {
  char path[256];
  (void)snprintf(path, sizeof path, "%s/%s", root, name);
  for (char *slash = path + sizeof "/tmp/"; *slash != '\0'; slash++) {
    if (*slash == '/') {
      *slash = '\0';
      (void)mkdir(path, 0700);
      *slash = '/';
    }
  }
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static unsigned quota(const char *cgroup) {
  char path[256];
  put("self", cgroup);
  (void)snprintf(path, sizeof path, "%s/self", root);
  return rr_cpu_quota(path, root);
}

static int make_root(void **state) {
  (void)state;
  (void)snprintf(root, sizeof root, "/tmp/rr_cpu_XXXXXX");
  return mkdtemp(root) == NULL ? -1 : 0;
}

static int remove_root(void **state) {
  (void)state;
  char command[128];
  (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
  return system(command);
}

static void without_a_quota_there_is_none(void **state) {
  (void)state;
  assert_int_equal(quota("0::/\n"), 0);
  put("cpu.max", "max 100000\n");
  assert_int_equal(quota("0::/\n"), 0);
  assert_int_equal(rr_cpu_quota("/nonexistent", root), 0);
}

static void a_v2_quota_is_rounded_up_to_whole_cores(void **state) {
  (void)state;
  put("group/cpu.max", "150000 100000\n");
  assert_int_equal(quota("0::/group\n"), 2);
  put("group/cpu.max", "50000 100000\n");
  assert_int_equal(quota("0::/group\n"), 1);
  put("group/cpu.max", "400000 100000\n");
  assert_int_equal(quota("0::/group\n"), 4);
}

static void a_quota_further_up_binds_too(void **state) {
  (void)state;
  put("a/cpu.max", "200000 100000\n");
  put("a/b/cpu.max", "max 100000\n");
  put("a/b/c/cpu.max", "800000 100000\n");
  assert_int_equal(quota("0::/a/b/c\n"), 2);
}

static void a_v1_quota_is_found_among_the_controllers(void **state) {
  (void)state;
  put("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "300000\n");
  put("cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
  put("cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
  put("cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
  assert_int_equal(quota("11:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n3:cpuset:/docker/x\n"), 3);
}

static void nonsense_means_no_quota(void **state) {
  (void)state;
  put("g/cpu.max", "-5 100000\n");
  assert_int_equal(quota("0::/g\n"), 0);
  put("g/cpu.max", "5 0\n");
  assert_int_equal(quota("0::/g\n"), 0);
  put("g/cpu.max", "\n");
  assert_int_equal(quota("no colons here\n::\n0::/g\n"), 0);
}

static void this_process_has_at_least_one_core(void **state) {
  (void)state;
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  assert_in_range(rr_cpu_count(), 1, online);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(without_a_quota_there_is_none, make_root, remove_root),
      cmocka_unit_test_setup_teardown(a_v2_quota_is_rounded_up_to_whole_cores, make_root,
                                      remove_root),
      cmocka_unit_test_setup_teardown(a_quota_further_up_binds_too, make_root, remove_root),
      cmocka_unit_test_setup_teardown(a_v1_quota_is_found_among_the_controllers, make_root,
                                      remove_root),
      cmocka_unit_test_setup_teardown(nonsense_means_no_quota, make_root, remove_root),
      cmocka_unit_test(this_process_has_at_least_one_core),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
