/* Names that callers give to requests: ids and W3C trace contexts, checked before anything repeats
 * them. */
#ifndef RR_SERVER_HTTP_TRACE_CONTEXT_H
#define RR_SERVER_HTTP_TRACE_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

enum {
  TRACE_ID_BYTES = 65,
  TRACE_CONTEXT_BYTES = 33,
  TRACE_PARENT_BYTES = 17, /* of any span's id */
  TRACE_STATE_BYTES =
      513,          /* what the standard wants passed on at least; a longer list is dropped */
  TRACE_SAMPLED = 1 /* of the flags */
};

/* All traces are sampled: the `bound` of trace_is_sampled. */
#define TRACE_RATIO_ONE ((uint64_t)1 << 63)

/* The caller's id if it is 1 to 64 of the characters that ids are made of (nothing that could split
 * a header or a log line), else a new one. `given` may be NULL. */
void trace_request_id(const char *given, char ret_id[TRACE_ID_BYTES]);

/* The trace and the parent of a `traceparent` header, in hexadecimal, and its flags; "", "" and 0
 * where there is none, or none that is valid. `given` may be NULL. */
void trace_context(const char *given, char ret_trace[TRACE_CONTEXT_BYTES],
                   char ret_parent[TRACE_PARENT_BYTES], uint8_t *ret_flags);

/* Whether a `tracestate` header is a list as the standard has it: 32 members at most, none twice.
 * NULL is not. */
bool trace_state_is_valid(const char *given);

/* A new span's id, and a new trace's where ret_trace is not NULL: random. */
void trace_new_ids(char *ret_trace, char ret_span[TRACE_PARENT_BYTES]);

/* Whether a trace that nobody has decided on is sampled: where the last 63 bits of its id are below
 * the bound, so that all who know the id and the ratio decide alike. */
bool trace_is_sampled(const char trace[TRACE_CONTEXT_BYTES], uint64_t bound);

/* The bound for a ratio from 0 to 1. */
uint64_t trace_bound(double ratio);

#endif
