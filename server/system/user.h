/* Which user the server runs as, and becoming it without any capability.
 *
 * 1. Everything here is for the main thread, before any other thread of ours runs: the kernel keeps
 *    most of it by thread, and threads that start later inherit it.
 */
#ifndef RR_SERVER_SYSTEM_USER_H
#define RR_SERVER_SYSTEM_USER_H

#include <stdbool.h>
#include <sys/types.h>

#include "core/base/status.h"

enum { USER_NAME_BYTES = 64, USER_HOME_BYTES = 1024 };

typedef struct user {
  uid_t uid;
  gid_t gid;
  char name[USER_NAME_BYTES];
  char home[USER_HOME_BYTES]; /* "": not known */
} user;

/* NAME[:GROUP], each a name or a number; without GROUP the user's own. RR_ERR_INPUT: there is none
 * such. */
rr_status user_find(const char *text, user *ret_user, rr_error *err);

/* Calls check(context) with the user's rights on files, and returns what it does. RR_ERR_IO: this
 * process may not become that user. Needs to be root; afterwards it is root again. */
rr_status user_try(const user *who, rr_status (*check)(void *context, rr_error *err), void *context,
                   rr_error *err);

/* Becomes the user for good, with its one group and no others. RR_ERR_IO: not allowed. */
rr_status user_become(const user *who, rr_error *err);

/* Gives all capabilities of all threads away, those that an exec could bring back as well, and
 * forbids gaining any. *ret_all is false where a library's thread, one that blocks all signals, has
 * kept its own. */
rr_status user_drop_capabilities(bool *ret_all, rr_error *err);

/* No core files, and no process of the same user reads this one's memory, unless debugging is
 * wanted. To be called after user_become, which changes that as well. */
void user_guard_memory(bool debugging);

#endif
