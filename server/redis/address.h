/* Where the shared cache is: --shared-cache's URL, taken apart. Pure. */
#ifndef RR_SERVER_REDIS_ADDRESS_H
#define RR_SERVER_REDIS_ADDRESS_H

#include <stdbool.h>

#include "core/base/status.h"

typedef struct redis_address {
  bool local;     /* a socket of this machine: host is its path */
  char host[256]; /* an address or a name, without brackets */
  char port[8];
  char user[128];     /* "": none */
  char password[512]; /* "": none */
  unsigned database;
} redis_address;

/* redis://[user[:password]@]host[:port][/database], the same with valkey, or a socket's path, which
 * begins with a slash or unix:. What is percent-coded is decoded. password: NULL, or what counts
 * instead of the URL's. RR_ERR_INPUT; messages hold nothing of the URL, which may have a password.
 * RR_ERR_MEMORY. */
rr_status redis_address_parse(const char *url, const char *password, redis_address *ret_address,
                              rr_error *err);

/* Whether the host is a name, which has to be looked up. */
bool redis_address_is_name(const redis_address *self);

#endif
