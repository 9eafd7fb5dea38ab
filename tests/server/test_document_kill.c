/* The file of documents under kill -9 at any moment, and on a full disk. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/server/documents.h"

enum {
  KILLS = 50,
  CREATIONS = 30,
  REOPEN_EVERY = 37,
  WAIT_US_MOST = 12000,
  LIFE_US_MOST = 600000,
  NOT_POSSIBLE = 77
};

static uint64_t next_random(void) {
  static uint64_t seed = 99;
  seed ^= seed << 13;
  seed ^= seed >> 7;
  return seed ^= seed << 17;
}

static void wait_us(uint64_t us) {
  const struct timespec pause = {.tv_nsec = (long)(us * 1000)};
  (void)nanosleep(&pause, NULL);
}

/* --- a child's life; it uses no assertion, whose failure would run the parent's tests --------- */

static void or_exit(bool holds) {
  if (!holds) {
    _exit(1);
  }
}

static document_file *child_open(const char *path) {
  document_file *file = NULL;
  or_exit(document_file_open(path, model_a, MEGABYTE, &file, NULL) == RR_OK);
  return file;
}

/* Puts numbers from first on, and tells each on the pipe once its put has returned. */
static void put_for_ever(const char *path, uint64_t first, int told) {
  static uint8_t bytes[LONG_DOCUMENT];
  document_file *file = child_open(path);
  for (uint64_t number = first;; number++) {
    if (number % REOPEN_EVERY == 0) {
      document_file_close(file);
      file = child_open(path);
    }
    document_name name = name_of(number);
    fill_document(number, bytes, size_of(number));
    or_exit(document_file_put(file, name.key, bytes, size_of(number), false, NULL) == RR_OK);
    or_exit(write(told, &number, sizeof number) == (ssize_t)sizeof number);
  }
}

/* Starts a child, kills it after a while, and returns the last number that it told; `none` if it
 * told none. Where children are too slow to tell any, later ones live longer. */
static uint64_t live_and_die(const char *path, uint64_t first, uint64_t none) {
  static uint64_t longest_us = WAIT_US_MOST;
  int ends[2];
  uint64_t told = none;
  uint64_t number;
  int status;
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  (void)fcntl(ends[1], F_SETPIPE_SZ,
              MEGABYTE); /* else it waits for the parent, in no put, after 8192 */
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    put_for_ever(path, first, ends[1]);
  }
  (void)close(ends[1]);
  wait_us(next_random() % longest_us);
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
  while (read(ends[0], &number, sizeof number) == (ssize_t)sizeof number) {
    told = number;
  }
  (void)close(ends[0]);
  longest_us = told == none && longest_us < LIFE_US_MOST ? longest_us * 3 / 2 : longest_us;
  return told;
}

/* All that is found is right; of those told, no more are lost than the put that was cut off made
 * room for. Returns how many that put had begun to write over. */
static uint64_t check_survivors(const char *path, uint64_t last) {
  document_file *file = open_file(path, MEGABYTE);
  document_file_stats stats = stats_of(file);
  const uint32_t slots = document_layout_of(MEGABYTE).slots;
  uint64_t bytes = 0;
  assert_int_equal(stats.discarded, 0);
  for (uint64_t number = last; number > 0; number--) {
    bytes += size_of(number);
    if (!find_number(file, number)) { /* which compares what it finds */
      assert_true(bytes > stats.capacity - 2 * LONG_DOCUMENT || last - number >= slots - 1);
    }
  }
  uint64_t damaged = stats_of(file).damaged;
  document_file_close(file);
  return damaged;
}

static void kill_9_loses_nothing_that_was_put(void **state) {
  (void)state;
  const char *path = path_of("killed");
  uint64_t last = 0;
  uint64_t damaged = 0;
  int fruitful = 0;
  for (int i = 0; i < KILLS; i++) {
    uint64_t before = last;
    last = live_and_die(path, last + 1, last);
    fruitful += last > before ? 1 : 0;
    damaged += check_survivors(path, last);
  }
  print_message("# %d of %d lives put something, %llu documents in all, %llu partly written over\n",
                fruitful, (int)KILLS, (unsigned long long)last, (unsigned long long)damaged);
  assert_true(fruitful > 0);
}

