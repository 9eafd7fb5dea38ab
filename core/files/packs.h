/* The pack cache: the packed weights of the linear layers in one file beside the model, so that the
 * next load need not pack them again. (Not of the few that a [CLS] layer has a head: they are
 * small.)
 *
 * The file is never believed. What its header must be follows from the model and the kernels alone,
 * and has to be there to the byte: format, identity of the weights, of every layer its first
 * tensor, its product's name and a hash of how that packs, its sizes. The file's size has to fit,
 * and every layer's bytes have to fit their checksum. Otherwise the file is as good as absent. It
 * is read, not mapped: a mapping that somebody truncates would kill the process.
 *
 * The identity of the weights is the size and a 128-bit hash of the whole of model.safetensors; of
 * a model in shards, of all of them, and of which shard each tensor is taken from, as its index
 * says. Time and inode would not do: copies, layers of images and checkouts keep or forge the one
 * and reuse the other. Hashing runs at the speed of memory, several times as fast as packing; and a
 * file that is not in memory yet would have to be read without the cache too.
 *
 * Any number of processes may read and write at once: a file is complete before it gets its name,
 * and never changed afterwards. */
#ifndef RR_CORE_FILES_PACKS_H
#define RR_CORE_FILES_PACKS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/files/safetensors.h"
#include "core/kernel/kernel.h"

enum { RR_PACKS_TEXT_MAX = 512 };

typedef struct rr_packs rr_packs;

/* One layer, whose memory for packed_size bytes, 64-byte aligned, is there already. */
typedef struct rr_pack_item {
  const char *tensor; /* the name of its first tensor */
  const rr_gemm *gemm;
  size_t n;
  size_t k;
  void *packed;
} rr_pack_item;

/* What came of it. */
typedef struct rr_packs_report {
  bool read;
  bool written;
  char text[RR_PACKS_TEXT_MAX]; /* for people: the file, and why it was not read or written */
} rr_packs_report;

/* Prepares for n items (1 or more) of the model in `folder` whose weights are open. Borrows items,
 * which must outlive it, and keeps their order. NULL: no memory, or the path is too long; the
 * report's text says so. Freed by rr_packs_destroy. */
rr_packs *rr_packs_create(const char *folder, const rr_safetensors *weights,
                          const rr_pack_item *items, size_t n, rr_packs_report *report);
void rr_packs_destroy(rr_packs *packs); /* NULL is allowed */

/* Fills all items from the file. False: there is none that fits; the items' memory may then hold
 * anything. Sets report->read and its text. */
bool rr_packs_read(const rr_packs *packs, rr_packs_report *report);

/* Writes all items: into a temporary file in the same folder, onto the disk, and renamed. Sets
 * report->written and adds to its text; whatever fails is only told there. Blocks for as long as
 * the disk takes. */
void rr_packs_write(rr_packs *packs, rr_packs_report *report);

#endif
