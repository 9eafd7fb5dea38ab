/* The filter of system calls: what it refuses, in children that live under it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

#include <cmocka.h>

#include "server/system/sandbox.h"

enum { PROBLEM_BYTES = 256, NOT_POSSIBLE = 77, CLONE3 = 435, IO_URING_SETUP = 425 };

static char folder[] = "/tmp/rerankd-sandbox-XXXXXX";
static char file[64];

static bool write_file(void) {
  int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  return fd >= 0 && close(fd) == 0;
}

/* What a child found, on a pipe: the parent's assertions must not run under the filter. */
static int report = -1;

static void expect(bool holds, const char *what) {
  if (!holds) {
    char text[PROBLEM_BYTES];
    int length = snprintf(text, sizeof text, "%s (%s)", what, strerror(errno));
    (void)!write(report, text, (size_t)length);
    _exit(1);
  }
}

static void expect_error(long result, int error, const char *what) {
  expect(result == -1 && errno == error, what);
}

static rr_status enter(const sandbox_needs *needs) {
  rr_error error;
  return needs == NULL ? sandbox_refuse_rings(&error) : sandbox_enter(needs, &error);
}

/* Runs `check` in a child under the filter; without needs under that of rings alone. */
static void confined(const sandbox_needs *needs, void (*check)(void)) {
  int ends[2];
  const char *unsuited = sandbox_unsuited();
  if (unsuited != NULL && strstr(unsuited, "valgrind") != NULL) {
    skip(); /* it makes code of its own, within the same process */
  }
  char problem[PROBLEM_BYTES + 1] = "";
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    report = ends[1];
    if (enter(needs) != RR_OK) {
      _exit(NOT_POSSIBLE);
    }
    check();
    _exit(0);
  }
  (void)close(ends[1]);
  ssize_t got = read(ends[0], problem, PROBLEM_BYTES);
  (void)close(ends[0]);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_POSSIBLE) {
    skip(); /* valgrind, some containers */
  }
  if (got > 0) {
    fail_msg("%s", problem);
  }
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static const sandbox_needs serving = {.fetches = false};
static const sandbox_needs loading = {.fetches = true, .writes = true, .narrows = true};

static void check_no_programs(void) {
  char *const argv[] = {(char *)"/bin/true", NULL};
  char *const environment[] = {NULL};
  expect_error(execve("/bin/true", argv, environment), EPERM, "execve");
  expect_error(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, environment, 0), EPERM,
               "execveat");
  expect_error(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), EPERM, "a process by clone");
#ifdef SYS_fork
  expect_error(syscall(SYS_fork), EPERM, "fork");
  expect_error(syscall(SYS_vfork), EPERM, "vfork");
#endif
  expect_error(syscall(CLONE3, NULL, 0), ENOSYS, "clone3, for libcs to fall back");
}

static void no_program_and_no_process_is_started(void **state) {
  (void)state;
  confined(&serving, check_no_programs);
  confined(&loading, check_no_programs);
}

static void check_no_code(void) {
  long page = sysconf(_SC_PAGESIZE);
  size_t size = (size_t)page;
  void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  expect(map != MAP_FAILED, "plain memory");
  expect_error(mprotect(map, size, PROT_READ | PROT_EXEC), EPERM, "mprotect to code");
  expect_error(mprotect(map, size, PROT_READ | PROT_WRITE | PROT_EXEC), EPERM, "mprotect to all");
  expect(mprotect(map, size, PROT_READ) == 0, "mprotect to reading");
  void *code =
      mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  expect(code == MAP_FAILED && (errno == EPERM || errno == ENOSYS), "memory for code");
  expect_error(syscall(SYS_memfd_create, "x", 0), EPERM, "memfd_create");
}

static void check_no_mapped_code(void) {
  int fd = open("/proc/self/exe", O_RDONLY);
  expect(fd >= 0, "reading a program");
  expect_error((long)(intptr_t)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0), EPERM,
               "code from a file");
}

static void no_memory_becomes_code(void **state) {
  (void)state;
  confined(&serving, check_no_code);
  confined(&loading, check_no_code);
  confined(&serving, check_no_mapped_code);
}

static void check_no_sockets(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
  expect_error(socket(AF_INET, SOCK_STREAM, 0), EPERM, "socket(AF_INET)");
  expect_error(socket(AF_INET6, SOCK_DGRAM, 0), EPERM, "socket(AF_INET6)");
  expect_error(socket(AF_UNIX, SOCK_STREAM, 0), EPERM, "socket(AF_UNIX)");
  expect_error(connect(report, (const struct sockaddr *)&address, sizeof address), EPERM,
               "connect");
  expect_error(bind(report, (const struct sockaddr *)&address, sizeof address), EPERM, "bind");
  expect_error(listen(report, 1), EPERM, "listen");
}

