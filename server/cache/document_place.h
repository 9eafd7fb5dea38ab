/* Whether the file of documents can be opened or made, in words that say what to do. */
#ifndef RR_SERVER_CACHE_DOCUMENT_PLACE_H
#define RR_SERVER_CACHE_DOCUMENT_PLACE_H

#include "core/base/status.h"

/* RR_OK, or RR_ERR_IO where the path is a folder, its folder is missing or may not be written.
 * Reads the file system and makes nothing; any thread. Opening may fail all the same. */
rr_status document_place_check(const char *path, rr_error *err);

#endif
