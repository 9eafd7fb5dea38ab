#include "tests/core/packs_support.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/core/score_support.h"

char packs_folder[4096];

void packs_copy_model(const char *name) {
  static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                      "model.safetensors"};
  char source[PACKS_PATH];
  (void)snprintf(source, sizeof source, "%s", golden_path(name));
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    scratch_copy(source, packs_folder, files[i]);
  }
}

int packs_set_up(void **state) {
  (void)state;
  (void)snprintf(packs_folder, sizeof packs_folder, "%s", scratch_create());
  packs_copy_model("cross-encoder");
  return 0;
}

int packs_tear_down(void **state) {
  (void)state;
  scratch_remove(packs_folder);
  return 0;
}

rr_status packs_load(rr_dtype dtype, bool cache, packs_outcome *ret_outcome) {
  static const rr_text query = {"bread", 5};
  static const rr_text texts[PACKS_TEXTS] = {
      {"the baker keeps the oven warm", 29}, {"river", 5}, {"fresh bread and butter", 22}};
  const rr_load_options options = {.dtype = dtype, .pack_cache = cache};
  const rr_encode_options encode = {.truncate = true, .side = RR_TRUNCATE_RIGHT};
  rr_scorer *scorer = NULL;
  rr_workspace *workspace = NULL;
  packs_outcome outcome;
  rr_status status = rr_scorer_load(packs_folder, &options, &scorer, NULL);
  if (status == RR_OK) {
    status = rr_workspace_create(scorer, 64, &workspace, NULL);
  }
  if (status == RR_OK) {
    status =
        rr_scorer_rerank(workspace, query, texts, PACKS_TEXTS, &encode, true, outcome.scores, NULL);
  }
  if (status == RR_OK) {
    outcome.cache = rr_scorer_info(scorer)->pack_cache;
    (void)snprintf(outcome.note, sizeof outcome.note, "%s", rr_scorer_info(scorer)->pack_note);
    *ret_outcome = outcome;
  }
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
  return status;
}

packs_outcome packs_must_load(rr_dtype dtype, bool cache) {
  packs_outcome outcome = {.note = ""};
  assert_int_equal(packs_load(dtype, cache, &outcome), RR_OK);
  return outcome;
}

packs_outcome packs_expect(rr_dtype dtype, rr_pack_cache wanted) {
  packs_outcome plain = packs_must_load(dtype, false);
  packs_outcome cached = packs_must_load(dtype, true);
  if (cached.cache != wanted) {
    fail_msg("outcome %d instead of %d: %s", (int)cached.cache, (int)wanted, cached.note);
  }
  assert_memory_equal(cached.scores, plain.scores, sizeof plain.scores);
  return cached;
}

static size_t find(const char *pattern, char *ret_first, size_t size) {
  char path[PACKS_PATH];
  glob_t found;
  (void)snprintf(path, sizeof path, "%s/%s", packs_folder, pattern);
  int result = glob(path, 0, NULL, &found);
  assert_true(result == 0 || result == GLOB_NOMATCH);
  size_t count = result == 0 ? found.gl_pathc : 0;
  if (count > 0 && ret_first != NULL) {
    (void)snprintf(ret_first, size, "%s", found.gl_pathv[0]);
  }
  globfree(&found);
  return count;
}

const char *packs_file(void) {
  static char path[PACKS_PATH];
  assert_int_equal(find(".rerankd-*.pack", path, sizeof path), 1);
  return path;
}

size_t packs_count(void) { return find(".rerankd-*", NULL, 0); }
