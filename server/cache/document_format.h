/* How a file of documents lies on the disk, and opening one. document_file.h has what it is for.
 *
 *   0     head: this struct, padded to HEAD_BYTES
 *   4096  directory: a ring of entries, that of the n-th document of the file's life (from 1) in
 *         slot n mod slots
 *   ...   data: a ring of bytes; document n begins where n - 1 ended, and may go on at the ring's
 *         begin
 *
 * All numbers are in the machine's byte order, which the head tells. An entry is written after its
 * bytes, so that whoever ends between the two leaves no entry. Entries of documents that made room
 * stay until their slot is used again: that they are gone is seen by their position. Positions end
 * at 2^62 and rounds through the slots at 2^32, which takes centuries: entries beyond are taken for
 * damaged.
 */
#ifndef RR_SERVER_CACHE_DOCUMENT_FORMAT_H
#define RR_SERVER_CACHE_DOCUMENT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "server/cache/document_file.h"

enum {
  DOCUMENT_FORMAT_VERSION = 1,
  DOCUMENT_BYTE_ORDER = 0x01020304,
  DOCUMENT_MAGIC_BYTES = 8,
  DOCUMENT_CHECK_BYTES = 16, /* XXH3, 128 bits */
  DOCUMENT_HEAD_BYTES = 4096
};

#define DOCUMENT_MAGIC "\x89RRDOC\r\n"

typedef struct document_head {
  char magic[DOCUMENT_MAGIC_BYTES];
  uint32_t byte_order; /* this and the version stay where they are in every version */
  uint32_t version;
  uint64_t max_bytes; /* the whole file's */
  uint64_t seed;      /* of every check but the head's: a new one empties the file */
  uint8_t fingerprint[DOCUMENT_FINGERPRINT_BYTES];
  uint8_t secret[DOCUMENT_SECRET_BYTES];
  uint8_t unused[32];                  /* 0 */
  uint8_t check[DOCUMENT_CHECK_BYTES]; /* of all before it */
} document_head;

typedef struct document_entry {
  uint64_t sequence; /* 0 where all bytes are: never written */
  uint64_t position; /* bytes of all documents before it; in the ring: mod its size */
  uint8_t key[DOCUMENT_KEY_BYTES];
  uint8_t content[DOCUMENT_CHECK_BYTES]; /* the check of its bytes */
  uint32_t size;
  uint32_t unused; /* 0 */
  uint64_t check;  /* of all before it */
} document_entry;

_Static_assert(sizeof(document_head) == 128, "no padding");
_Static_assert(sizeof(document_entry) == 64, "no padding, and never across two pages");

/* Where things are in a file of so many bytes. */
typedef struct document_layout {
  uint32_t slots;
  uint64_t data;     /* offset */
  uint64_t capacity; /* bytes of the data */
  size_t largest;    /* bytes of one document */
} document_layout;

document_layout document_layout_of(uint64_t max_bytes);

void document_head_check(const document_head *head, uint8_t ret_check[DOCUMENT_CHECK_BYTES]);
uint64_t document_entry_check(const document_entry *entry, uint64_t seed);
void document_content_check(const void *bytes, size_t size, uint64_t seed,
                            uint8_t ret_check[DOCUMENT_CHECK_BYTES]);

/* Never written; and whether one that was is whole and where it belongs. */
bool document_entry_is_clear(const document_entry *entry);
bool document_entry_is_sound(const document_entry *entry, uint32_t slot,
                             const document_layout *layout, uint64_t seed);

/* Opens and locks the file, makes it or empties it where need be, and reserves its room. The
 * descriptor is the caller's. Errors as of document_file_open. */
rr_status document_format_open(const char *path,
                               const uint8_t fingerprint[DOCUMENT_FINGERPRINT_BYTES],
                               uint64_t max_bytes, int *ret_descriptor, document_head *ret_head,
                               bool *ret_emptied, rr_error *err);

/* All bytes or false, with errno (0: the file ends before). */
bool document_read_at(int descriptor, void *to, size_t size, uint64_t offset);
bool document_write_at(int descriptor, const void *from, size_t size, uint64_t offset);

/* The same of a document's bytes, which may go on at the ring's begin. */
bool document_ring_read(int descriptor, const document_layout *layout, void *to, size_t size,
                        uint64_t position);
bool document_ring_write(int descriptor, const document_layout *layout, const void *from,
                         size_t size, uint64_t position);

#endif
