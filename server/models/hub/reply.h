/* Reading the headers of a hub's answers. */
#ifndef RR_SERVER_MODELS_HUB_REPLY_H
#define RR_SERVER_MODELS_HUB_REPLY_H

#include <stddef.h>

#include "server/models/hub/client.h"

/* Prepares for the next answer of a chain of redirects: what the hub said about the file stays. */
void hub_reply_next(hub_reply *reply, long status);

/* Takes one header line, as it came, over into the reply. */
void hub_reply_header(hub_reply *reply, const char *line, size_t size);

/* Who answered: the hub, which was sent a token or not, or where it redirected to. */
typedef enum hub_answerer { HUB_WITH_TOKEN, HUB_WITHOUT_TOKEN, HUB_BY_STORAGE } hub_answerer;

/* What a status means: HUB_DONE, or an error with words for it. `call` says what was asked for. */
hub_outcome hub_reply_judge(const hub_reply *reply, const hub_call *call, hub_answerer by,
                            rr_error *err);

#endif