/* Makes a file, and another, and another. */
static void make_for_ever(const char *path) {
  for (;;) {
    document_file_close(child_open(path));
    or_exit(unlink(path) == 0);
  }
}

static void a_file_whose_making_was_killed_is_made_whole(void **state) {
  (void)state;
  const char *path = path_of("made");
  int left = 0;
  for (int i = 0; i < CREATIONS; i++) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      make_for_ever(path);
    }
    wait_us(next_random() % WAIT_US_MOST);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    left += access(path, F_OK) == 0 ? 1 : 0;
    document_file *file = open_file(path, MEGABYTE);
    assert_int_equal(put_number(file, 1), RR_OK);
    assert_true(find_number(file, 1));
    document_file_close(file);
    assert_int_equal(unlink(path), 0);
  }
  print_message("# %d of %d left a file\n", left, (int)CREATIONS);
}

enum { STEP_PUTS = 3, STEPS_MOST = 2000 };

/* Opens the file and puts a few; told as above. */
static void put_few(const char *path, uint64_t first, int told) {
  or_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 && raise(SIGSTOP) == 0);
  static uint8_t bytes[LONG_DOCUMENT];
  document_file *file = child_open(path);
  for (uint64_t number = first; number < first + STEP_PUTS; number++) {
    document_name name = name_of(number);
    fill_document(number, bytes, size_of(number));
    or_exit(document_file_put(file, name.key, bytes, size_of(number), false, NULL) == RR_OK);
    or_exit(write(told, &number, sizeof number) == (ssize_t)sizeof number);
  }
  document_file_close(file);
  _exit(0);
}

/* Kills a child as it enters or leaves its n-th system call. Returns whether it had ended
 * before. */
static bool die_at_step(const char *path, uint64_t first, int n, uint64_t *last) {
  int ends[2];
  int status;
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    put_few(path, first, ends[1]);
  }
  (void)close(ends[1]);
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFSTOPPED(status)) {
    (void)close(ends[0]);
    skip(); /* some containers trace nothing */
  }
  for (int i = 0; i < n && WIFSTOPPED(status); i++) {
    assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
  }
  if (WIFSTOPPED(status)) {
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
  }
  uint64_t number;
  while (read(ends[0], &number, sizeof number) == (ssize_t)sizeof number) {
    *last = number;
  }
  (void)close(ends[0]);
  assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFEXITED(status);
}

static void kill_at_any_call_while_a_file_is_made(void **state) {
  (void)state;
  int n = 0;
  for (bool ended = false; !ended; n++) {
    uint64_t last = 0;
    (void)unlink(path_of("step"));
    assert_true(n < STEPS_MOST);
    ended = die_at_step(path_of("step"), 1, n, &last);
    (void)check_survivors(path_of("step"), last);
  }
  assert_true(n > 20);
}

static void kill_at_any_call_while_room_is_made(void **state) {
  (void)state;
  const char *path = path_of("steps");
  document_file *file = open_file(path, MEGABYTE);
  uint64_t last = 0;
  while (stats_of(file).evicted < 10) {
    assert_int_equal(put_number(file, ++last), RR_OK);
  }
  document_file_close(file);
  int n = 0;
  for (bool ended = false; !ended; n++) {
    assert_true(n < STEPS_MOST);
    ended = die_at_step(path, last + 1, n, &last);
    (void)check_survivors(path, last);
  }
  assert_true(n > 20);
}

/* What stands after each single call of making it, beside the whole. */
static void each_step_of_making_a_file_is_taken_up(void **state) {
  (void)state;
  const char *path = path_of("stages");
  document_file_close(open_file(path, MEGABYTE));
  const off_t sizes[] = {0, sizeof(document_head), DOCUMENT_HEAD_BYTES, MEGABYTE / 2, MEGABYTE};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    assert_int_equal(truncate(path, sizes[i]), 0);
    document_file *file = open_file(path, MEGABYTE);
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_size, MEGABYTE);
    assert_int_equal(put_number(file, i), RR_OK);
    assert_true(find_number(file, i));
    document_file_close(file);
  }
}

/* --- full disks ------------------------------------------------------------------------------- */

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static rlim_t limit_of_files(void) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  return limit.rlim_cur;
}

