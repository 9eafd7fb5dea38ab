/* What the shared cache is made of, each part alone: its keys and values, its address, the breaker,
 * what it reads and what it writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "server/redis/address.h"
#include "server/redis/breaker.h"
#include "server/redis/commands.h"
#include "server/redis/keys.h"
#include "server/redis/reader.h"
#include "server/redis/stores.h"

static rr_text text_of(const char *text) { return (rr_text){text, strlen(text)}; }

static redis_keys keys_of(const char *secret) {
  redis_digest model;
  redis_keys keys;
  for (size_t i = 0; i < sizeof model.bytes; i++) {
    model.bytes[i] = (uint8_t)i;
  }
  redis_keys_init(&keys, secret, &model);
  return keys;
}

static const rr_encode_options usual = {.truncate = true, .cut = RR_CUT_TEXT};
static const lfu_value some_value = {
    .raw = -1.5f, .text_tokens = 4, .length = 12, .truncated = 1, .query_length = 7};

static redis_digest key_of(const redis_keys *keys, const char *query, const char *text,
                           const rr_encode_options *options) {
  redis_query hashed;
  redis_query_init(&hashed, keys, text_of(query), options);
  return redis_query_key(&hashed, text_of(text));
}

static bool same(redis_digest a, redis_digest b) { return memcmp(&a, &b, sizeof a) == 0; }

static void from_hex(const char *hex, uint8_t *ret_bytes, size_t size) {
  assert_int_equal(strlen(hex), 2 * size);
  for (size_t i = 0; i < size; i++) {
    unsigned byte;
    assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
    ret_bytes[i] = (uint8_t)byte;
  }
}

/* --- keys and values --- */

/* Made by Python's hmac and struct from the description in server/redis/keys.h. */
static const struct {
  const char *secret, *key, *value;
} golden[] = {
    {"", "c4676a87f1e148ea9dbb8184366c627aec67bbee5fad595621c2c71234779862",
     "010000000000c0bf040000000c00008007000000f2883a3682c954c7148bbff5baa38b86"},
    {"a secret", "6d17d0c6029c687d7114c383e4762cc9d48e176ec0260896af16826f9f61464e",
     "010000000000c0bf040000000c0000800700000027b1e6e5adf154a53f91b4efe9008479"},
};

static void keys_and_values_are_what_other_replicas_make(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
    redis_keys keys = keys_of(golden[i].secret);
    redis_digest wanted;
    uint8_t value[REDIS_VALUE_BYTES];
    uint8_t wanted_value[REDIS_VALUE_BYTES];
    from_hex(golden[i].key, wanted.bytes, sizeof wanted.bytes);
    from_hex(golden[i].value, wanted_value, sizeof wanted_value);
    redis_digest key = key_of(&keys, "how do bees make honey", "Bees fan nectar.", &usual);
    assert_memory_equal(key.bytes, wanted.bytes, sizeof key.bytes);
    redis_value_write(&keys, &key, &some_value, value);
    assert_memory_equal(value, wanted_value, sizeof value);
  }
}

static void whatever_differs_makes_another_key(void **state) {
  (void)state;
  redis_keys keys = keys_of("");
  redis_keys other_secret = keys_of("s");
  redis_keys other_model = keys;
  other_model.model.bytes[31] ^= 1;
  const rr_encode_options options[] = {{0},
                                       {.truncate = true},
                                       {.side = RR_TRUNCATE_LEFT},
                                       {.cut = RR_CUT_TEXT},
                                       {.cut = RR_CUT_TEXT_IF_POSSIBLE},
                                       {.max_length = 1},
                                       {.max_text_tokens = 1},
                                       {.alone = true}};
  enum { OPTIONS = sizeof options / sizeof options[0], N = OPTIONS + 6 };
  redis_digest made[N];
  size_t n = 0;
  for (; n < OPTIONS; n++) {
    made[n] = key_of(&keys, "query", "text", &options[n]);
  }
  made[n++] = key_of(&keys, "queryt", "ext", &options[0]);
  made[n++] = key_of(&keys, "text", "query", &options[0]);
  made[n++] = key_of(&keys, "", "querytext", &options[0]);
  made[n++] = key_of(&keys, "query", "", &options[0]);
  made[n++] = key_of(&other_secret, "query", "text", &options[0]);
  made[n++] = key_of(&other_model, "query", "text", &options[0]);
  assert_int_equal(n, N);
  for (size_t i = 0; i < N; i++) {
    for (size_t j = 0; j < i; j++) {
      assert_false(same(made[i], made[j]));
    }
  }
}

