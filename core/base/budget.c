#include "core/base/budget.h"

#include <assert.h>

enum {
  KEPT_SHARE = 8,        /* one in so many bytes is kept for small holders */
  SMALL_SHARE = 128,     /* and a holder of one in so many is small, */
  SMALL_MOST = 4 << 20,  /* or of so many bytes, if that is less; */
  SMALL_LEAST = 64 << 10 /* but of so many in any case that fits what is kept */
};

void rr_budget_init(rr_budget *budget, size_t limit) {
  atomic_init(&budget->limit, limit);
  atomic_init(&budget->used, 0);
}

void rr_budget_set_limit(rr_budget *budget, size_t limit) { atomic_store(&budget->limit, limit); }
size_t rr_budget_limit(const rr_budget *budget) { return atomic_load(&budget->limit); }
size_t rr_budget_used(const rr_budget *budget) { return atomic_load(&budget->used); }

static size_t most_of(size_t limit) { return limit - limit / KEPT_SHARE; }

/* Also where the limit is small, what the least request takes is small. */
static size_t small_of(size_t limit) {
  size_t floor =
      limit / KEPT_SHARE < (size_t)SMALL_LEAST ? limit / KEPT_SHARE : (size_t)SMALL_LEAST;
  size_t share =
      limit / SMALL_SHARE < (size_t)SMALL_MOST ? limit / SMALL_SHARE : (size_t)SMALL_MOST;
  return share > floor ? share : floor;
}

size_t rr_budget_most(const rr_budget *budget) { return most_of(rr_budget_limit(budget)); }

rr_refusal rr_budget_take(rr_budget *budget, size_t held, size_t bytes) {
  size_t limit = rr_budget_limit(budget);
  size_t whole;
  if (__builtin_add_overflow(held, bytes, &whole) || whole > most_of(limit)) {
    return RR_REFUSAL_NEVER;
  }
  size_t ceiling = whole <= small_of(limit) ? limit : most_of(limit);
  size_t used = atomic_load(&budget->used);
  do {
    if (used > ceiling || bytes > ceiling - used) {
      return RR_REFUSAL_FULL;
    }
  } while (!atomic_compare_exchange_weak(&budget->used, &used, used + bytes));
  return RR_REFUSAL_NONE;
}

void rr_budget_give(rr_budget *budget, size_t bytes) {
  size_t before = atomic_fetch_sub(&budget->used, bytes);
  assert(before >= bytes);
  (void)before;
}

void rr_claim_init(rr_claim *claim, rr_budget *budget, size_t limit) {
  *claim = (rr_claim){.budget = budget, .limit = limit};
}

bool rr_claim_reserve(rr_claim *claim, size_t bytes) {
  rr_refusal refusal = RR_REFUSAL_NONE;
  if (bytes > claim->limit - claim->held) {
    refusal = RR_REFUSAL_OWN;
  } else if (claim->budget != NULL) {
    refusal = rr_budget_take(claim->budget, claim->held + claim->beside, bytes);
  }
  if (refusal != RR_REFUSAL_NONE) {
    claim->refused = refusal;
    return false;
  }
  claim->held += bytes;
  claim->ahead += bytes;
  return true;
}

bool rr_claim_take(rr_claim *claim, size_t bytes) {
  if (bytes > claim->ahead && !rr_claim_reserve(claim, bytes - claim->ahead)) {
    return false;
  }
  claim->ahead -= bytes;
  return true;
}

void rr_claim_give(rr_claim *claim, size_t bytes) {
  assert(bytes <= claim->held - claim->ahead);
  claim->held -= bytes;
  if (claim->budget != NULL) {
    rr_budget_give(claim->budget, bytes);
  }
}

void rr_claim_unreserve(rr_claim *claim) {
  size_t bytes = claim->ahead;
  claim->ahead = 0;
  rr_claim_give(claim, bytes);
}

size_t rr_claim_taken(const rr_claim *claim) { return claim->held - claim->ahead; }
