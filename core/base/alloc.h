/* The project's only door to the heap, so that tests can make any allocation fail.
 *
 * All functions are thread-safe. Sizes are bytes. A size of 0 yields a unique pointer.
 */
#ifndef RR_CORE_BASE_ALLOC_H
#define RR_CORE_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Each returns NULL on failure; the caller frees the memory with rr_free (NULL is allowed). */
void *rr_malloc(size_t size);
void *rr_calloc(size_t count, size_t size);
void *rr_realloc(void *memory, size_t size); /* on failure `memory` is untouched */
char *rr_strdup(const char *string);
void rr_free(void *memory);

/* 64-byte aligned memory for tensors, not cleared; freed with rr_free. */
void *rr_alloc_aligned(size_t size);

/* Fault injection for tests: the n-th allocation from now (1 = the next) fails, and with
 * `sticky` every later one too. n = 0 turns it off. Process-wide. */
void rr_alloc_fail_at(unsigned long n, int sticky);

/* Counts as an allocation, for memory that is portioned out elsewhere; true where a test makes it
 * fail. */
bool rr_alloc_injected(void);

/* How many allocations have been asked for since the last rr_alloc_fail_at. */
unsigned long rr_alloc_count(void);

#endif