static void check_few_sockets(void) {
  expect(socket(AF_INET, SOCK_STREAM, 0) >= 0, "socket(AF_INET) while loading");
  expect(socket(AF_NETLINK, SOCK_RAW, 0) >= 0, "socket(AF_NETLINK) while loading");
  expect_error(socket(AF_PACKET, SOCK_RAW, 0), ENOSYS, "socket(AF_PACKET)");
}

/* A service on this machine where nobody listens: the connection is refused, not the call. */
static void check_connecting(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  expect(fd >= 0 && socket(AF_INET6, SOCK_STREAM, 0) >= 0 && socket(AF_UNIX, SOCK_STREAM, 0) >= 0,
         "sockets to connect");
  expect(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ||
             errno == ECONNREFUSED,
         "connect");
  expect_error(listen(fd, 1), EPERM, "listen");
}

static void check_connecting_alone(void) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  check_connecting();
  expect_error(socket(AF_NETLINK, SOCK_RAW, 0), ENOSYS, "socket(AF_NETLINK)");
  expect_error(bind(report, (const struct sockaddr *)&address, sizeof address), EPERM, "bind");
  expect_error(open(file, O_WRONLY), EPERM, "writing");
}

static void check_looking_up(void) {
  check_connecting();
  expect(socket(AF_NETLINK, SOCK_RAW, 0) >= 0, "socket(AF_NETLINK) to look a name up");
  expect_error(socket(AF_PACKET, SOCK_RAW, 0), ENOSYS, "socket(AF_PACKET)");
  expect_error(open(file, O_WRONLY), EPERM, "writing");
}

static void sockets_are_for_downloads_and_services_alone(void **state) {
  (void)state;
  confined(&serving, check_no_sockets);
  confined(&loading, check_few_sockets);
  confined(&(sandbox_needs){.connects = true}, check_connecting_alone);
  confined(&(sandbox_needs){.connects = true, .resolves = true}, check_looking_up);
}

static void connections_of_its_own_need_no_programs_and_no_code(void **state) {
  (void)state;
  const sandbox_needs sending = {.connects = true, .resolves = true};
  confined(&sending, check_no_programs);
  confined(&sending, check_no_mapped_code);
}

static void check_reading_alone(void) {
  int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  expect(fd >= 0, "reading");
  expect_error(open(file, O_WRONLY), EPERM, "writing");
  expect_error(open(file, O_RDWR), EPERM, "reading and writing");
  expect_error(open(file, O_RDONLY | O_TRUNC), EPERM, "emptying");
  expect_error(open("/tmp/rerankd-sandbox-new", O_RDONLY | O_CREAT, 0600), EPERM, "making a file");
  expect_error(syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND), EPERM, "appending");
  expect_error(unlink(file), EPERM, "unlink");
  expect_error(rename(file, "/tmp/rerankd-sandbox-new"), EPERM, "rename");
  expect_error(mkdir("/tmp/rerankd-sandbox-new", 0700), EPERM, "mkdir");
  expect_error(symlink(file, "/tmp/rerankd-sandbox-new"), EPERM, "symlink");
  expect_error(chmod(file, 0777), EPERM, "chmod");
  expect_error(ftruncate(fd, 0), EPERM, "ftruncate");
  expect_error(pwrite(fd, "x", 1, 0), EPERM, "pwrite");
}

/* Into a file that is open already. EBADF: the call is allowed, and there is none. */
static void check_keeping(void) {
  expect_error(pwrite(-1, "x", 1, 0), EBADF, "pwrite");
  expect_error(open(file, O_RDWR), EPERM, "opening for writing");
  expect_error(ftruncate(-1, 0), EPERM, "ftruncate");
}

static void check_writing(void) {
  int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  expect(fd >= 0 && ftruncate(fd, 1) == 0 && fsync(fd) == 0, "writing while loading");
  expect_error(chmod(file, 0777), EPERM, "chmod");
}

static void check_unlinking(void) {
  expect(unlink(file) == 0, "unlink of the socket");
  expect_error(open(file, O_WRONLY | O_CREAT, 0600), EPERM, "writing");
}

static void files_are_read_unless_writing_is_needed(void **state) {
  (void)state;
  const sandbox_needs socket_in_a_folder = {.unlinks = true};
  confined(&serving, check_reading_alone);
  confined(&loading, check_writing);
  const sandbox_needs documents_in_a_file = {.keeps = true};
  confined(&documents_in_a_file, check_keeping);
  confined(&socket_in_a_folder, check_unlinking);
  assert_true(write_file());
}

