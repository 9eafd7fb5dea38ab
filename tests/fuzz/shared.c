/* What the server behind the shared cache sends: read, however it is cut, with the same result,
 * within the bounds; and its values, of which none is right that was not made here.
 *
 * Input: a byte that says how long the pieces are that it comes in, a byte of how many values are
 * wanted, the bytes. */
#include <string.h>

#include "server/redis/reader.h"
#include "tests/fuzz/fuzz.h"

enum { ANSWERS = 16, FED_MAX = 16384 };

/* What came of reading all of it. */
typedef struct result {
  redis_answer answers[ANSWERS];
  size_t replies;
  redis_read end;
  redis_reply last;
} result;

static redis_keys keys;
static redis_digest key;

void fuzz_set_up(void) {
  const redis_digest model = {{0}};
  redis_keys_init(&keys, "not known to the fuzzer", &model);
}

static void read_all(const uint8_t *data, size_t size, size_t piece, size_t wanted,
                     result *ret_result) {
  redis_reader reader;
  memset(ret_result, 0, sizeof *ret_result);
  ret_result->end = REDIS_READ_MORE;
  fuzz_require(redis_reader_init(&reader), "no memory for a reader");
  redis_reader_expect(&reader, ret_result->answers, wanted);
  for (size_t at = 0; at < size && ret_result->end == REDIS_READ_MORE; at += piece) {
    redis_reply reply;
    fuzz_require(
        redis_reader_feed(&reader, (const char *)data + at, size - at < piece ? size - at : piece),
        "no memory");
    while ((ret_result->end = redis_reader_next(&reader, &reply)) == REDIS_READ_REPLY) {
      ret_result->replies++;
      ret_result->last = reply;
      fuzz_require(reply.kind != REDIS_ARRAY || reply.n <= wanted,
                   "an array longer than was asked for");
      fuzz_require(memchr(reply.text, '\0', sizeof reply.text) != NULL, "a text without an end");
    }
  }
  redis_reader_finish(&reader);
}

static void check_answers(const result *got, size_t wanted) {
  for (size_t i = 0; i < ANSWERS; i++) {
    const redis_answer *answer = &got->answers[i];
    lfu_value value;
    fuzz_require(answer->size == 0 || answer->size == REDIS_VALUE_BYTES, "a value of another size");
    fuzz_require(i < wanted || (answer->size == 0 && !answer->strange),
                 "a value beyond what was asked for");
    fuzz_require(!redis_value_read(&keys, &key, answer->bytes, answer->size, &value),
                 "a value that was made up");
  }
}

void fuzz_input(const uint8_t *data, size_t size) {
  static result whole;
  static result pieces;
  if (size < 2 || size > FED_MAX) {
    return;
  }
  size_t wanted = data[1] % (ANSWERS + 1);
  read_all(data + 2, size - 2, FED_MAX, wanted, &whole);
  check_answers(&whole, wanted);
  read_all(data + 2, size - 2, data[0] + 1u, wanted, &pieces);
  check_answers(&pieces, wanted);
  /* Fed at once, more of a reply may lie behind the bound before it is looked at. */
  fuzz_require(whole.replies == pieces.replies || whole.end == REDIS_READ_BROKEN ||
                   pieces.end == REDIS_READ_BROKEN,
               "pieces make another number of replies");
}