static void a_limit_of_file_sizes_is_an_error_and_no_signal(void **state) {
  (void)state;
  rr_error error = {.message = ""};
  document_file *file = NULL;
  const rlim_t before = limit_of_files();
  limit_files(MEGABYTE);
  rr_status status = document_file_open(path_of("limited"), model_a, MEGABYTE + 1, &file, &error);
  rr_status fits = document_file_open(path_of("limited"), model_a, MEGABYTE, &file, NULL);
  limit_files(before);
  assert_int_equal(status, RR_ERR_IO);
  assert_non_null(strstr(error.message, "limited: files of this process end at 1048576 bytes"));
  assert_int_equal(fits, RR_OK);
  document_file_close(file);
}

/* Writing beyond a lowered limit fails, as on a full disk, wherever the file system has its own way
 * with room. */
static void a_put_that_fails_harms_no_other(void **state) {
  (void)state;
  document_file *file = open_file(path_of("failing"), MEGABYTE);
  const document_layout layout = document_layout_of(MEGABYTE);
  const rlim_t before = limit_of_files();
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  for (uint64_t number = 1; number <= 500; number++) {
    const document_name name = name_of(number);
    bool fails = number % 3 == 0;
    rr_error error = {.message = ""};
    static uint8_t bytes[LONG_DOCUMENT];
    fill_document(number, bytes, sizeof bytes);
    if (fails) { /* its bytes, its entry, or the bytes' second half */
      limit_files(number % 9 == 0 ? DOCUMENT_HEAD_BYTES
                                  : layout.data + layout.capacity / 64 * (number % 64));
    }
    rr_status status = document_file_put(file, name.key, bytes, sizeof bytes, false, &error);
    limit_files(before);
    bool there = find_sized(file, number, sizeof bytes);
    assert_int_equal(there, status == RR_OK);
    assert_true(status == RR_OK || (fails && status == RR_ERR_IO));
    assert_true(status == RR_OK || strstr(error.message, "failing: File too large") != NULL);
    assert_true(number % 3 != 2 || find_sized(file, number - 1, sizeof bytes));
  }
  (void)signal(SIGXFSZ, handler);
  assert_true(stats_of(file).failed > 50);
  assert_int_equal(stats_of(file).damaged, 0);
  document_file_stats stats = stats_of(file);
  assert_int_equal(stats.puts + stats.failed, 500);
  document_file_close(file);
  file = open_file(path_of("failing"), MEGABYTE);
  assert_int_equal(stats_of(file).discarded, 0);
  assert_true(find_sized(file, 500, LONG_DOCUMENT));
  document_file_close(file);
}

static void nothing_is_seen_of_a_put_that_failed(void **state) {
  (void)state;
  const uint64_t limits[] = {document_layout_of(MEGABYTE).data,
                             document_layout_of(MEGABYTE).data + 100};
  const rlim_t before = limit_of_files();
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  for (size_t i = 0; i < 2; i++) { /* before the first byte, and in its middle */
    document_file *file = open_file(path_of("unseen"), MEGABYTE);
    limit_files(limits[i]);
    rr_status status = put_sized(file, 1, LONG_DOCUMENT);
    limit_files(before);
    assert_int_equal(status, RR_ERR_IO);
    document_file_close(file);
    file = open_file(path_of("unseen"), MEGABYTE);
    assert_int_equal(stats_of(file).entries + stats_of(file).discarded, 0);
    document_file_close(file);
  }
  (void)signal(SIGXFSZ, handler);
}

static void what_a_failed_put_was_to_replace_is_gone(void **state) {
  (void)state;
  const document_name name = name_of(1);
  const uint8_t other[100] = {1};
  const rlim_t before = limit_of_files();
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  document_file *file = open_file(path_of("replaced"), MEGABYTE);
  assert_int_equal(put_sized(file, 1, 100), RR_OK);
  assert_int_equal(put_sized(file, 2, 100), RR_OK);
  limit_files(document_layout_of(MEGABYTE).data);
  rr_status status = document_file_put(file, name.key, other, sizeof other, true, NULL);
  limit_files(before);
  (void)signal(SIGXFSZ, handler);
  assert_int_equal(status, RR_ERR_IO);
  assert_false(document_file_has(file, name.key, NULL));
  document_file_close(file);
  file = open_file(path_of("replaced"), MEGABYTE);
  assert_false(document_file_has(file, name.key, NULL));
  assert_true(find_sized(file, 2, 100));
  document_file_close(file);
}

