/* HTTP requests to a hub, by libcurl: redirects, the token, time limits, tries, and what went wrong
 * in words.
 *
 * 1. A client belongs to one thread; its calls block it. Setting `cancelled` from elsewhere ends
 *    them within about a second.
 * 2. The token is sent to the hub's own scheme, host and port, and nowhere else, whatever redirects
 *    say.
 */
#ifndef RR_SERVER_MODELS_HUB_CLIENT_H
#define RR_SERVER_MODELS_HUB_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "server/models/hub/names.h"

enum { HUB_URL_MAX = 4096, HUB_TRIES = 5, HUB_PLACE_MAX = 300 };

typedef struct hub_client hub_client;

typedef struct hub_client_config {
  const char *endpoint;  /* "https://huggingface.co", without a slash at the end */
  const char *token;     /* NULL: none */
  const char *ca_file;   /* NULL: the system's certificates */
  long metadata_seconds; /* for a whole request without a body */
  long transfer_seconds; /* for which a body may (almost) stand still */
  const atomic_bool *cancelled;
} hub_client_config;

/* Strings are borrowed and must outlive the client. RR_ERR_MEMORY or RR_ERR_INPUT (an endpoint that
 * is no URL, a token that cannot stand in a header). *ret_client is freed by hub_client_destroy. */
rr_status hub_client_create(const hub_client_config *config, hub_client **ret_client,
                            rr_error *err);
void hub_client_destroy(hub_client *client); /* NULL is allowed */

/* What an answer's headers say; "" and false for what they do not. */
typedef struct hub_reply {
  long status;
  char etag[HUB_ETAG_MAX + 8]; /* of the file behind all redirects, without quotes */
  char commit[HUB_COMMIT_MAX + 8];
  char error_code[32]; /* "RepoNotFound", "GatedRepo", ... */
  bool has_size;
  uint64_t size; /* HEAD: of the file; GET: of this body */
  bool has_range;
  uint64_t range_first; /* of a 206 */
  uint64_t range_size;  /* of the whole file; 0 if not told */
  unsigned retry_after; /* seconds, bounded */
} hub_reply;

typedef struct hub_call {
  const char *what; /* the model or file, for messages */
  const char *url;
  bool head;     /* HEAD: redirects are followed on the hub itself only */
  uint64_t from; /* GET: the first byte wanted */
  /* GET: called once the headers of a 200 or 206 are there, then with the body's pieces. Anything
   * but RR_OK ends the call with that error. */
  rr_status (*begin)(void *context, const hub_reply *reply, rr_error *err);
  rr_status (*take)(void *context, const void *data, size_t size, rr_error *err);
  void *context;
} hub_call;

typedef enum hub_outcome {
  HUB_DONE,
  HUB_AGAIN,  /* err says why; another try may help */
  HUB_REFUSED /* err says why; it would not, or `cancelled` is set */
} hub_outcome;

/* One try. */
hub_outcome hub_client_try(hub_client *client, const hub_call *call, hub_reply *ret_reply,
                           rr_error *err);

/* Waits before try number `tried` + 1, longer each time, or as long as the hub said. False if
 * `cancelled` was set meanwhile. */
bool hub_client_wait(const hub_client *client, unsigned tried, const hub_reply *reply);

/* Up to `tries` tries. HUB_AGAIN: none of them got through. The first that fails of all that a
 * client makes is told in the log, with what to do. */
hub_outcome hub_client_call(hub_client *client, const hub_call *call, unsigned tries,
                            hub_reply *ret_reply, rr_error *err);

/* Where the hub is, "https://host:port", without what else the endpoint may hold, such as a
 * password. */
void hub_client_place(const hub_client *client, char ret_place[HUB_PLACE_MAX]);

/* endpoint + prefix + "/" + path with each part escaped into to; false if that is too long. */
bool hub_client_url(const hub_client *client, const char *prefix, const char *path,
                    char to[HUB_URL_MAX]);

/* `text` with everything escaped, slashes too; false if that is too long. */
bool hub_client_escape(const char *text, char *to, size_t size);

#endif
