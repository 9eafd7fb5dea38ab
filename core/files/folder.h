/* What a model's folder holds where a file is missing that every model has: words for error
 * messages. */
#ifndef RR_CORE_FILES_FOLDER_H
#define RR_CORE_FILES_FOLDER_H

#include "core/base/status.h"

/* RR_OK if `directory` is a folder that can be listed; else RR_ERR_IO, or RR_ERR_UNSUPPORTED for a
 * file, with a message that says what it is and what to name instead. Reads the file system; any
 * thread. */
rr_status rr_folder_check(const char *directory, rr_error *err);

/* An error for a folder without the file `wanted`: RR_ERR_UNSUPPORTED if it has weights in another
 * form, else RR_ERR_IO. The message says what the folder has instead. Never RR_OK. */
rr_status rr_folder_lacks(const char *directory, const char *wanted, rr_error *err);

#endif