/* In a child, since it has a disk of its own: a small one of memory. */
static void fill_disk(const char *folder) {
  char path[PATH_SIZE + 128];
  char other[PATH_SIZE + 128];
  static uint8_t bytes[MEGABYTE];
  rr_error error = {.message = ""};
  document_file *file = NULL;
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
      mount("tmpfs", folder, "tmpfs", 0, "size=4m,mode=700") != 0) {
    _exit(NOT_POSSIBLE);
  }
  (void)snprintf(path, sizeof path, "%s/documents", folder);
  (void)snprintf(other, sizeof other, "%s/other", folder);
  struct stat about;
  or_exit(document_file_open(path, model_a, 8 * MEGABYTE, &file, &error) == RR_ERR_IO);
  or_exit(strstr(error.message, "no room for 8388608 bytes: No space left") != NULL);
  or_exit(stat(path, &about) == 0 && about.st_size == 0);
  or_exit(document_file_open(path, model_a, 2 * MEGABYTE, &file, NULL) == RR_OK);
  document_name name = name_of(1);
  fill_document(1, bytes, LONG_DOCUMENT);
  or_exit(document_file_put(file, name.key, bytes, LONG_DOCUMENT, false, NULL) == RR_OK);
  document_file_close(file);
  or_exit(document_file_open(path, model_a, 8 * MEGABYTE, &file, NULL) ==
          RR_ERR_IO); /* stays as it was */
  or_exit(stat(path, &about) == 0 && about.st_size == 2 * MEGABYTE);
  or_exit(document_file_open(path, model_a, 2 * MEGABYTE, &file, NULL) == RR_OK);
  or_exit(find_sized(file, 1, LONG_DOCUMENT));
  int hole = open(path, O_RDWR | O_CLOEXEC); /* room that is taken away again, and then by others */
  or_exit(fallocate(hole, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MEGABYTE / 2, MEGABYTE) == 0);
  int filler = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  while (write(filler, bytes, sizeof bytes) > 0) {
  }
  unsigned failed = 0;
  for (uint64_t number = 2; number < 60; number++) {
    name = name_of(number);
    fill_document(number, bytes, LONG_DOCUMENT);
    rr_status status = document_file_put(file, name.key, bytes, LONG_DOCUMENT, false, &error);
    or_exit(status == RR_OK || strstr(error.message, "documents: No space left") != NULL);
    failed += status == RR_OK ? 0 : 1;
  }
  or_exit(failed > 0 && failed < 58 && stats_of(file).failed == failed);
  or_exit(find_sized(file, 1, LONG_DOCUMENT) && find_sized(file, 2, LONG_DOCUMENT));
  or_exit(unlink(other) == 0 && close(filler) == 0);
  or_exit(document_file_put(file, name.key, bytes, LONG_DOCUMENT, false, NULL) == RR_OK);
  or_exit(find_sized(file, 59, LONG_DOCUMENT));
  document_file_close(file);
  _exit(0);
}

static void a_full_disk_is_an_error_and_no_signal(void **state) {
  (void)state;
  char folder[PATH_SIZE];
  int status;
  (void)snprintf(folder, sizeof folder, "%s", path_of("disk"));
  assert_int_equal(mkdir(folder, 0700), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    fill_disk(folder);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == NOT_POSSIBLE) {
    skip(); /* mounting is for root */
  }
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kill_9_loses_nothing_that_was_put),
      cmocka_unit_test(a_file_whose_making_was_killed_is_made_whole),
      cmocka_unit_test(kill_at_any_call_while_a_file_is_made),
      cmocka_unit_test(kill_at_any_call_while_room_is_made),
      cmocka_unit_test(each_step_of_making_a_file_is_taken_up),
      cmocka_unit_test(a_limit_of_file_sizes_is_an_error_and_no_signal),
      cmocka_unit_test(a_put_that_fails_harms_no_other),
      cmocka_unit_test(nothing_is_seen_of_a_put_that_failed),
      cmocka_unit_test(what_a_failed_put_was_to_replace_is_gone),
      cmocka_unit_test(a_full_disk_is_an_error_and_no_signal),
  };
  return cmocka_run_group_tests(tests, documents_start, documents_finish);
}
