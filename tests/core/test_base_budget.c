#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/budget.h"
#include "core/base/json.h"

enum { MIB = 1 << 20, LIMIT = 64 * MIB, KEPT = LIMIT / 8, SMALL = LIMIT / 128 };

static void what_is_taken_is_counted_until_it_is_given_back(void **state) {
  (void)state;
  rr_budget budget;
  rr_claim claim;
  rr_budget_init(&budget, LIMIT);
  rr_claim_init(&claim, &budget, SIZE_MAX);
  assert_true(rr_claim_take(&claim, 1000));
  assert_true(rr_claim_take(&claim, 0));
  assert_int_equal(rr_budget_used(&budget), 1000);
  rr_claim_give(&claim, 400);
  assert_int_equal(rr_claim_taken(&claim), 600);
  rr_claim_give(&claim, 600);
  assert_int_equal(rr_budget_used(&budget), 0);
  assert_int_equal(claim.held, 0);
}

static void each_refusal_says_why_and_changes_nothing(void **state) {
  (void)state;
  rr_budget budget;
  rr_claim one;
  rr_claim other;
  rr_budget_init(&budget, LIMIT);
  rr_claim_init(&one, &budget, 10 * MIB);
  rr_claim_init(&other, &budget, SIZE_MAX);
  assert_false(rr_claim_take(&one, 10 * MIB + 1));
  assert_int_equal(one.refused, RR_REFUSAL_OWN);
  assert_true(rr_claim_take(&one, 10 * MIB));
  assert_int_equal(one.refused,
                   RR_REFUSAL_OWN); /* it may only be found out later that something failed */
  assert_false(rr_claim_take(&other, LIMIT));
  assert_int_equal(other.refused, RR_REFUSAL_NEVER);
  assert_false(rr_claim_take(&other, SIZE_MAX));
  assert_int_equal(other.refused, RR_REFUSAL_NEVER);
  assert_false(rr_claim_take(&other, LIMIT - KEPT));
  assert_int_equal(other.refused, RR_REFUSAL_FULL);
  assert_int_equal(rr_budget_used(&budget), 10 * MIB);
  rr_claim_give(&one, 10 * MIB);
  assert_true(rr_claim_take(&other, LIMIT - KEPT));
  assert_int_equal(rr_budget_most(&budget), LIMIT - KEPT);
  assert_false(rr_claim_take(&other, 1));
  assert_int_equal(other.refused, RR_REFUSAL_NEVER);
  rr_claim_give(&other, LIMIT - KEPT);
}

static void what_is_counted_elsewhere_belongs_to_the_holder_too(void **state) {
  (void)state;
  rr_budget budget;
  rr_claim claim;
  rr_budget_init(&budget, LIMIT);
  rr_claim_init(&claim, &budget, SIZE_MAX);
  claim.beside = LIMIT - KEPT;
  assert_false(rr_claim_take(&claim, 1));
  assert_int_equal(claim.refused, RR_REFUSAL_NEVER);
}

static void the_last_eighth_is_for_who_has_little(void **state) {
  (void)state;
  rr_budget budget;
  rr_claim large;
  rr_claim small;
  rr_budget_init(&budget, LIMIT);
  rr_claim_init(&large, &budget, SIZE_MAX);
  rr_claim_init(&small, &budget, SIZE_MAX);
  assert_true(rr_claim_take(&large, LIMIT - KEPT));
  assert_true(rr_claim_take(&small, SMALL));
  assert_false(rr_claim_take(&small, 1)); /* no longer small */
  assert_int_equal(small.refused, RR_REFUSAL_FULL);
  rr_claim_give(&large, 1);
  assert_false(rr_claim_take(&small, 1)); /* the small one has a part of what it would need */
  rr_claim_give(&large, LIMIT - KEPT - 1);
  assert_true(rr_claim_take(&small, 1));
  rr_claim_give(&small, SMALL + 1);
  assert_int_equal(rr_budget_used(&budget), 0);
}