static void a_value_comes_back_as_it_was(void **state) {
  (void)state;
  redis_keys keys = keys_of("s");
  redis_digest key = key_of(&keys, "q", "t", &usual);
  const lfu_value values[] = {some_value,
                              {.raw = 0.1f,
                               .text_tokens = UINT32_MAX,
                               .length = 0x7fffffff,
                               .query_length = 0x7fffffff,
                               .query_truncated = 1},
                              {.raw = -0.0f}};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    uint8_t bytes[REDIS_VALUE_BYTES];
    lfu_value got;
    memset(&got, 0x5a, sizeof got);
    redis_value_write(&keys, &key, &values[i], bytes);
    assert_true(redis_value_read(&keys, &key, bytes, sizeof bytes, &got));
    assert_memory_equal(&got.raw, &values[i].raw, sizeof got.raw); /* to the bit */
    assert_int_equal(got.text_tokens, values[i].text_tokens);
    assert_int_equal(got.length, values[i].length);
    assert_int_equal(got.truncated, values[i].truncated);
    assert_int_equal(got.query_length, values[i].query_length);
    assert_int_equal(got.query_truncated, values[i].query_truncated);
  }
}

static void what_is_damaged_or_of_another_key_is_no_value(void **state) {
  (void)state;
  redis_keys keys = keys_of("s");
  redis_keys other = keys_of("t");
  redis_digest key = key_of(&keys, "q", "t", &usual);
  redis_digest other_key = key_of(&keys, "q", "u", &usual);
  uint8_t bytes[REDIS_VALUE_BYTES + 1] = {0};
  lfu_value got = {.raw = 9};
  redis_value_write(&keys, &key, &some_value, bytes);
  for (size_t bit = 0; bit < 8 * (size_t)REDIS_VALUE_BYTES; bit++) {
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_false(redis_value_read(&keys, &key, bytes, REDIS_VALUE_BYTES, &got));
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t size = 0; size <= sizeof bytes; size++) {
    assert_int_equal(redis_value_read(&keys, &key, bytes, size, &got), size == REDIS_VALUE_BYTES);
  }
  got.raw = 9;
  assert_false(redis_value_read(&keys, &other_key, bytes, REDIS_VALUE_BYTES, &got));
  assert_false(redis_value_read(&other, &key, bytes, REDIS_VALUE_BYTES, &got));
  const lfu_value infinite = {.raw = (float)(1e30 * 1e30), .length = 3};
  redis_value_write(&keys, &key, &infinite, bytes);
  assert_false(redis_value_read(&keys, &key, bytes, REDIS_VALUE_BYTES, &got));
  assert_true(got.raw == 9);
}

/* --- the address --- */

static void addresses_are_taken_apart(void **state) {
  (void)state;
  static const struct {
    const char *url, *host, *port, *user, *password;
    unsigned database;
    bool local, name;
  } right[] = {
      {"redis://cache", "cache", "6379", "", "", 0, false, true},
      {"valkey://10.0.0.7:7000/3", "10.0.0.7", "7000", "", "", 3, false, false},
      {"redis://[::1]:7000/", "::1", "7000", "", "", 0, false, false},
      {"redis://:p%40ss%2f@cache:1", "cache", "1", "", "p@ss/", 0, false, true},
      {"redis://app:s3@cache.example.org", "cache.example.org", "6379", "app", "s3", 0, false,
       true},
      {"/run/valkey.sock", "/run/valkey.sock", "", "", "", 0, true, false},
      {"unix:/run/valkey.sock", "/run/valkey.sock", "", "", "", 0, true, false},
      {"unix:///run/valkey.sock", "/run/valkey.sock", "", "", "", 0, true, false},
  };
  for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
    redis_address got;
    assert_int_equal(redis_address_parse(right[i].url, NULL, &got, NULL), RR_OK);
    assert_string_equal(got.host, right[i].host);
    assert_string_equal(got.port, right[i].port);
    assert_string_equal(got.user, right[i].user);
    assert_string_equal(got.password, right[i].password);
    assert_int_equal(got.database, right[i].database);
    assert_int_equal(got.local, right[i].local);
    assert_int_equal(redis_address_is_name(&got), right[i].name);
    assert_int_equal(redis_address_parse(right[i].url, "other", &got, NULL), RR_OK);
    assert_string_equal(got.password, "other");
  }
}

