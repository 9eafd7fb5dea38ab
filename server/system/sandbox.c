#include "server/system/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef RR_HAVE_SECCOMP
#include <seccomp.h>

#include "server/system/sandbox_calls.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

enum {
  REQUEST_XCOMP_PERMISSION = 0x1023, /* arch_prctl: ask for AMX; not in older headers */
  GET_XCOMP_PERMISSION = 0x1022,
  SET_VMA = 0x53564d41 /* prctl: libcs name their mappings */
};

/* An argument's low 32 bits: an int leaves the others undefined. */
#define BITS(argument, mask, value)                                                                \
  SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, (uint32_t)(mask), (uint32_t)(value))
#define IS(argument, value) BITS(argument, UINT32_MAX, value)

#define REFUSE SCMP_ACT_ERRNO(EPERM)

/* Names that this kernel's ABI or this libseccomp does not have are passed over. */
static int rule(scmp_filter_ctx filter, uint32_t action, const char *name, unsigned n,
                const struct scmp_arg_cmp *conditions) {
  int number = seccomp_syscall_resolve_name(name);
  return number < 0 ? 0 : seccomp_rule_add_array(filter, action, number, n, conditions);
}

static int rules(scmp_filter_ctx filter, uint32_t action, const char *const *names) {
  int status = 0;
  for (size_t i = 0; status == 0 && names[i] != NULL; i++) {
    status = rule(filter, action, names[i], 0, NULL);
  }
  return status;
}

/* One rule for each condition. */
static int either(scmp_filter_ctx filter, uint32_t action, const char *name, size_t n,
                  const struct scmp_arg_cmp *conditions) {
  int status = 0;
  for (size_t i = 0; status == 0 && i < n; i++) {
    status = rule(filter, action, name, 1, &conditions[i]);
  }
  return status;
}

#define EITHER(filter, action, name, ...)                                                          \
  either(filter, action, name,                                                                     \
         sizeof((struct scmp_arg_cmp[]){__VA_ARGS__}) / sizeof(struct scmp_arg_cmp),               \
         (struct scmp_arg_cmp[]){__VA_ARGS__})