static void what_is_reserved_is_there_when_all_else_is_taken(void **state) {
  (void)state;
  rr_budget budget;
  rr_claim careful;
  rr_claim greedy;
  rr_budget_init(&budget, LIMIT);
  rr_claim_init(&careful, &budget, SIZE_MAX);
  rr_claim_init(&greedy, &budget, SIZE_MAX);
  assert_true(rr_claim_reserve(&careful, 2 * MIB));
  assert_true(rr_claim_take(&greedy, LIMIT - KEPT - 2 * MIB));
  assert_int_equal(rr_claim_taken(&careful), 0);
  assert_true(rr_claim_take(&careful, MIB));
  assert_int_equal(rr_claim_taken(&careful), MIB);
  assert_false(rr_claim_take(&careful, MIB + 1));
  assert_true(rr_claim_take(&careful, MIB - 1));
  rr_claim_unreserve(&careful);
  assert_int_equal(careful.held, 2 * MIB - 1);
  assert_true(rr_claim_take(&greedy, 1));
  rr_claim_give(&greedy, greedy.held);
  rr_claim_give(&careful, careful.held);
  assert_int_equal(rr_budget_used(&budget), 0);
}

static void a_lower_limit_holds_from_then_on(void **state) {
  (void)state;
  rr_budget budget;
  rr_claim claim;
  rr_budget_init(&budget, LIMIT);
  rr_claim_init(&claim, &budget, SIZE_MAX);
  assert_true(rr_claim_take(&claim, 4 * MIB));
  rr_budget_set_limit(&budget, 2 * MIB);
  assert_false(rr_claim_take(&claim, 1));
  rr_claim_give(&claim, 4 * MIB);
  assert_true(rr_claim_take(&claim, MIB));
  rr_claim_give(&claim, MIB);
}

static void a_claim_without_a_budget_has_its_own_limit(void **state) {
  (void)state;
  rr_claim claim;
  rr_claim_init(&claim, NULL, 100);
  assert_true(rr_claim_take(&claim, 100));
  assert_false(rr_claim_take(&claim, 1));
  rr_claim_give(&claim, 100);
}

enum { THREADS = 4, ROUNDS = 20000 };

static rr_budget shared;
static atomic_bool too_much;

static void *take_and_give(void *argument) {
  unsigned dice = (unsigned)(uintptr_t)argument;
  rr_claim claim;
  rr_claim_init(&claim, &shared, SIZE_MAX);
  for (int i = 0; i < ROUNDS; i++) {
    dice = dice * 1103515245u + 12345u;
    size_t bytes = dice >> 8;
    if (rr_claim_take(&claim, bytes % (2 * LIMIT / THREADS))) {
      too_much = too_much || rr_budget_used(&shared) > LIMIT;
    }
    rr_claim_give(&claim, i % 3 == 0 ? claim.held : claim.held / 2);
  }
  rr_claim_give(&claim, claim.held);
  return NULL;
}

static void threads_never_have_more_together_than_the_limit(void **state) {
  (void)state;
  pthread_t threads[THREADS];
  rr_budget_init(&shared, LIMIT);
  for (uintptr_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, (void *)(i + 1)), 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  }
  assert_false(too_much);
  assert_int_equal(rr_budget_used(&shared), 0);
}

static void an_arena_takes_its_blocks_from_its_claim(void **state) {
  (void)state;
  rr_budget budget;
  rr_claim claim;
  rr_arena arena;
  rr_budget_init(&budget, MIB);
  rr_claim_init(&claim, &budget, SIZE_MAX);
  rr_arena_init_within(&arena, &claim);
  size_t got = 0;
  while (rr_arena_alloc(&arena, 1000) != NULL) {
    got += 1000;
    assert_int_equal(rr_budget_used(&budget), arena.total);
  }
  assert_int_equal(claim.refused, RR_REFUSAL_NEVER);
  assert_true(got >
              (MIB - MIB / 8) / 10 * 9); /* a block may be smaller than the arena would like it */
  rr_arena_finish(&arena);
  assert_int_equal(rr_budget_used(&budget), 0);
  claim.refused = RR_REFUSAL_NONE;
  rr_alloc_fail_at(1, 0);
  assert_null(rr_arena_alloc(&arena, 10));
  rr_alloc_fail_at(0, 0);
  assert_int_equal(claim.refused, RR_REFUSAL_NONE); /* it is the heap's fault */
  assert_int_equal(rr_budget_used(&budget), 0);
}

