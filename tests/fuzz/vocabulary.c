/* vocab.txt with its configuration. Input, in parts: vocab.txt, tokenizer_config.json, a text. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokens.h"

void fuzz_set_up(void) {}

void fuzz_input(const uint8_t *data, size_t size) {
  fuzz_part parts[3];
  fuzz_split(data, size, parts, 3);
  fuzz_write("vocab.txt", parts[0]);
  fuzz_write("tokenizer_config.json", parts[1]);
  fuzz_load_and_tokenize((rr_text){.data = (const char *)parts[2].data, .size = parts[2].size});
}