/* Reading alone, unless files are written. flags: which argument they are. */
static int rule_open(scmp_filter_ctx filter, const char *name, unsigned flags, bool writes) {
  if (writes) {
    return rule(filter, SCMP_ACT_ALLOW, name, 0, NULL);
  }
  int status =
      EITHER(filter, SCMP_ACT_ALLOW, name, BITS(flags, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
  return status != 0 ? status
                     : EITHER(filter, REFUSE, name, BITS(flags, O_ACCMODE, O_WRONLY),
                              BITS(flags, O_ACCMODE, O_RDWR), BITS(flags, O_ACCMODE, O_ACCMODE),
                              BITS(flags, O_CREAT, O_CREAT), BITS(flags, O_TRUNC, O_TRUNC));
}

/* No memory becomes code. Modules of the C library are code from files, never written. */
static int rules_code(scmp_filter_ctx filter, bool modules) {
  const struct scmp_arg_cmp module[] = {BITS(2, PROT_EXEC | PROT_WRITE, PROT_EXEC),
                                        BITS(3, MAP_ANONYMOUS, 0)};
  int status = EITHER(filter, SCMP_ACT_ALLOW, "mmap", BITS(2, PROT_EXEC, 0));
  if (status == 0) {
    status = modules ? rule(filter, SCMP_ACT_ALLOW, "mmap", 2, module)
                     : EITHER(filter, REFUSE, "mmap", BITS(2, PROT_EXEC, PROT_EXEC));
  }
  if (status == 0) {
    status = EITHER(filter, SCMP_ACT_ALLOW, "mprotect", BITS(2, PROT_EXEC, 0));
  }
  return status != 0 ? status : EITHER(filter, REFUSE, "mprotect", BITS(2, PROT_EXEC, PROT_EXEC));
}

/* Threads, no processes. clone3, whose flags lie in memory, is not known: libcs go back to
 * clone. */
static int rules_threads(scmp_filter_ctx filter) {
  int status = EITHER(filter, SCMP_ACT_ALLOW, "clone", BITS(0, CLONE_THREAD, CLONE_THREAD));
  if (status == 0) {
    status = EITHER(filter, REFUSE, "clone", BITS(0, CLONE_THREAD, 0));
  }
  return status != 0 ? status
                     : EITHER(filter, SCMP_ACT_ALLOW, "tgkill", IS(0, getpid())); /* abort */
}

static int rules_controls(scmp_filter_ctx filter) {
  int status = EITHER(filter, SCMP_ACT_ALLOW, "fcntl", IS(1, F_DUPFD_CLOEXEC), IS(1, F_GETFD),
                      IS(1, F_SETFD), IS(1, F_GETFL), IS(1, F_SETFL));
  if (status == 0) {
    status = EITHER(filter, SCMP_ACT_ALLOW, "ioctl", IS(1, TCGETS), IS(1, TIOCGWINSZ),
                    IS(1, FIONBIO), IS(1, FIONREAD), IS(1, FIOCLEX), IS(1, SIOCOUTQ));
  }
  if (status == 0) {
    status = EITHER(filter, SCMP_ACT_ALLOW, "prctl", IS(0, PR_SET_NAME), IS(0, PR_GET_NAME),
                    IS(0, SET_VMA), IS(0, PR_SET_NO_NEW_PRIVS));
  }
  if (status == 0) {
    status = EITHER(filter, SCMP_ACT_ALLOW, "arch_prctl", IS(0, REQUEST_XCOMP_PERMISSION),
                    IS(0, GET_XCOMP_PERMISSION));
  }
  const struct scmp_arg_cmp own_limits[] = {IS(0, 0),
                                            SCMP_CMP64(2, SCMP_CMP_EQ, 0, 0)}; /* read, not set */
  return status != 0 ? status : rule(filter, SCMP_ACT_ALLOW, "prlimit64", 2, own_limits);
}

/* IP, the routes (which addresses does this machine have?) and local services that look names
 * up. */
static int rules_sockets(scmp_filter_ctx filter, const sandbox_needs *needs) {
  bool resolves = needs->fetches || needs->resolves;
  bool connects = resolves || needs->connects;
  int status = rules(filter, connects ? SCMP_ACT_ALLOW : REFUSE, calls_connect);
  status = status != 0 ? status : rules(filter, resolves ? SCMP_ACT_ALLOW : REFUSE, calls_resolve);
  if (status == 0) {
    status = connects ? EITHER(filter, SCMP_ACT_ALLOW, "socket", IS(0, AF_INET), IS(0, AF_INET6),
                               IS(0, AF_UNIX))
                      : rule(filter, REFUSE, "socket", 0, NULL);
  }
  /* Pairs of sockets join clients' connections with libmicrohttpd; they lead nowhere else. */
  status = status != 0 ? status : EITHER(filter, SCMP_ACT_ALLOW, "socketpair", IS(0, AF_UNIX));
  return status != 0 || !resolves ? status
                                  : EITHER(filter, SCMP_ACT_ALLOW, "socket", IS(0, AF_NETLINK));
}

static int fill(scmp_filter_ctx filter, const sandbox_needs *needs) {
  int status = rules(filter, SCMP_ACT_ALLOW, calls_always);
  status = status != 0 ? status : rules(filter, REFUSE, calls_never);
  status = status != 0 ? status : rules_code(filter, needs->fetches);
  status = status != 0 ? status : rules_threads(filter);
  status = status != 0 ? status : rules_controls(filter);
  status = status != 0 ? status : rules_sockets(filter, needs);
  status = status != 0 ? status : rule_open(filter, "openat", 2, needs->writes);
  status = status != 0 ? status : rule_open(filter, "open", 1, needs->writes);
  status =
      status != 0 ? status : rules(filter, needs->writes ? SCMP_ACT_ALLOW : REFUSE, calls_write);
  status = status != 0
               ? status
               : rules(filter, needs->writes || needs->keeps ? SCMP_ACT_ALLOW : REFUSE, calls_keep);
  status = status != 0 ? status
                       : rules(filter, needs->writes || needs->unlinks ? SCMP_ACT_ALLOW : REFUSE,
                               calls_unlink);
  return status != 0 ? status
                     : rule(filter, needs->narrows ? SCMP_ACT_ALLOW : REFUSE, "seccomp", 0, NULL);
}

const char *sandbox_unsuited(void) {
#ifdef SANITIZED
  return "this build has a sanitizer";
#else
  const char *preloaded = getenv("LD_PRELOAD");
  return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL ? "it runs under valgrind"
                                                                     : NULL;
#endif
}

static int fill_rings(scmp_filter_ctx filter, const sandbox_needs *none) {
  (void)none;
  static const char *const rings[] = {"io_uring_setup", "io_uring_enter", "io_uring_register",
                                      NULL};
  return rules(filter, SCMP_ACT_ERRNO(ENOSYS), rings);
}

/* A filter of what `add` adds to it; `otherwise` is done with all other calls. */
static rr_status load_filter(uint32_t otherwise, int (*add)(scmp_filter_ctx, const sandbox_needs *),
                             const sandbox_needs *needs, rr_error *err) {
  scmp_filter_ctx filter = seccomp_init(otherwise);
  if (filter == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the filter of system calls");
  }
  /* All threads at once; a tree of comparisons; calls of another ABI are an attack and nothing
   * else. */
  int status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
  status = status != 0 ? status : seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  status = status != 0 ? status
                       : seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  status = status != 0 ? status : add(filter, needs);
  status = status != 0 ? status : seccomp_load(filter);
  seccomp_release(filter);
  return status == 0 ? RR_OK
                     : rr_fail(err, RR_ERR_IO, "the filter of system calls: %s", strerror(-status));
}

rr_status sandbox_refuse_rings(rr_error *err) {
  return load_filter(SCMP_ACT_ALLOW, fill_rings, NULL, err);
}

rr_status sandbox_enter(const sandbox_needs *needs, rr_error *err) {
  return load_filter(SCMP_ACT_ERRNO(ENOSYS), fill, needs, err);
}

#else

const char *sandbox_unsuited(void) { return "this build has no libseccomp"; }

rr_status sandbox_refuse_rings(rr_error *err) {
  return rr_fail(err, RR_ERR_IO, "the filter of system calls: this build has no libseccomp");
}

rr_status sandbox_enter(const sandbox_needs *needs, rr_error *err) {
  (void)needs;
  return sandbox_refuse_rings(err);
}

#endif