static void wrong_addresses_are_refused_without_telling_them(void **state) {
  (void)state;
  static const char *const wrong[] = {"",
                                      "cache:6379",
                                      "http://secret@cache",
                                      "rediss://:secret@cache",
                                      "redis://:secret@",
                                      "redis://:secret@cache:99999",
                                      "redis://:secret@cache/x",
                                      "redis://:secret@cache/65536",
                                      "redis://:secret@cache/0/1",
                                      "redis://:secret@ca che",
                                      "unix:secret"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    redis_address got = {.database = 7};
    rr_error error;
    assert_int_equal(redis_address_parse(wrong[i], NULL, &got, &error), RR_ERR_INPUT);
    assert_null(strstr(error.message, "secret"));
    assert_int_equal(got.database, 7);
  }
  char longer[700];
  redis_address got;
  memset(longer, 'x', sizeof longer - 1);
  longer[sizeof longer - 1] = '\0';
  assert_int_equal(redis_address_parse("redis://cache", longer, &got, NULL), RR_ERR_INPUT);
  longer[0] = '/';
  assert_int_equal(redis_address_parse(longer, NULL, &got, NULL), RR_ERR_INPUT);
}

/* --- the breaker --- */

static const uint64_t ms = 1000000;

static void the_breaker_opens_after_failures_in_a_row(void **state) {
  (void)state;
  redis_breaker breaker = {0};
  assert_false(breaker.closed);
  redis_breaker_greeted(&breaker);
  for (int turn = 0; turn < 3; turn++) {
    for (int i = 0; i < REDIS_FAILURES_MAX - 1; i++) {
      assert_false(redis_breaker_failed(&breaker, 1000 * ms, 0));
      assert_true(breaker.closed);
    }
    redis_breaker_answered(&breaker);
  }
  for (int i = 0; i < REDIS_FAILURES_MAX - 1; i++) {
    assert_false(redis_breaker_failed(&breaker, 1000 * ms, 0));
  }
  assert_true(redis_breaker_failed(&breaker, 1000 * ms, 0));
  assert_false(breaker.closed);
  assert_int_equal(breaker.until, 1000 * ms + REDIS_WAIT_FIRST / 2);
  assert_false(redis_breaker_failed(&breaker, 1000 * ms, 0)); /* those that were under way */
}

static void waits_grow_to_a_bound_until_something_is_answered(void **state) {
  (void)state;
  redis_breaker breaker = {0};
  uint64_t now = 5 * ms;
  uint64_t last = 0;
  for (int i = 0; i < 40; i++) {
    redis_breaker_greeted(&breaker); /* greetings alone do not count */
    redis_breaker_lost(&breaker, now, UINT32_MAX);
    uint64_t wait = breaker.until - now;
    assert_true(i == 0 ? wait == REDIS_WAIT_FIRST : wait >= last && wait <= REDIS_WAIT_MAX);
    assert_true(i == 0 || wait == REDIS_WAIT_MAX || wait == 2 * last);
    last = wait;
    now += wait;
  }
  assert_int_equal(last, REDIS_WAIT_MAX);
  redis_breaker_lost(&breaker, now, 0);
  assert_int_equal(breaker.until - now, REDIS_WAIT_MAX / 2);
  redis_breaker_greeted(&breaker);
  redis_breaker_answered(&breaker);
  redis_breaker_lost(&breaker, now, UINT32_MAX);
  assert_int_equal(breaker.until - now, REDIS_WAIT_FIRST);
}

/* --- reading --- */

enum { ANSWERS = 4 };

static redis_answer answers[ANSWERS];

