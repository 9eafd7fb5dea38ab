/* Preloaded by test_shared_cache.py: the look-up of slow.invalid takes a minute. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int look_up(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *restrict name, const char *restrict port,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret_found) {
  static const char word[] = "looking up slow.invalid\n";
  if (name != NULL && strcmp(name, "slow.invalid") == 0) {
    (void)!write(STDERR_FILENO, word, sizeof word - 1);
    (void)sleep(60);
    return EAI_AGAIN;
  }
  look_up *own;
  *(void **)&own = dlsym(RTLD_NEXT, "getaddrinfo");
  return own(name, port, hints, ret_found);
}
