/* A bound over memory that many take together, and what one of them has of it.
 *
 * 1. A budget is shared by all threads and counts bytes; it holds no memory itself. Each byte that
 *    is taken is given back once.
 * 2. The last eighth is for holders that have little: who holds much leaves it to them, so that a
 *    few large ones never
 *    keep the many small ones out.
 * 3. A claim is one holder's part. It belongs to one thread at a time, as the memory that it
 *    counts.
 */
#ifndef RR_CORE_BASE_BUDGET_H
#define RR_CORE_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct rr_budget {
  atomic_size_t limit;
  atomic_size_t used;
} rr_budget;

/* Why bytes were not to be had. */
typedef enum rr_refusal {
  RR_REFUSAL_NONE,
  RR_REFUSAL_OWN,   /* more than the claim's own limit */
  RR_REFUSAL_NEVER, /* more than the budget has for one holder, whatever the others give back */
  RR_REFUSAL_FULL,  /* more than the others leave at the moment */
} rr_refusal;

void rr_budget_init(rr_budget *budget, size_t limit);

/* May be lowered below what is used: then nothing is to be had until enough was given back. */
void rr_budget_set_limit(rr_budget *budget, size_t limit);
size_t rr_budget_limit(const rr_budget *budget);
size_t rr_budget_used(const rr_budget *budget);

/* The most that one holder may have. */
size_t rr_budget_most(const rr_budget *budget);

/* Counts further bytes of a holder that has `held`, or nothing. */
rr_refusal rr_budget_take(rr_budget *budget, size_t held, size_t bytes);
void rr_budget_give(rr_budget *budget, size_t bytes);

typedef struct rr_claim {
  rr_budget *budget; /* NULL: none, the claim's own limit alone */
  size_t limit;
  size_t held;   /* bytes, those reserved included */
  size_t ahead;  /* of these, reserved and not taken yet */
  size_t beside; /* bytes of the same holder that the budget counts elsewhere */
  /* Why the last try that failed did; stays, for whoever finds out later that something failed. */
  rr_refusal refused;
} rr_claim;

/* An empty claim in the caller's memory. */
void rr_claim_init(rr_claim *claim, rr_budget *budget, size_t limit);

/* Takes bytes, at first of what was reserved. On failure nothing changes but `refused`. */
bool rr_claim_take(rr_claim *claim, size_t bytes);
void rr_claim_give(rr_claim *claim, size_t bytes);

/* Reserves bytes for later takes, which are sure to have them; gives back what of all that is left.
 * */
bool rr_claim_reserve(rr_claim *claim, size_t bytes);
void rr_claim_unreserve(rr_claim *claim);

/* Bytes that are taken, without what is reserved. */
size_t rr_claim_taken(const rr_claim *claim);

#endif