static void check_others(void) {
  expect_error(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL), EPERM, "ptrace");
  expect_error(kill(getppid(), 0), EPERM, "kill");
  expect_error(syscall(SYS_tgkill, getppid(), getppid(), 0), ENOSYS, "tgkill of another process");
  expect_error(setuid(0), EPERM, "setuid");
  expect_error(unshare(0), EPERM, "unshare");
  expect_error(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0), EPERM,
               "process_vm_readv");
  expect_error(syscall(IO_URING_SETUP, 1, NULL), ENOSYS, "io_uring, for libuv to fall back");
  expect_error(syscall(100000), ENOSYS, "a call of the future");
}

static void other_processes_and_the_kernel_are_out_of_reach(void **state) {
  (void)state;
  confined(&serving, check_others);
  confined(&loading, check_others);
}

/* A loop that is made under the first filter turns under the second, whatever the environment asks
 * libuv for. */
static void check_rings(void) {
  uv_loop_t loop;
  uv_async_t wake;
  expect_error(syscall(IO_URING_SETUP, 1, NULL), ENOSYS, "a ring");
  expect(setenv("UV_USE_IO_URING", "1", 1) == 0 && uv_loop_init(&loop) == 0, "a loop");
  expect(socket(AF_INET, SOCK_STREAM, 0) >= 0, "a socket before the second filter");
  expect(open(file, O_WRONLY | O_CLOEXEC) >= 0, "a file before the second filter");
  expect(enter(&serving) == RR_OK, "the second filter");
  expect(uv_async_init(&loop, &wake, NULL) == 0 && uv_async_send(&wake) == 0, "a handle");
  (void)uv_run(&loop, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&wake, NULL);
  expect(uv_run(&loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(&loop) == 0, "the end of a loop");
}

static void loops_turn_without_rings(void **state) {
  (void)state;
  confined(NULL, check_rings);
}

static void check_narrowing(void) {
  rr_error error;
  expect(socket(AF_INET, SOCK_STREAM, 0) >= 0, "a socket while loading");
  expect(sandbox_enter(&serving, &error) == RR_OK, "the narrower filter");
  check_no_sockets();
  check_reading_alone();
  expect(sandbox_enter(&loading, &error) != RR_OK, "no filter after the last one");
  check_no_sockets();
}

static void a_filter_is_narrowed_but_never_widened(void **state) {
  (void)state;
  confined(&loading, check_narrowing);
}

static atomic_int step;
static int found;

static void *wait_and_try(void *unused) {
  while (step == 0) {
    (void)sched_yield();
  }
  found = socket(AF_INET, SOCK_STREAM, 0) == -1 ? errno : 0;
  return unused;
}

static void *do_nothing(void *unused) { return unused; }

/* The other thread is older than the filter. */
static void check_threads(void) {
  pthread_t older;
  pthread_t newer;
  rr_error error;
  expect(pthread_create(&older, NULL, wait_and_try, NULL) == 0, "a thread while loading");
  expect(sandbox_enter(&serving, &error) == RR_OK, "the narrower filter");
  step = 1;
  (void)pthread_join(older, NULL);
  errno = found;
  expect(found == EPERM, "socket in an older thread");
  expect(pthread_create(&newer, NULL, do_nothing, NULL) == 0 && pthread_join(newer, NULL) == 0,
         "a thread under the filter");
}

static void all_threads_are_under_it_and_new_ones_start(void **state) {
  (void)state;
  confined(&loading, check_threads);
}

static int make_file(void **state) {
  (void)state;
  if (mkdtemp(folder) == NULL) {
    return -1;
  }
  (void)snprintf(file, sizeof file, "%s/file", folder);
  return write_file() ? 0 : -1;
}

static int remove_file(void **state) {
  (void)state;
  (void)unlink(file);
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_program_and_no_process_is_started),
      cmocka_unit_test(no_memory_becomes_code),
      cmocka_unit_test(sockets_are_for_downloads_and_services_alone),
      cmocka_unit_test(connections_of_its_own_need_no_programs_and_no_code),
      cmocka_unit_test(files_are_read_unless_writing_is_needed),
      cmocka_unit_test(other_processes_and_the_kernel_are_out_of_reach),
      cmocka_unit_test(loops_turn_without_rings),
      cmocka_unit_test(a_filter_is_narrowed_but_never_widened),
      cmocka_unit_test(all_threads_are_under_it_and_new_ones_start),
  };
  return cmocka_run_group_tests(tests, make_file, remove_file);
}