/* Feeds in pieces of so many bytes. Returns what the last piece, or the first that is more than
 * "more", gave. */
static redis_read feed(redis_reader *reader, const char *bytes, size_t size, size_t piece,
                       redis_reply *ret_reply) {
  redis_read found = REDIS_READ_MORE;
  for (size_t at = 0; at < size && found == REDIS_READ_MORE; at += piece) {
    assert_true(redis_reader_feed(reader, bytes + at, size - at < piece ? size - at : piece));
    found = redis_reader_next(reader, ret_reply);
  }
  return found;
}

static redis_read read_whole(const char *bytes, size_t size, size_t piece, redis_reply *ret_reply) {
  redis_reader reader;
  memset(answers, 0, sizeof answers);
  assert_true(redis_reader_init(&reader));
  redis_reader_expect(&reader, answers, ANSWERS);
  redis_read found = feed(&reader, bytes, size, piece, ret_reply);
  redis_reader_finish(&reader);
  return found;
}

#define READ(bytes, piece, reply) read_whole(bytes, sizeof(bytes) - 1, piece, reply)

#define VALUE "$36\r\n012345678901234567890123456789abcdef\r\n"

static void replies_are_read_whole_or_by_the_byte(void **state) {
  (void)state;
  for (size_t piece = 1; piece < 200; piece += 13) {
    redis_reply reply;
    assert_int_equal(READ("+PONG\r\n", piece, &reply), REDIS_READ_REPLY);
    assert_int_equal(reply.kind, REDIS_STATUS);
    assert_string_equal(reply.text, "PONG");
    assert_int_equal(READ("-ERR what\x07\r\n", piece, &reply), REDIS_READ_REPLY);
    assert_int_equal(reply.kind, REDIS_ERROR);
    assert_string_equal(reply.text, "ERR what!");
    assert_int_equal(READ("*4\r\n" VALUE "$-1\r\n" VALUE "$3\r\nabc\r\n", piece, &reply),
                     REDIS_READ_REPLY);
    assert_int_equal(reply.kind, REDIS_ARRAY);
    assert_int_equal(reply.n, 4);
    assert_int_equal(answers[0].size, REDIS_VALUE_BYTES);
    assert_memory_equal(answers[2].bytes, "012345678901234567890123456789abcdef",
                        REDIS_VALUE_BYTES);
    assert_true(answers[1].size == 0 && !answers[1].strange);
    assert_true(answers[3].size == 0 && answers[3].strange);
  }
}

static void what_is_no_value_leaves_its_place_empty(void **state) {
  (void)state;
  redis_reply reply;
  assert_int_equal(
      READ("*4\r\n:7\r\n+012345678901234567890123456789abcdef\r\n-ERR\r\n$0\r\n\r\n", 64, &reply),
      REDIS_READ_REPLY);
  for (size_t i = 0; i < ANSWERS; i++) {
    assert_true(answers[i].size == 0 && answers[i].strange);
  }
  assert_int_equal(READ("*1\r\n" VALUE, 64, &reply), REDIS_READ_REPLY);
  assert_int_equal(reply.n, 1); /* too few: the caller's to see */
  assert_int_equal(READ(":5\r\n", 64, &reply), REDIS_READ_REPLY);
  assert_int_equal(reply.kind, REDIS_OTHER);
  assert_int_equal(READ("$-1\r\n", 64, &reply), REDIS_READ_REPLY);
  assert_int_equal(reply.kind, REDIS_OTHER);
}

static void what_is_no_reply_or_too_large_ends_it(void **state) {
  (void)state;
  redis_reply reply;
  assert_int_equal(READ("HTTP/1.1 400 Bad Request\r\n\r\n", 64, &reply), REDIS_READ_BROKEN);
  assert_int_equal(READ("*5\r\n", 64, &reply), REDIS_READ_BROKEN);
  assert_int_equal(READ("*2147483647\r\n", 64, &reply), REDIS_READ_BROKEN);
  assert_int_equal(READ("*99999999999999999999\r\n", 64, &reply), REDIS_READ_BROKEN);
  assert_int_equal(READ("*1\r\n*1\r\n*1\r\n:1\r\n", 64, &reply), REDIS_READ_BROKEN);
  assert_int_equal(READ("$-7\r\n", 64, &reply), REDIS_READ_BROKEN);
  static char large[REDIS_ITEM_MAX + 4096];
  memset(large, 'x', sizeof large);
  memcpy(large, "$1000000\r\n", 10);
  assert_int_equal(read_whole(large, sizeof large, 1000, &reply), REDIS_READ_BROKEN);
  memset(large, 'x', 10);
  large[0] = '+';
  assert_int_equal(read_whole(large, sizeof large, 1000, &reply), REDIS_READ_BROKEN);
}

