/* Speed of the matrix products, in percent of what their instruction reaches in registers alone. */
#ifndef RR_TESTS_KERNELS_BENCH_H
#define RR_TESTS_KERNELS_BENCH_H

#include <stddef.h>

/* Times every product that runs here (or the one named; NULL: all) for m rows of x, in interleaved
 * rounds, and prints a table. Returns an exit status. */
int rr_bench(const char *name, size_t m, size_t rounds);

/* Operations a second of the instruction that a product of this name is made of, in a loop that
 * touches registers only; 0 if none is known for it. *ret_instruction: its name, for people. */
double rr_bench_peak(const char *name, const char **ret_instruction);

#endif
