/* Asking a server how it is: `rerankd --health URL`, for containers that have no other client. */
#ifndef RR_SERVER_PROBE_H
#define RR_SERVER_PROBE_H

#include <stddef.h>
#include <stdio.h>

/* GETs `where`: http://HOST:PORT/PATH, unix:SOCKET:/PATH, or unix:SOCKET, which asks /ready.
 * Follows no redirect and uses no proxy. Blocks for `timeout_ms` at most, names looked up included.
 * Returns EXIT_SUCCESS for status 200; else EXIT_FAILURE, with one line on `out`. Before any
 * thread: starts libcurl. */
int probe_ask(const char *where, size_t timeout_ms, FILE *out);

#endif
