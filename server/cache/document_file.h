/* Documents kept in a file: opaque bytes by key, for one model, across restarts. A cache:
 * what is lost is computed again, and what is damaged is never given out.
 *
 * 1. Any thread may call anything but document_file_close. A lock guards the index and is held for
 *    no input or output; writers wait for each other. Not on the event loop: a read waits for the
 *    disk where the page cache does not have it, and put waits where the kernel holds back who
 *    dirties too many pages.
 * 2. The file takes max_bytes at most, all of it reserved by open where the file system can. The
 *    oldest documents make room for new ones, first in, first out.
 * 3. One process at a time (an exclusive flock, which ends with the process).
 * 4. kill -9 loses no document whose put had returned, since the page cache outlives the process;
 *    of the put that it interrupts nothing is seen but that the oldest may have made room for it. A
 *    power cut or a crash of the kernel loses what was not written back yet (commonly the last 30
 *    seconds), and what was written in part is told by its checksum: a miss, like any damage.
 * 5. Read by pread, not through a map. A map raises SIGBUS where the file is cut by others or the
 *    disk fails, at any load instruction of any kernel, and what it shows can change after it was
 *    verified; a copy is verified and stays so. The pages are the same, the kernel's page cache,
 *    which outlives the server as it would with a map.
 * 6. Checksums tell damage, not forgery: who may write the file may make up scores. Open refuses a
 *    file that others than its owner may write.
 *
 * README.md has the format.
 */
#ifndef RR_SERVER_CACHE_DOCUMENT_FILE_H
#define RR_SERVER_CACHE_DOCUMENT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

enum {
  DOCUMENT_KEY_BYTES = 16,
  DOCUMENT_FINGERPRINT_BYTES = 16,
  DOCUMENT_SECRET_BYTES = 32,
  DOCUMENT_BYTES_MAX = 16 << 20, /* of one document; also at most a quarter of the file */
  DOCUMENT_FILE_BYTES_MIN = 1 << 20,
  DOCUMENT_FILE_BYTES_EACH =
      8192 /* there is room for one document in so many bytes of the file, however small */
};

typedef struct document_file document_file;

typedef struct document_file_stats {
  uint64_t entries;
  uint64_t bytes;     /* of these entries */
  uint64_t capacity;  /* bytes of documents that the file can hold */
  uint64_t discarded; /* at open: entries that were damaged */
  bool emptied; /* at open: it was made for another max_bytes, by which all of it lies elsewhere */
  uint64_t hits;
  uint64_t misses;   /* damaged ones are counted here too */
  uint64_t damaged;  /* found, but its bytes were not those that were put, or could not be read */
  uint64_t puts;     /* documents written since open */
  uint64_t failed;   /* puts that the disk refused, or that were to replace and are of no size that
                        may be */
  uint64_t replaced; /* by others of their key, kept or not, since open */
  uint64_t evicted;  /* made room for others since open */
} document_file_stats;

/* Opens the file, or makes it (mode 0600; its folder must be there), for the model that
 * `fingerprint` tells from all others whose kept states differ. One that was made for another
 * max_bytes is emptied. Takes 52 bytes of memory for each DOCUMENT_FILE_BYTES_EACH of the file once
 * that many documents were put, and reads 64 of the file.
 *
 * Errors, whose message names the path, and after which the file is as it was, or empty where there
 * was none: RR_ERR_INPUT (max_bytes too small; the file is another model's), RR_ERR_FORMAT (no file
 * of this kind, or its head is damaged), RR_ERR_UNSUPPORTED (of a newer version or another byte
 * order), RR_ERR_IO (in use by another process, no regular file, a symbolic link, others may write
 * it, no room on the disk, beyond RLIMIT_FSIZE, …), RR_ERR_MEMORY. The file is never replaced: who
 * wants it gone deletes it. */
rr_status document_file_open(const char *path,
                             const uint8_t fingerprint[DOCUMENT_FINGERPRINT_BYTES],
                             uint64_t max_bytes, document_file **ret_file, rr_error *err);

/* NULL is allowed. No other call may be under way. */
void document_file_close(document_file *self);

/* Random bytes made together with the file and kept in it: for keys that are hashes with a secret,
 * which must be the same after a restart. Valid until close. */
const uint8_t *document_file_secret(const document_file *self);

/* Whether the document is there, without reading it: a read may still miss. ret_size: NULL is
 * allowed. */
bool document_file_has(document_file *self, const uint8_t key[DOCUMENT_KEY_BYTES],
                       size_t *ret_size);

/* Copies the document, which has so many bytes, to the caller's memory, and verifies the copy.
 * false: it is not there, has another size, or is damaged, then forgotten, and can be put again;
 * what is in the memory then is undefined. */
bool document_file_read(document_file *self, const uint8_t key[DOCUMENT_KEY_BYTES], void *to,
                        size_t size);

/* Keeps a copy. Where the key is there already nothing is done, unless it is to be replaced by what
 * differs: then the old one is gone, also where the new one cannot be kept; after a power cut it
 * may come back. Errors: RR_ERR_INPUT (no byte, or more than document_file_largest), RR_ERR_IO (a
 * full disk, …: the document is not kept, all else goes on; the next put tries again). */
rr_status document_file_put(document_file *self, const uint8_t key[DOCUMENT_KEY_BYTES],
                            const void *bytes, size_t size, bool replace, rr_error *err);

/* The most bytes a document of this file may have. */
size_t document_file_largest(const document_file *self);

/* Calls visit for every document, newest first, as long as it returns true. It may read and put,
 * and sees documents that come or go meanwhile or does not. */
void document_file_visit(document_file *self,
                         bool (*visit)(void *context, const uint8_t key[DOCUMENT_KEY_BYTES],
                                       size_t size),
                         void *context);

void document_file_read_stats(document_file *self, document_file_stats *ret_stats);

#endif
