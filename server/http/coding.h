/* Content codings of bodies: gzip by zlib, zstd by libzstd. Not on the loop's thread: they
 * compute. */
#ifndef RR_SERVER_HTTP_CODING_H
#define RR_SERVER_HTTP_CODING_H

#include <stddef.h>

#include "core/base/budget.h"

typedef enum coding { CODING_IDENTITY, CODING_GZIP, CODING_ZSTD, CODING_UNKNOWN } coding;

typedef enum coding_result {
  CODING_OK,
  CODING_BROKEN,
  CODING_TOO_LARGE,
  CODING_NO_MEMORY
} coding_result;

/* What a Content-Encoding header names; NULL is CODING_IDENTITY, more than one coding
 * CODING_UNKNOWN. */
coding coding_of_content(const char *header);

/* The best coding that an Accept-Encoding header takes, by its weights, zstd before gzip where they
 * are equal; CODING_IDENTITY for NULL. */
coding coding_accepted(const char *header);

/* "gzip", "zstd"; NULL for the others. */
const char *coding_name(coding which);

/* Undoes gzip or zstd. At most `limit` bytes are made, whatever the input promises, in a buffer
 * that grows with what is there. *ret_data is freed with rr_free. Where a claim (NULL: none) counts
 * what that takes, CODING_NO_MEMORY also tells its refusal; what the buffer has of it stays taken,
 * the decoder's own memory does not.
 * */
coding_result coding_decode(coding which, const char *data, size_t size, size_t limit,
                            rr_claim *claim, char **ret_data, size_t *ret_size);

/* The bytes in gzip or zstd, freed with rr_free; NULL where that is not smaller or memory is
 * out. */
char *coding_encode(coding which, const char *data, size_t size, size_t *ret_size);

#endif
