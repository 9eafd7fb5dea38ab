#include "tests/fuzz/tokens.h"

#include "tests/fuzz/fuzz.h"

enum { ARENA = 8 << 20 };

static void require_encoding(const rr_tokenizer *tokenizer, const rr_encoding *encoding,
                             size_t max_length) {
  fuzz_require(encoding->length <= max_length, "a sequence that is too long");
  for (size_t i = 0; i < encoding->length; i++) {
    fuzz_require(encoding->ids[i] >= 0 &&
                     (size_t)encoding->ids[i] < rr_tokenizer_id_bound(tokenizer),
                 "an id out of bounds");
  }
}

void fuzz_tokenize(const rr_tokenizer *tokenizer, rr_text a, rr_text b, size_t max_length,
                   unsigned how) {
  const rr_truncation truncation = {.max_length = max_length,
                                    .enabled = (how & 1) != 0,
                                    .left = (how & 2) != 0,
                                    .cut = (how & 4) != 0 ? RR_CUT_TEXT : RR_CUT_LONGEST};
  rr_arena arena;
  rr_tokens tokens[2];
  rr_encoding encoding;
  rr_error err = {.message = ""};
  rr_arena_init(&arena, ARENA);
  rr_status status = rr_tokenizer_tokens(tokenizer, a, &arena, &tokens[0], &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    status = rr_tokenizer_single(tokenizer, &tokens[0], &truncation, &arena, &encoding, &err);
    fuzz_require_status(status, &err);
    if (status == RR_OK) {
      require_encoding(tokenizer, &encoding, max_length);
    }
    status = rr_tokenizer_tokens(tokenizer, b, &arena, &tokens[1], &err);
    fuzz_require_status(status, &err);
  }
  if (status == RR_OK) {
    status =
        rr_tokenizer_pair(tokenizer, &tokens[0], &tokens[1], &truncation, &arena, &encoding, &err);
    fuzz_require_status(status, &err);
    if (status == RR_OK) {
      require_encoding(tokenizer, &encoding, max_length);
    }
  }
  rr_arena_finish(&arena);
}

void fuzz_load_and_tokenize(rr_text text) {
  static const char fixed[] =
      "The caf\xc3\xa9 [MASK] by the r\xc3\xadver, \xe4\xb8\xad\xe6\x96\x87 "
      "\xf0\x9f\x98\x80 A\xcc\x8a\xcc\xa3 un\xc2\xadhappily 12.5% <tag>\t\x01\xef\xbf\xbd";
  rr_tokenizer *tokenizer = NULL;
  rr_error err = {.message = ""};
  rr_status status = rr_tokenizer_load(fuzz_folder(), &tokenizer, &err);
  fuzz_require_status(status, &err);
  if (status != RR_OK) {
    fuzz_require(tokenizer == NULL, "an output of a failure");
    return;
  }
  const rr_text known = {.data = fixed, .size = sizeof fixed - 1};
  fuzz_tokenize(tokenizer, known, text, 16, 1);
  fuzz_tokenize(tokenizer, text, known, 8, 7);
  (void)rr_tokenizer_max_length(tokenizer);
  (void)rr_tokenizer_pair_specials(tokenizer);
  rr_tokenizer_destroy(tokenizer);
}
