/* Which system calls are allowed by name alone; sandbox.c has those whose arguments decide. The
 * lists hold what glibc 2.28 to 2.41 and musl make on x86-64 and aarch64: of two names for one
 * call, each libc takes its own. */
#ifndef RR_SERVER_SYSTEM_SANDBOX_CALLS_H
#define RR_SERVER_SYSTEM_SANDBOX_CALLS_H

#include <stddef.h>

static const char *const calls_always[] = {
    /* memory */
    "brk", "madvise", "mremap", "munmap", "membarrier",
    /* threads, signals */
    "exit", "exit_group", "futex", "get_robust_list", "getcpu", "gettid", "restart_syscall", "rseq",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_getparam",
    "sched_getscheduler", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack",
    /* time */
    "clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time",
    /* the process itself */
    "getegid", "geteuid", "getgid", "getpid", "getppid", "getrandom", "getrlimit", "getrusage",
    "getuid", "sysinfo", "times", "uname",
    /* waiting */
    "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "pipe2",
    "poll", "ppoll", "pselect6", "select",
    /* files that are open, and their names */
    "access", "close", "faccessat", "faccessat2", "fadvise64", "fstat", "fstatfs", "getcwd",
    "getdents64", "lseek", "lstat", "newfstatat", "pread64", "preadv", "read", "readlink",
    "readlinkat", "readv", "stat", "statfs", "statx", "write", "writev",
    /* connections */
    "accept", "accept4", "getpeername", "getsockname", "getsockopt", "recvfrom", "sendfile",
    "sendmsg", "sendto", "setsockopt", "shutdown",
    /* a timer of the loop's, made before the filter */
    "timerfd_settime", NULL};

/* A service that is asked while it serves: the shared cache, a collector of spans. `socket` by its
 * family. */
static const char *const calls_connect[] = {"connect", NULL};

/* The C library, looking its name up, and the thread of libcurl's that waits for it. */
static const char *const calls_resolve[] = {"bind", "recvmmsg", "recvmsg", "sendmmsg", NULL};

/* The hub's cache, packed weights. */
static const char *const calls_write[] = {
    "fallocate", "fchmod", "fdatasync", "flock",     "fsync",   "ftruncate", "mkdir", "mkdirat",
    "pwritev",   "rename", "renameat",  "renameat2", "symlink", "symlinkat", "umask", NULL};

/* The file of documents, once it is open. */
static const char *const calls_keep[] = {"pwrite64", NULL};

static const char *const calls_unlink[] = {"unlink", "unlinkat", NULL};

/* Refused in so many words; all that is in no list is refused as not known. */
static const char *const calls_never[] = {"acct",
                                          "add_key",
                                          "bpf",
                                          "capset",
                                          "chdir",
                                          "chmod",
                                          "chown",
                                          "chroot",
                                          "clock_settime",
                                          "creat",
                                          "delete_module",
                                          "execve",
                                          "execveat",
                                          "fchdir",
                                          "fchmodat",
                                          "fchown",
                                          "fchownat",
                                          "finit_module",
                                          "fork",
                                          "init_module",
                                          "kcmp",
                                          "kexec_load",
                                          "keyctl",
                                          "kill",
                                          "lchown",
                                          "link",
                                          "linkat",
                                          "listen",
                                          "memfd_create",
                                          "mknod",
                                          "mknodat",
                                          "mount",
                                          "move_mount",
                                          "open_by_handle_at",
                                          "open_tree",
                                          "perf_event_open",
                                          "personality",
                                          "pidfd_getfd",
                                          "pidfd_open",
                                          "pidfd_send_signal",
                                          "pivot_root",
                                          "pkey_mprotect",
                                          "process_vm_readv",
                                          "process_vm_writev",
                                          "ptrace",
                                          "quotactl",
                                          "reboot",
                                          "remap_file_pages",
                                          "request_key",
                                          "rmdir",
                                          "rt_sigqueueinfo",
                                          "rt_tgsigqueueinfo",
                                          "setdomainname",
                                          "setfsgid",
                                          "setfsuid",
                                          "setgid",
                                          "setgroups",
                                          "sethostname",
                                          "setns",
                                          "setpgid",
                                          "setregid",
                                          "setresgid",
                                          "setresuid",
                                          "setreuid",
                                          "setrlimit",
                                          "setsid",
                                          "settimeofday",
                                          "setuid",
                                          "setxattr",
                                          "shmat",
                                          "shmget",
                                          "swapoff",
                                          "swapon",
                                          "syslog",
                                          "tkill",
                                          "truncate",
                                          "umount2",
                                          "unshare",
                                          "userfaultfd",
                                          "uselib",
                                          "utimensat",
                                          "vfork",
                                          "vhangup",
                                          "vmsplice",
                                          NULL};

#endif
