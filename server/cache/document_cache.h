/* The document cache: the kept state of documents that were computed (core/score/kept.h), and texts
 * by the names that clients gave them, in memory, and behind it, where one is given, in a file
 * (document_file.h). Bounded by their bytes; which stay in memory is lfu.h's policy.
 *
 * 1. What is found is held until it is released, whatever becomes of the cache's own: nobody copies
 *    it.
 * 2. All of it, what is held only by requests included, takes at most the bytes that were asked
 *    for, index included and but for what the allocator adds. Where there is no room, a document is
 *    not kept.
 * 3. Any thread may call anything but document_cache_destroy. With a file not the event loop:
 *    finding may wait for the disk, and inserting does.
 * 4. A key holds everything that kept state depends on: the model's fingerprint, the options and
 * the text. A name's key is of another kind. Keys are secret hashes, as the score cache's are.
 */
#ifndef RR_SERVER_CACHE_DOCUMENT_CACHE_H
#define RR_SERVER_CACHE_DOCUMENT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/base/text.h"
#include "core/scorer.h"
#include "server/cache/document_file.h"
#include "server/cache/keyed_hash.h"
#include "server/cache/lfu.h"

enum { DOCUMENT_CACHE_BYTES_MIN = 1 << 20 };

typedef struct document_cache document_cache;

/* Bytes that are kept: of kept state, or of a text that has a name. Written once, by who made them.
 */
typedef struct document document;

typedef struct document_stats {
  lfu_stats memory;         /* hits, misses and so on, of texts and names alike */
  document_file_stats file; /* zeros where there is none */
  uint64_t bytes;           /* taken now, by all documents */
  uint64_t most;            /* that they may take, index included */
} document_stats;

typedef struct document_cache_config {
  size_t bytes;        /* of memory, at least DOCUMENT_CACHE_BYTES_MIN (RR_ERR_INPUT) */
  const char *file;    /* NULL: none */
  uint64_t file_bytes; /* that it takes, at least DOCUMENT_FILE_BYTES_MIN */
} document_cache_config;

/* For a model that keeps texts. *ret_cache is freed by document_cache_destroy.
 * RR_ERR_MEMORY; RR_ERR_IO: no random key; errors of document_file_open and, with a file,
 * rr_scorer_fingerprint. Not on the event loop. */
rr_status document_cache_create(const document_cache_config *config, const rr_scorer *scorer,
                                document_cache **ret_cache, rr_error *err);

/* No document may be held by anybody any more. NULL is allowed. */
void document_cache_destroy(document_cache *self);

/* Keys of texts that are encoded alike; on one thread. Options that change no kept state
 * change no key. */
typedef struct document_keys {
  keyed_hash hash;
  uint8_t digest[KEYED_HASH_BYTES];
} document_keys;

void document_keys_init(document_keys *ret_keys, const document_cache *cache,
                        const rr_encode_options *options);
lfu_key document_key_of_text(document_keys *self, rr_text text);

/* The key of the text that a client calls by this name. */
lfu_key document_key_of_name(const document_cache *cache, rr_text name);

/* Looks a key up, and counts that it was asked for. NULL: not there. Kept state fits the scorer. */
document *document_cache_find_kept(document_cache *self, lfu_key key);
document *document_cache_find_text(document_cache *self, lfu_key key);

/* Whether one is there, without asking for it. */
bool document_cache_has(document_cache *self, lfu_key key);

/* Room for so many bytes, held by the caller, who fills them before anybody else gets the document.
 * NULL: there is none, or no memory. */
document *document_cache_reserve(document_cache *self, size_t size);

/* Adds a filled document, to the file too. firmly: a client asked for it to be kept: it drives out
 * what is asked for more often, and takes the place of one under the same key. Returns whether it
 * is kept now, in either; and, firmly, that the file has not kept another. */
bool document_cache_insert(document_cache *self, lfu_key key, document *kept, bool firmly);

/* Of a name whose text is another now, which cannot be kept: the old one is no longer found, but as
 * DOCUMENT_GONE. */
void document_cache_forget(document_cache *self, lfu_key key);

/* How a text that is kept begins; what begins otherwise is none. */
enum { DOCUMENT_TEXT = 0, DOCUMENT_GONE = 1 };

/* Aligned to 16 bytes. */
void *document_data(document *self);
size_t document_size(const document *self);

void document_hold(document *self);
void document_release(document *self); /* NULL is allowed */

void document_cache_read_stats(document_cache *self, document_stats *ret_stats);

#endif
