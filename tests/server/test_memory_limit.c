#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/system/memory_limit.h"

static const uint64_t mib = 1 << 20;
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

static int make_root(void **state) {
  (void)state;
  (void)snprintf(root, sizeof root, "/tmp/rr_memory_XXXXXX");
  return mkdtemp(root) == NULL ? -1 : 0;
}

static int remove_root(void **state) {
  (void)state;
  char command[128];
  (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
  return system(command);
}

/* What is found by this text of /proc/self/cgroup. */
static memory_limit found(const char *cgroup) {
  char path[256];
  memory_limit limit;
  put("self", cgroup);
  (void)snprintf(path, sizeof path, "%s/self", root);
  memory_limit_of_cgroup(path, root, &limit);
  return limit;
}

static void without_a_limit_there_is_none(void **state) {
  (void)state;
  memory_limit limit;
  assert_int_equal(found("0::/\n").bytes, 0);
  put("a/memory.max", "max\n");
  put("a/memory.high", "max\n");
  assert_int_equal(found("0::/a\n").bytes, 0);
  put("memory/b/memory.limit_in_bytes", "9223372036854771712\n");
  assert_int_equal(found("4:memory:/b\n").bytes, 0);
  memory_limit_of_cgroup("/nonexistent", root, &limit);
  assert_int_equal(limit.bytes, 0);
}

static void the_smallest_on_the_way_up_counts(void **state) {
  (void)state;
  put("a/memory.max", "1000000000\n");
  put("a/memory.high", "500000000\n");
  put("a/b/memory.max", "700000000\n");
  put("a/b/c/memory.max", "max\n");
  memory_limit limit = found("0::/a/b/c\n");
  assert_int_equal(limit.bytes, 500000000);
  assert_string_equal(limit.source, "memory.high of cgroup /a");
  put("a/b/c/memory.max", "300000000\n");
  limit = found("0::/a/b/c\n");
  assert_int_equal(limit.bytes, 300000000);
  assert_string_equal(limit.source, "memory.max of cgroup /a/b/c");
}

static void version_1_is_found_among_the_controllers(void **state) {
  (void)state;
  put("memory/docker/memory.limit_in_bytes", "805306368\n");
  put("memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
  memory_limit limit = found("11:cpuset:/docker/x\n5:memory:/docker/x\n0::/docker/x\n");
  assert_int_equal(limit.bytes, 805306368);
  assert_string_equal(limit.source, "memory.limit_in_bytes of cgroup /docker");
  put("memory,hugetlb/y/memory.limit_in_bytes", "1048576\n");
  assert_int_equal(found("5:memory,hugetlb:/y\n").bytes, 1048576);
}

/* A container that has no namespace of cgroups reads the host's path, and sees its own group at the
 * mount. */
static void a_container_finds_its_limit_at_the_mount(void **state) {
  (void)state;
  put("memory.max", "268435456\n");
  memory_limit limit = found("0::/kubepods/pod1/container\n");
  assert_int_equal(limit.bytes, 268435456);
  assert_string_equal(limit.source, "memory.max of cgroup /");
  put("memory/memory.limit_in_bytes", "134217728\n");
  assert_int_equal(found("7:memory:/docker/abc\n").bytes, 134217728);
}

static void version_2_may_be_mounted_beside_version_1(void **state) {
  (void)state;
  put("unified/a/memory.max", "400000000\n");
  put("memory/a/memory.limit_in_bytes", "600000000\n");
  assert_int_equal(found("4:memory:/a\n0::/a\n").bytes, 400000000);
}

static void nonsense_is_no_limit(void **state) {
  (void)state;
  put("g/memory.max", "-5\n");
  put("g/memory.high", "\n");
  assert_int_equal(found("no colons here\n::\n0::\n0::relative\n0::/g\n").bytes, 0);
  put("g/memory.max", "99999999999999999999999999\n");
  assert_int_equal(found("0::/g\n").bytes, 0);
  put("g/memory.max", "0\n"); /* such a group would not run */
  assert_int_equal(found("0::/g\n").bytes, 0);
}

static uint64_t share(const memory_limits *limits, const memory_use *use, const char *words,
                      bool expected_short) {
  char note[MEMORY_NOTE_MAX];
  bool lacking;
  uint64_t bytes = memory_for_requests(limits, use, note, &lacking);
  if (strstr(note, words) == NULL) {
    fail_msg("\"%s\" lacks \"%s\"", note, words);
  }
  assert_int_equal(lacking, expected_short);
  return bytes;
}

static void requests_get_a_share_of_what_is_left(void **state) {
  (void)state;
  memory_limits limits = {.machine = {.bytes = 8000 * mib, .source = "this machine"}};
  const memory_use use = {
      .resident = 100 * mib, .address_space = 1000 * mib, .data = 500 * mib, .promised = 100 * mib};
  assert_int_equal(share(&limits, &use, "half of what", false), 3900 * mib);
  limits.cgroup = (memory_limit){.bytes = 800 * mib, .source = "memory.max of cgroup /x"};
  assert_int_equal(
      share(&limits, &use, "(200.0 MiB) leave of the 800.0 MiB by memory.max of cgroup /x", false),
      450 * mib);
  limits.address_space = (memory_limit){.bytes = 1500 * mib, .source = "RLIMIT_AS"};
  assert_int_equal(share(&limits, &use, "RLIMIT_AS", false), 200 * mib);
  limits.data = (memory_limit){.bytes = 680 * mib, .source = "RLIMIT_DATA"};
  assert_int_equal(share(&limits, &use, "RLIMIT_DATA", false), 60 * mib);
  limits.cgroup.bytes = 210 * mib; /* too little, but some */
  assert_int_equal(share(&limits, &use, "memory.max", true), 15 * mib / 2);
  limits.cgroup.bytes = 150 * mib;
  assert_int_equal(share(&limits, &use, "memory.max", true), REQUEST_MEMORY_MIN);
  assert_string_equal(memory_limits_least(&limits)->source, "memory.max of cgroup /x");
}

static void this_process_has_limits_and_uses_memory(void **state) {
  (void)state;
  memory_limits limits;
  memory_use use;
  memory_limits_read(&limits);
  memory_use_read(&use);
  assert_true(limits.machine.bytes > mib);
  assert_true(memory_limits_least(&limits)->bytes > 0);
  assert_true(use.resident > 0 && use.data > 0 && use.address_space >= use.resident);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(without_a_limit_there_is_none, make_root, remove_root),
      cmocka_unit_test_setup_teardown(the_smallest_on_the_way_up_counts, make_root, remove_root),
      cmocka_unit_test_setup_teardown(version_1_is_found_among_the_controllers, make_root,
                                      remove_root),
      cmocka_unit_test_setup_teardown(a_container_finds_its_limit_at_the_mount, make_root,
                                      remove_root),
      cmocka_unit_test_setup_teardown(version_2_may_be_mounted_beside_version_1, make_root,
                                      remove_root),
      cmocka_unit_test_setup_teardown(nonsense_is_no_limit, make_root, remove_root),
      cmocka_unit_test(requests_get_a_share_of_what_is_left),
      cmocka_unit_test(this_process_has_limits_and_uses_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
