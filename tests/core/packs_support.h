/* Shared by the tests of the pack cache: a model in a folder of its own, loaded and asked. */
#ifndef RR_TESTS_CORE_PACKS_SUPPORT_H
#define RR_TESTS_CORE_PACKS_SUPPORT_H

#include <stddef.h>

#include "core/scorer.h"

enum { PACKS_TEXTS = 3, PACKS_PATH = 4400 };

/* Scores to the bit, and what the scorer said about its pack cache. */
typedef struct packs_outcome {
  float scores[PACKS_TEXTS];
  rr_pack_cache cache;
  char note[1024];
} packs_outcome;

/* The scratch folder of the test that runs. */
extern char packs_folder[4096];

/* A cmocka set-up and tear-down: packs_folder with the small cross-encoder in it, and its
 * removal. */
int packs_set_up(void **state);
int packs_tear_down(void **state);

/* Puts the files of a golden model into packs_folder, over those of another. */
void packs_copy_model(const char *name);

/* Loads packs_folder and scores fixed texts. */
rr_status packs_load(rr_dtype dtype, bool cache, packs_outcome *ret_outcome);
packs_outcome packs_must_load(rr_dtype dtype, bool cache);

/* Loads with the cache, and fails the test unless that ends as `wanted` with the scores of a load
 * without cache, to the bit. */
packs_outcome packs_expect(rr_dtype dtype, rr_pack_cache wanted);

/* The path of the one *.pack in packs_folder; fails the test if there is not exactly one. Static
 * storage, valid until the next call. */
const char *packs_file(void);

/* How many files in packs_folder belong to the cache, temporary ones too. */
size_t packs_count(void);

#endif
