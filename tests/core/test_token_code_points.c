/* Every Unicode code point against the reference, by digests. */
#include <inttypes.h>

#include "core/token/normalize.h"
#include "tests/core/token_support.h"

static const uint64_t FNV_START = UINT64_C(0xCBF29CE484222325);

static uint64_t fnv1a(const void *data, size_t size, uint64_t value) {
  const unsigned char *bytes = data;
  for (size_t i = 0; i < size; i++) {
    value = (value ^ bytes[i]) * UINT64_C(0x100000001B3);
  }
  return value;
}

typedef struct buffer {
  char data[256];
  size_t size;
} buffer;

static void append(buffer *to, const char *string) {
  for (; *string != '\0'; string++) {
    to->data[to->size++] = *string;
  }
}

static void append_code_point(buffer *to, uint32_t c) {
  to->size += rr_utf8_put(c, to->data + to->size);
}

static void put(void *sink, uint32_t c, unsigned flags) {
  (void)flags;
  append_code_point(sink, c);
}

/* "a{c}b {c} {c}\u0301x" */
static uint64_t digest_ids(const rr_tokenizer *tokenizer, uint32_t c, uint64_t value) {
  buffer text = {.size = 0};
  append(&text, "a");
  append_code_point(&text, c);
  append(&text, "b ");
  append_code_point(&text, c);
  append(&text, " ");
  append_code_point(&text, c);
  append(&text, "\u0301x");
  rr_arena arena;
  rr_arena_init(&arena, TEST_ARENA_LIMIT);
  rr_tokens tokens = tokens_of(tokenizer, (rr_text){text.data, text.size}, &arena);
  rr_encoding encoding;
  assert_int_equal(rr_tokenizer_single(tokenizer, &tokens, &UNTRUNCATED, &arena, &encoding, NULL),
                   RR_OK);
  for (size_t i = 0; i < encoding.length; i++) {
    uint32_t id = (uint32_t)encoding.ids[i];
    unsigned char bytes[4] = {(unsigned char)id, (unsigned char)(id >> 8),
                              (unsigned char)(id >> 16), (unsigned char)(id >> 24)};
    value = fnv1a(bytes, sizeof bytes, value);
  }
  rr_arena_finish(&arena);
  return fnv1a("\n", 1, value);
}

/* "\u0345{c}\u0327\u0334{c}Q", normalized */
static uint64_t digest_normalized(const rr_unicode *unicode, rr_normalizer normalizer, uint32_t c,
                                  uint64_t value) {
  const uint32_t text[] = {0x345, c, 0x327, 0x334, c, 'Q'};
  buffer normalized = {.size = 0};
  rr_normalization run;
  rr_normalization_init(&run, normalizer, unicode, 100, put, &normalized);
  for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
    rr_normalization_add(&run, text[i]);
  }
  rr_normalization_flush(&run);
  append(&normalized, "\n");
  return fnv1a(normalized.data, normalized.size, value);
}

static const rr_normalizer normalizers[] = {{true, true, true, true},
                                            {false, true, true, false},
                                            {false, false, false, true},
                                            {true, false, true, false}};

/* Reads the golden lines and calls digest for each block; every block of code points must be
 * there. */
static void compare_blocks(uint64_t (*digest)(void *data, uint32_t first), void *data,
                           bool second_column) {
  FILE *file = fopen(golden_path("code_points.txt"), "r");
  assert_non_null(file);
  uint32_t block;
  uint64_t ids;
  uint64_t normalized;
  size_t blocks = 0;
  size_t wrong = 0;
  while (fscanf(file, "%" SCNx32 " %" SCNx64 " %" SCNx64, &block, &ids, &normalized) == 3) {
    assert_in_range(block, 0, 0x10FF);
    if (digest(data, block << 8) != (second_column ? normalized : ids)) {
      (void)fprintf(stderr, "# differs: U+%04" PRIX32 "..U+%04" PRIX32 "\n", block << 8,
                    block << 8 | 255);
      wrong++;
    }
    blocks++;
  }
  (void)fclose(file);
  assert_int_equal(blocks, 0x1100 - 8);
  assert_int_equal(wrong, 0);
}

static uint64_t digest_block_ids(void *data, uint32_t first) {
  rr_tokenizer *const *tokenizers = data;
  uint64_t value = FNV_START;
  for (size_t i = 0; i < 2; i++) {
    for (uint32_t c = first; c < first + 256; c++) {
      value = digest_ids(tokenizers[i], c, value);
    }
  }
  return value;
}

static void ids_of_every_code_point_are_the_references(void **state) {
  (void)state;
  rr_tokenizer *tokenizers[2];
  tokenizers[0] = load_tokenizer(golden_path("uncased"));
  tokenizers[1] = load_tokenizer(golden_path("unnormalized"));
  compare_blocks(digest_block_ids, tokenizers, false);
  rr_tokenizer_destroy(tokenizers[1]);
  rr_tokenizer_destroy(tokenizers[0]);
}

static uint64_t digest_block_normalized(void *data, uint32_t first) {
  uint64_t value = FNV_START;
  for (uint32_t c = first; c < first + 256; c++) {
    for (size_t i = 0; i < sizeof normalizers / sizeof normalizers[0]; i++) {
      value = digest_normalized(data, normalizers[i], c, value);
    }
  }
  return value;
}

static void every_code_point_is_normalized_as_the_reference_does(void **state) {
  (void)state;
  rr_unicode unicode;
  assert_int_equal(rr_unicode_init(&unicode, NULL), RR_OK);
  compare_blocks(digest_block_normalized, &unicode, true);
  rr_unicode_finish(&unicode);
}

static void code_points_survive_utf8(void **state) {
  (void)state;
  for (uint32_t c = 0; c < 0x110000; c++) {
    char bytes[8] = "";
    size_t size = rr_utf8_put(c, bytes);
    bool surrogate = c >= 0xD800 && c < 0xE000;
    assert_int_equal(rr_utf8_check((rr_text){bytes, size}, NULL), surrogate ? RR_ERR_INPUT : RR_OK);
    if (!surrogate) {
      size_t position = 0;
      assert_int_equal(rr_utf8_next(bytes, &position), c);
      assert_int_equal(position, size);
      assert_int_equal(rr_utf8_previous(bytes, &position), c);
      assert_int_equal(position, 0);
    }
  }
}

int main(void) {
  rr_json_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(code_points_survive_utf8),
      cmocka_unit_test(every_code_point_is_normalized_as_the_reference_does),
      cmocka_unit_test(ids_of_every_code_point_are_the_references),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
