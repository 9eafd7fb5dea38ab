/* A stand-in for the server behind the shared cache, on a thread of its own: it answers every
 * command, and has nothing. */
#ifndef RR_TESTS_SERVER_REDIS_STUB_H
#define RR_TESTS_SERVER_REDIS_STUB_H

/* Serves one connection after the other until the process ends. Returns the port; 0: it cannot. */
unsigned redis_stub_start(void);

/* MGETs so far. */
unsigned long redis_stub_lookups(void);

#endif
