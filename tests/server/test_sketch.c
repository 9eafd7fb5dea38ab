/* Counts that are never too small but for fading, and rarely too large. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "server/cache/sketch.h"

enum { ENTRIES = 4096 };

/* splitmix64's finaliser: numbers into hashes, one to one. */
static uint64_t hash_of(uint64_t number) {
  uint64_t z = (number + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static int set_up(void **state) {
  sketch *self = rr_calloc(1, sizeof *self);
  uint64_t *memory = rr_calloc(1, sketch_bytes(ENTRIES));
  if (self == NULL || memory == NULL) {
    return -1;
  }
  sketch_init(self, memory, ENTRIES);
  *state = self;
  return 0;
}

static int tear_down(void **state) {
  sketch *self = *state;
  rr_free(self->words);
  rr_free(self);
  return 0;
}

static void counts_are_exact_while_there_are_few(void **state) {
  sketch *self = *state;
  for (unsigned n = 0; n < 10; n++) {
    for (unsigned i = 0; i < n; i++) {
      sketch_add(self, hash_of(n));
    }
  }
  unsigned wrong = 0;
  for (unsigned n = 0; n < 10; n++) {
    assert_true(sketch_estimate(self, hash_of(n)) >= n);
    wrong += sketch_estimate(self, hash_of(n)) != n;
  }
  assert_int_equal(wrong, 0);
  assert_int_equal(sketch_estimate(self, hash_of(10)), 0);
}

static void a_count_stops_at_its_maximum(void **state) {
  sketch *self = *state;
  for (unsigned i = 0; i < 70; i++) { /* fewer than fade anything */
    sketch_add(self, hash_of(0));
  }
  assert_int_equal(sketch_estimate(self, hash_of(0)), SKETCH_COUNT_MAX);
}

/* As many keys as the cache has entries, each once. */
static void strangers_are_rarely_counted(void **state) {
  sketch *self = *state;
  for (unsigned i = 0; i < ENTRIES; i++) {
    sketch_add(self, hash_of(i));
  }
  unsigned strangers = 0;
  for (unsigned i = ENTRIES; i < 2 * ENTRIES; i++) {
    strangers += sketch_estimate(self, hash_of(i)) > 0;
  }
  assert_true(strangers < ENTRIES / 20);
}

static void what_nobody_asks_for_any_more_fades(void **state) {
  sketch *self = *state;
  for (unsigned i = 0; i < 12; i++) {
    sketch_add(self, hash_of(0));
  }
  assert_true(sketch_estimate(self, hash_of(0)) >= 12);
  for (unsigned i = 0; i < 8 * 10 * ENTRIES; i++) {
    sketch_add(self, hash_of(1 + i % 16));
  }
  assert_int_equal(sketch_estimate(self, hash_of(0)), 0);
}

/* Every block is halved, the last one too, and nothing beyond the memory is touched (a sanitizer's
 * matter). */
static void the_hand_comes_round(void **state) {
  sketch *self = *state;
  for (unsigned i = 0; i < 3 * ENTRIES; i++) {
    sketch_add(self, hash_of(i));
  }
  for (unsigned i = 0; i < 8 * 10 * ENTRIES; i++) {
    sketch_add(self, hash_of(0));
  }
  unsigned left = 0;
  for (unsigned i = 1; i < 3 * ENTRIES; i++) {
    left += sketch_estimate(self, hash_of(i)) > 0;
  }
  assert_int_equal(left, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(counts_are_exact_while_there_are_few),
      TEST(a_count_stops_at_its_maximum),
      TEST(strangers_are_rarely_counted),
      TEST(what_nobody_asks_for_any_more_fades),
      TEST(the_hand_comes_round),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
