/* A stand-in for the engine behind the shared cache, on a thread of its own: it answers every command, and has nothing. */
#ifndef RR_TESTS_SERVER_ENGINE_H
#define RR_TESTS_SERVER_ENGINE_H

/* Serves one connection after the other until the process ends. Returns the port; 0: it cannot. */
unsigned engine_start(void);

/* MGETs so far. */
unsigned long engine_lookups(void);

#endif
