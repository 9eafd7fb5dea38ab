/* A whole model directory: what loads also scores, to a number or a clear failure. Input: a digit that picks
 * the number format; then, in parts, model.safetensors and config.json. */
#include <math.h>
#include <stdio.h>

#include "core/scorer.h"
#include "tests/fuzz/fuzz.h"

enum { TEXTS = 2, TOKENS = 64 };

void fuzz_set_up(void) {
  static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nbread\noven\nriver\n##s\n";
  char note[RR_KERNEL_NOTE_MAX];
  fuzz_require(rr_scorer_choose_kernels(NULL, note, NULL) == RR_OK, "no kernels");
  fuzz_write("vocab.txt", (fuzz_part){.data = (const uint8_t *)vocabulary, .size = sizeof vocabulary - 1});
}

static void score(const rr_scorer *scorer) {
  static const rr_text query = {"bread", 5};
  static const rr_text texts[TEXTS] = {{"rivers", 6}, {"bread oven bread bread bread bread", 34}};
  const rr_encode_options encode = {.truncate = true};
  float scores[TEXTS];
  rr_workspace *workspace = NULL;
  rr_error err = {.message = ""};
  rr_status status = rr_workspace_create(scorer, TOKENS, &workspace, &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    status = rr_scorer_rerank(workspace, query, texts, TEXTS, &encode, false, scores, &err);
    fuzz_require_status(status, &err);
    fuzz_require(status != RR_OK || (isfinite(scores[0]) && isfinite(scores[1])), "a score that is no number");
  }
  rr_workspace_destroy(workspace);
}

void fuzz_input(const uint8_t *data, size_t size) {
  if (size == 0) {
    return;
  }
  fuzz_part parts[2];
  fuzz_split(data + 1, size - 1, parts, 2);
  fuzz_write("model.safetensors", parts[0]);
  fuzz_write("config.json", parts[1]);
  const rr_load_options options = {.dtype = (rr_dtype)((unsigned char)(data[0] - '0') % 3)};
  rr_scorer *scorer = NULL;
  rr_error err = {.message = ""};
  rr_status status = rr_scorer_load(fuzz_folder(), &options, &scorer, &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    score(scorer);
    rr_scorer_destroy(scorer);
  }
}
