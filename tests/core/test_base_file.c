/* Files that somebody names: what is no regular file is told apart, and nothing waits. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/file.h"

enum { PATH_BYTES = 64, WAIT_SECONDS = 60 };

static char folder[] = "/tmp/rr_file_XXXXXX";
static rr_error problem;

static const char *path_of(const char *name) {
  static char path[PATH_BYTES];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void write_file(const char *name, const char *bytes) {
  FILE *file = fopen(path_of(name), "w");
  assert_non_null(file);
  assert_true(fputs(bytes, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static void make_socket(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int made = socket(AF_UNIX, SOCK_STREAM, 0);
  (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path_of(name));
  assert_int_equal(bind(made, (struct sockaddr *)&address, sizeof address), 0);
  (void)close(made);
}

/* A pipe that nobody writes to would hold whoever opens it: the alarm ends the program then. */
static int make_folder(void **state) {
  (void)state;
  (void)alarm(WAIT_SECONDS);
  if (mkdtemp(folder) == NULL) {
    return -1;
  }
  write_file("plain", "four");
  write_file("empty", "");
  make_socket("socket");
  return mkfifo(path_of("pipe"), 0600) == 0 && mkdir(path_of("folder"), 0700) == 0 &&
                 symlink("/dev/zero", path_of("device")) == 0 &&
                 symlink("plain", path_of("link")) == 0 &&
                 symlink("nothing", path_of("dangling")) == 0
             ? 0
             : -1;
}

static int remove_folder(void **state) {
  (void)state;
  static const char *const names[] = {"plain",  "empty", "socket",   "pipe",
                                      "device", "link",  "dangling", "new"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    (void)unlink(path_of(names[i]));
  }
  (void)rmdir(path_of("folder"));
  return rmdir(folder);
}

static const struct {
  const char *name;
  const char *kind;
} others[] = {{"pipe", "a pipe (FIFO)"},
              {"folder", "a directory"},
              {"socket", "a socket"},
              {"device", "a device"}};

static void what_is_no_regular_file_is_named(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    static const int flags[] = {O_RDONLY, O_RDWR | O_CREAT, O_WRONLY | O_CREAT | O_TRUNC};
    const char *path = path_of(others[i].name);
    char *data = NULL;
    size_t size = 0;
    bool there = false;
    for (size_t f = 0; f < sizeof flags / sizeof flags[0]; f++) {
      int file = -1;
      assert_int_equal(rr_file_open(path, flags[f], 0600, &file, NULL, &problem), RR_ERR_IO);
      assert_int_equal(errno, EINVAL);
      assert_int_equal(file, -1);
      assert_non_null(strstr(problem.message, path));
      assert_non_null(strstr(problem.message, others[i].kind));
    }
    assert_int_equal(rr_file_read(path, 10, &data, &size, &problem), RR_ERR_IO);
    assert_null(data);
    assert_int_equal(rr_file_find(path, &there, &problem), RR_ERR_IO);
    assert_non_null(strstr(problem.message, others[i].kind));
  }
}

static void files_are_found_opened_and_read(void **state) {
  (void)state;
  static const char *const names[] = {"plain", "link"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char *data = NULL;
    size_t size = 0;
    bool there = false;
    assert_int_equal(rr_file_find(path_of(names[i]), &there, &problem), RR_OK);
    assert_true(there);
    assert_int_equal(rr_file_read(path_of(names[i]), 4, &data, &size, &problem), RR_OK);
    assert_int_equal(size, 4);
    assert_string_equal(data, "four");
    rr_free(data);
    assert_int_equal(rr_file_read(path_of(names[i]), 3, &data, &size, &problem), RR_ERR_FORMAT);
    assert_non_null(strstr(problem.message, path_of(names[i])));
  }
  char *data = NULL;
  size_t size = 1;
  assert_int_equal(rr_file_read(path_of("empty"), 0, &data, &size, &problem), RR_OK);
  assert_int_equal(size, 0);
  assert_string_equal(data, "");
  rr_free(data);
}

static void what_is_not_there_is_no_error_until_it_is_opened(void **state) {
  (void)state;
  static const char *const names[] = {"nothing", "dangling", "plain/below"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    bool there = true;
    int file = -1;
    assert_int_equal(rr_file_find(path_of(names[i]), &there, &problem), RR_OK);
    assert_false(there);
    assert_int_equal(rr_file_open(path_of(names[i]), O_RDONLY, 0, &file, NULL, &problem),
                     RR_ERR_IO);
    assert_non_null(strstr(problem.message, path_of(names[i])));
  }
}

static void flags_are_those_of_open(void **state) {
  (void)state;
  struct stat about;
  int file = -1;
  assert_int_equal(rr_file_open(path_of("link"), O_RDONLY | O_NOFOLLOW, 0, &file, NULL, &problem),
                   RR_ERR_IO);
  assert_non_null(strstr(problem.message, "a symbolic link"));
  assert_int_equal(rr_file_open(path_of("new"), O_RDWR | O_CREAT, 0640, &file, &about, &problem),
                   RR_OK);
  assert_int_equal(about.st_mode & S_IRUSR, S_IRUSR);
  assert_int_equal(fcntl(file, F_GETFD), FD_CLOEXEC);
  assert_int_equal(write(file, "x", 1), 1);
  (void)close(file);
}

/* Where the kernel makes the bytes up, the size that it tells is 0. */
static void a_file_without_a_size_is_read_to_its_bound(void **state) {
  (void)state;
  char *data = NULL;
  size_t size = 0;
  assert_int_equal(rr_file_read("/proc/self/status", 1 << 20, &data, &size, &problem), RR_OK);
  assert_true(size > 100);
  assert_int_equal(strlen(data), size);
  rr_free(data);
  assert_int_equal(rr_file_read("/proc/self/status", 50, &data, &size, &problem), RR_ERR_FORMAT);
}

static void each_failing_allocation_is_an_error(void **state) {
  (void)state;
  rr_status status = RR_ERR_MEMORY;
  unsigned long n = 1;
  for (; status == RR_ERR_MEMORY && n < 100; n++) {
    char *data = NULL;
    size_t size = 0;
    rr_alloc_fail_at(n, 0);
    status = rr_file_read("/proc/self/status", 1 << 20, &data, &size, &problem);
    rr_alloc_fail_at(0, 0);
    rr_free(data);
  }
  assert_int_equal(status, RR_OK);
  assert_true(n > 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_no_regular_file_is_named),
      cmocka_unit_test(files_are_found_opened_and_read),
      cmocka_unit_test(what_is_not_there_is_no_error_until_it_is_opened),
      cmocka_unit_test(flags_are_those_of_open),
      cmocka_unit_test(a_file_without_a_size_is_read_to_its_bound),
      cmocka_unit_test(each_failing_allocation_is_an_error),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
