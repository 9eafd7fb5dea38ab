/* Names that callers give to requests: ids and W3C trace contexts, checked before anything repeats them. */
#ifndef RR_SERVER_TRACE_H
#define RR_SERVER_TRACE_H

#include <stdbool.h>

enum { TRACE_ID_BYTES = 65, TRACE_CONTEXT_BYTES = 33, TRACE_PARENT_BYTES = 17 };

/* The caller's id if it is 1 to 64 of the characters that ids are made of (nothing that could split a
 * header or a log line), else a new one. `given` may be NULL. */
void trace_request_id(const char *given, char ret_id[TRACE_ID_BYTES]);

/* The trace and the parent of a `traceparent` header, in hexadecimal; both "" where there is none, or
 * none that is valid. `given` may be NULL. */
void trace_context(const char *given, char ret_trace[TRACE_CONTEXT_BYTES],
                   char ret_parent[TRACE_PARENT_BYTES]);

#endif
