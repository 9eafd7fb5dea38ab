/* A whole model directory: what loads also scores, to a number or a clear failure. Input: a digit
 * that picks the number format; then, in parts, model.safetensors and config.json. */
#include <math.h>
#include <stdio.h>

#include "core/scorer.h"
#include "tests/fuzz/fuzz.h"

enum { TEXTS = 2, TOKENS = 64, KEPT_BYTES = 1 << 16 };

void fuzz_set_up(void) {
  static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nbread\noven\nriver\n##s\n";
  char note[RR_KERNEL_NOTE_MAX];
  fuzz_require(rr_scorer_choose_kernels(NULL, note, NULL) == RR_OK, "no kernels");
  fuzz_write("vocab.txt",
             (fuzz_part){.data = (const uint8_t *)vocabulary, .size = sizeof vocabulary - 1});
}

/* A text leaves its kept state, and scores the same from that. */
static void score_kept(const rr_scorer *scorer, rr_workspace *workspace, rr_text query,
                       rr_text text) {
  static _Alignas(16) char bytes[KEPT_BYTES];
  rr_encode_options encode = {.truncate = true};
  rr_arena arena;
  rr_encoded encoded;
  rr_error err = {.message = ""};
  float scores[2];
  rr_arena_init(&arena, 1 << 20);
  rr_status status = rr_scorer_encode(scorer, query, &text, 1, &encode, &arena, &encoded, &err);
  fuzz_require_status(status, &err);
  rr_sequence *last = status == RR_OK ? &encoded.sequences[encoded.sequence_of[0]] : NULL;
  size_t size = last == NULL ? 0 : rr_scorer_kept_bytes(scorer, last);
  if (size > 0 && size <= KEPT_BYTES) {
    bool pair = rr_scorer_info(scorer)->kind == RR_CROSS_ENCODER;
    rr_sequence *all[2] = {&encoded.sequences[0], last};
    if (pair) {
      rr_scorer_kept_place(scorer, last, bytes);
    }
    fuzz_require(rr_scorer_forward(workspace, all, pair ? 1 : 2, &err) == RR_OK, err.message);
    if (!pair) {
      rr_scorer_kept_write(scorer, last, bytes);
    }
    const rr_kept kept = {.data = bytes, .size = size};
    encode.kept = &kept;
    if (rr_scorer_scores(scorer, &encoded, true, &scores[0], &err) == RR_OK) {
      status = rr_scorer_rerank(workspace, query, &text, 1, &encode, true, &scores[1], &err);
      fuzz_require_status(status, &err);
      fuzz_require(status != RR_OK || scores[0] == scores[1], "a text kept scores otherwise");
    }
  }
  rr_arena_finish(&arena);
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
    if (status == RR_OK && rr_scorer_info(scorer)->keeps_texts) {
      score_kept(scorer, workspace, query, texts[1]);
    }
    fuzz_require(status != RR_OK || (isfinite(scores[0]) && isfinite(scores[1])),
                 "a score that is no number");
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