static void answers_that_nobody_waits_for_are_passed_over(void **state) {
  (void)state;
  static const char half[] = "*2\r\n" VALUE;
  redis_reader reader;
  redis_reply reply;
  memset(answers, 0, sizeof answers);
  assert_true(redis_reader_init(&reader));
  redis_reader_expect(&reader, answers, 2);
  assert_int_equal(feed(&reader, half, sizeof half - 1, 64, &reply), REDIS_READ_MORE);
  assert_int_equal(answers[0].size, REDIS_VALUE_BYTES);
  redis_reader_expect(&reader, NULL, 2); /* in the middle */
  assert_int_equal(feed(&reader, VALUE, sizeof VALUE - 1, 64, &reply), REDIS_READ_REPLY);
  assert_int_equal(reply.n, 2);
  assert_int_equal(answers[1].size, 0);
  redis_reader_finish(&reader);
}

/* --- writing --- */

static void commands_are_made_to_the_byte(void **state) {
  (void)state;
  redis_commands commands;
  redis_digest keys[2];
  uint8_t value[REDIS_VALUE_BYTES];
  size_t size;
  memset(&keys[0], 'a', sizeof keys[0]);
  memset(&keys[1], 'b', sizeof keys[1]);
  memset(value, 'v', sizeof value);
  redis_commands_init(&commands, "p:", 3600);
  char *question = redis_commands_question(&commands, keys, 2, &size);
  static const char wanted[] = "*3\r\n$4\r\nMGET\r\n$34\r\np:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"
                               "$34\r\np:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n";
  assert_int_equal(size, sizeof wanted - 1);
  assert_memory_equal(question, wanted, size);
  rr_free(question);
  static const char wanted_stores[] =
      "*5\r\n$3\r\nSET\r\n$34\r\np:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n$"
      "36\r\nvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n"
      "$2\r\nEX\r\n$4\r\n3600\r\n"
      "*5\r\n$3\r\nSET\r\n$34\r\np:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n$"
      "36\r\nvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n"
      "$2\r\nEX\r\n$4\r\n3600\r\n";
  assert_int_equal(2 * commands.store_size, sizeof wanted_stores - 1);
  char *stores = redis_commands_stores(&commands, 2);
  redis_commands_put(&commands, stores, 1, &keys[1], value);
  redis_commands_put(&commands, stores, 0, &keys[0], value);
  assert_memory_equal(stores, wanted_stores, sizeof wanted_stores - 1);
  rr_free(stores);
  const char *const words[] = {"AUTH", "", "pass word"};
  char *plain = redis_commands_plain(words, 3, &size);
  assert_int_equal(size, strlen("*3\r\n$4\r\nAUTH\r\n$0\r\n\r\n$9\r\npass word\r\n"));
  assert_memory_equal(plain, "*3\r\n$4\r\nAUTH\r\n$0\r\n\r\n$9\r\npass word\r\n", size);
  rr_free(plain);
}

static void the_longest_prefix_has_room(void **state) {
  (void)state;
  char prefix[REDIS_PREFIX_MAX + 1];
  memset(prefix, 'p', REDIS_PREFIX_MAX);
  prefix[REDIS_PREFIX_MAX] = '\0';
  redis_commands commands;
  redis_digest key = {{0}};
  const uint8_t value[REDIS_VALUE_BYTES] = {0};
  size_t size;
  redis_commands_init(&commands, prefix, UINT64_MAX);
  char *stores = redis_commands_stores(&commands, 1);
  redis_commands_put(&commands, stores, 0, &key, value);
  rr_free(stores);
  rr_free(redis_commands_question(&commands, &key, 1, &size));
}