/* --- JSON --- */

/* Lists, objects, strings of all sizes. */
static char *make_json(size_t *ret_size) {
  enum { PIECES = 2000, LONG = 300000, ROOM = PIECES * 64 + 2 * LONG };
  char *text = malloc(ROOM);
  assert_non_null(text);
  size_t size = (size_t)snprintf(text, ROOM, "{\"list\":[");
  for (int i = 0; i < PIECES; i++) {
    size += (size_t)snprintf(text + size, ROOM - size, "{\"a\":%d,\"b\":[1.5,\"x%d\"]},", i, i);
  }
  size += (size_t)snprintf(text + size, ROOM - size, "\"%0*d\"],\"other\":[]}", (int)LONG, 7);
  *ret_size = size;
  return text;
}

static void values_of_a_scope_are_counted_and_gone_at_its_end(void **state) {
  (void)state;
  size_t size;
  char *text = make_json(&size);
  rr_budget budget;
  rr_claim claim;
  rr_json_scope scope;
  rr_error error;
  json_t *json = NULL;
  rr_budget_init(&budget, LIMIT);
  rr_claim_init(&claim, &budget, SIZE_MAX);
  rr_json_enter(&scope, &claim);
  assert_int_equal(rr_json_parse(text, size, SIZE_MAX, &json, &error), RR_OK);
  assert_int_equal(json_array_size(json_object_get(json, "list")), 2001);
  assert_int_equal(json_object_set_new(json, "more", json_string("value")), 0);
  json_t *other = json_object();
  json_decref(other);
  size_t used = rr_budget_used(&budget);
  assert_true(used > size && used < 16 * size);
  rr_json_leave(&scope);
  assert_int_equal(rr_budget_used(&budget), 0);
  assert_int_equal(rr_json_parse("[1,\"x\"]", 7, 10, &json, &error),
                   RR_OK); /* as before, on the heap */
  json_decref(json);
  free(text);
}

/* Where the bound is reached within a parse, that ends as if the heap were exhausted, and leaves
 * nothing. */
static void a_parse_ends_wherever_the_claim_does(void **state) {
  (void)state;
  size_t size;
  char *text = make_json(&size);
  rr_error error;
  bool done = false;
  size_t step = getenv("RR_SLOW") == NULL ? 20000 : 400000;
  for (size_t limit = 0; !done; limit += step) {
    rr_budget budget;
    rr_claim claim;
    rr_json_scope scope;
    json_t *json;
    rr_budget_init(&budget, LIMIT);
    rr_claim_init(&claim, &budget, limit);
    rr_json_enter(&scope, &claim);
    rr_status status = rr_json_parse(text, size, SIZE_MAX, &json, &error);
    rr_json_leave(&scope);
    assert_int_equal(rr_budget_used(&budget), 0);
    assert_int_equal(claim.held, 0);
    done = status == RR_OK;
    assert_true(done || (status == RR_ERR_MEMORY && claim.refused == RR_REFUSAL_OWN));
    assert_true(limit < LIMIT);
  }
  free(text);
}

static int set_up(void **state) {
  (void)state;
  rr_json_init();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_taken_is_counted_until_it_is_given_back),
      cmocka_unit_test(each_refusal_says_why_and_changes_nothing),
      cmocka_unit_test(what_is_counted_elsewhere_belongs_to_the_holder_too),
      cmocka_unit_test(the_last_eighth_is_for_who_has_little),
      cmocka_unit_test(what_is_reserved_is_there_when_all_else_is_taken),
      cmocka_unit_test(a_lower_limit_holds_from_then_on),
      cmocka_unit_test(a_claim_without_a_budget_has_its_own_limit),
      cmocka_unit_test(threads_never_have_more_together_than_the_limit),
      cmocka_unit_test(an_arena_takes_its_blocks_from_its_claim),
      cmocka_unit_test(values_of_a_scope_are_counted_and_gone_at_its_end),
      cmocka_unit_test(a_parse_ends_wherever_the_claim_does),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
