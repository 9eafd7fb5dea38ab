/* Texts through every kind of tokenizer. Input: a digit that picks the tokenizer, a digit that says
 * how to truncate, a byte that says to how many tokens; then, in parts, the query and the text. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokens.h"

static const char *const names[] = {"uncased",          "cased-unaccented", "added",
                                    "uncased-accented", "uncleaned",        "vocabulary-cased",
                                    "unnormalized",     "no-han-spaces"};
enum { NAMES = sizeof names / sizeof names[0], HEAD = 3 };
static rr_tokenizer *tokenizers[NAMES];

void fuzz_set_up(void) {
  for (size_t i = 0; i < NAMES; i++) {
    char folder[64] = "token/";
    for (size_t j = 0; names[i][j] != '\0'; j++) {
      folder[6 + j] = names[i][j];
    }
    fuzz_require(rr_tokenizer_load(fuzz_golden(folder), &tokenizers[i], NULL) == RR_OK,
                 "no tokenizer");
  }
}

void fuzz_input(const uint8_t *data, size_t size) {
  if (size < HEAD) {
    return;
  }
  fuzz_part parts[2];
  fuzz_split(data + HEAD, size - HEAD, parts, 2);
  const rr_text a = {.data = (const char *)parts[0].data, .size = parts[0].size};
  const rr_text b = {.data = (const char *)parts[1].data, .size = parts[1].size};
  fuzz_tokenize(tokenizers[(unsigned char)(data[0] - '0') % NAMES], a, b, data[2], data[1]);
}
