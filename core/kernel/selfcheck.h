/* Whether what was chosen for this CPU computes what plain C computes: a compiler, a hypervisor or
 * a CPU may be wrong in ways that no build elsewhere shows.
 *
 * 1. To be called once at start, before any weights are packed and before other threads choose.
 * 2. Inputs are fixed; a few milliseconds in all.
 */
#ifndef RR_CORE_KERNEL_SELFCHECK_H
#define RR_CORE_KERNEL_SELFCHECK_H

#include <stddef.h>

#include "core/base/status.h"

enum { RR_SELFCHECK_TEXT_MAX = 512 };

/* Holds the row operations, attention and, of every format, the product and the late interaction
 * that would be chosen against the portable one and takes it out of the choice if they differ,
 * until one passes or only the portable one is left. `text` becomes one line that names what failed
 * and what takes its place, or "". RR_ERR_MEMORY. */
rr_status rr_selfcheck(char text[RR_SELFCHECK_TEXT_MAX], rr_error *err);

/* For tests: one output of the products (row operations, attention, late interaction) of this name
 * is off by a hundredth (a tenth) while they are checked. NULL: none. The name is borrowed. Not
 * thread-safe. */
void rr_selfcheck_fault(const char *name);

#endif