static char *numbered(size_t n, size_t each, char first) {
  char *commands = rr_malloc(n * each);
  assert_non_null(commands);
  for (size_t i = 0; i < n; i++) {
    memset(commands + i * each, first + (char)(i % 26), each);
  }
  return commands;
}

static void stores_go_out_in_their_order_and_in_steps(void **state) {
  (void)state;
  redis_stores stores = {.each = 10};
  assert_true(
      redis_stores_add(&stores, numbered(REDIS_STORE_STEP + 1, 10, 'a'), REDIS_STORE_STEP + 1));
  assert_true(redis_stores_add(&stores, numbered(2, 10, 'A'), 2));
  const size_t steps[] = {REDIS_STORE_STEP, 1, 2, 0};
  const char *const first = "agA";
  for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
    char *commands = NULL;
    assert_int_equal(redis_stores_step(&stores, &commands), steps[i]);
    assert_true(steps[i] == 0 || commands[0] == first[i]);
    rr_free(commands);
  }
  assert_int_equal(stores.bytes, 0);
}

static void stores_are_bounded(void **state) {
  (void)state;
  enum { EACH = 1 << 20 };
  redis_stores stores = {.each = EACH};
  assert_true(redis_stores_add(&stores, numbered(7, EACH, 'a'), 7));
  assert_false(redis_stores_add(&stores, numbered(2, EACH, 'a'), 2));
  assert_true(redis_stores_add(&stores, numbered(1, EACH, 'a'), 1));
  assert_int_equal(stores.bytes, REDIS_STORES_MAX);
  assert_int_equal(redis_stores_drop(&stores), 8);
  assert_int_equal(stores.bytes, 0);
  assert_false(redis_stores_add(&stores, numbered(9, EACH, 'a'), 9));
}

/* --- without memory --- */

static void without_memory_nothing_is_made_and_nothing_is_lost(void **state) {
  (void)state;
  redis_commands commands;
  redis_digest key = {{0}};
  redis_stores stores = {.each = 10};
  size_t size;
  char *out = NULL;
  const char *const words[] = {"PING"};
  redis_commands_init(&commands, "p:", 1);
  rr_alloc_fail_at(1, 1);
  assert_null(redis_commands_question(&commands, &key, 1, &size));
  assert_null(redis_commands_stores(&commands, 1));
  assert_null(redis_commands_plain(words, 1, &size));
  rr_alloc_fail_at(0, 0);
  char *made = numbered(3, 10, 'a');
  rr_alloc_fail_at(1, 1);
  assert_false(redis_stores_add(&stores, made, 3)); /* and freed */
  rr_alloc_fail_at(0, 0);
  assert_true(redis_stores_add(&stores, numbered(3, 10, 'a'), 3));
  rr_alloc_fail_at(1, 1);
  assert_int_equal(redis_stores_step(&stores, &out), 0);
  rr_alloc_fail_at(0, 0);
  assert_int_equal(redis_stores_drop(&stores), 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_and_values_are_what_other_replicas_make),
      cmocka_unit_test(whatever_differs_makes_another_key),
      cmocka_unit_test(a_value_comes_back_as_it_was),
      cmocka_unit_test(what_is_damaged_or_of_another_key_is_no_value),
      cmocka_unit_test(addresses_are_taken_apart),
      cmocka_unit_test(wrong_addresses_are_refused_without_telling_them),
      cmocka_unit_test(the_breaker_opens_after_failures_in_a_row),
      cmocka_unit_test(waits_grow_to_a_bound_until_something_is_answered),
      cmocka_unit_test(replies_are_read_whole_or_by_the_byte),
      cmocka_unit_test(what_is_no_value_leaves_its_place_empty),
      cmocka_unit_test(what_is_no_reply_or_too_large_ends_it),
      cmocka_unit_test(answers_that_nobody_waits_for_are_passed_over),
      cmocka_unit_test(commands_are_made_to_the_byte),
      cmocka_unit_test(the_longest_prefix_has_room),
      cmocka_unit_test(stores_go_out_in_their_order_and_in_steps),
      cmocka_unit_test(stores_are_bounded),
      cmocka_unit_test(without_memory_nothing_is_made_and_nothing_is_lost),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
