/* Whether the files that the options name can be used by whoever asks. */
#ifndef RR_SERVER_CONFINE_FILES_H
#define RR_SERVER_CONFINE_FILES_H

#include "core/base/status.h"
#include "server/options/options.h"

/* Looks, with the effective user's rights, at the model's directory or the hub's cache, the key
 * file and the folder of the socket: all that is opened, made or removed after the start. RR_ERR_IO
 * names the first that cannot be used. */
rr_status confine_files_check(const options *chosen, rr_error *err);

#endif
