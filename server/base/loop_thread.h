/* Which thread runs the event loop. A header says "Loop thread only." of a function, or at its top
 * of all its functions. Each of them asserts it, or claims the loop if it creates something there;
 * not those that touch nothing but their arguments, such as http_add_header. */
#ifndef RR_SERVER_BASE_LOOP_THREAD_H
#define RR_SERVER_BASE_LOOP_THREAD_H

#include <assert.h>
#include <stdbool.h>

/* The calling thread runs the loop from now on. For what is created on that thread; may be called
 * again. */
void loop_thread_claim(void);

/* Whether the calling thread has claimed the loop. Costs a read of thread-local memory. */
bool loop_thread_is_this(void);

/* At the head of each function of which a header says "Loop thread only." Release builds keep both
 * assertions. */
#define assert_loop_thread() assert(loop_thread_is_this())

/* At the head of some functions that the loop's thread must never run: those that prepare and
 * conclude a request, compress, or post mail. */
#define assert_other_thread() assert(!loop_thread_is_this())

#endif
