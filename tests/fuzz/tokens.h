/* Shared by the targets that have a tokenizer. */
#ifndef RR_TESTS_FUZZ_TOKENS_H
#define RR_TESTS_FUZZ_TOKENS_H

#include "core/base/text.h"
#include "core/token/tokenizer.h"

/* Tokenizes a, alone and in a pair with b, cut to max_length tokens as `how` says, and checks what
 * comes out. */
void fuzz_tokenize(const rr_tokenizer *tokenizer, rr_text a, rr_text b, size_t max_length,
                   unsigned how);

/* A tokenizer of the fuzzer's folder: loads it, and tokenizes a fixed text and the given one. */
void fuzz_load_and_tokenize(rr_text text);

#endif
