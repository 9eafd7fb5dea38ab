/* The states of a request for scores, and which may follow which. Pure.
 *
 *   STARTING ─► WAITING ─► PREPARING ───────────────────────────────► COMPUTING ─► CONCLUDING
 *                             │                                       ▲    │           │
 *                             ▼                                       │    ▼           ▼
 *                          ASKING ─► WAITING_AGAIN ─► TOKENIZING ─────┘  COMPUTING_   CONCLUDING_
 *                                                                        IN_VAIN      IN_VAIN
 *
 * A request is answered in one of three states: ANSWERED, with a reply or an error; LATE, because
 * its deadline came first; LEFT, because its client left. From which state (state.c has the table):
 *
 *   STARTING                                      ANSWERED
 *   WAITING, WAITING_AGAIN                        LATE or LEFT
 *   PREPARING, ASKING, TOKENIZING, COMPUTING      any of the three
 *   CONCLUDING                                    ANSWERED
 *   COMPUTING_IN_VAIN, CONCLUDING_IN_VAIN         LEFT
 *
 * Then its exchange ends: OVER. The memory is freed once the request is answered and no thread
 * holds it. */
#ifndef RR_SERVER_REQUEST_STATE_H
#define RR_SERVER_REQUEST_STATE_H

#include <stdbool.h>

typedef enum task_state {
  TASK_STARTING,      /* its headers are being read */
  TASK_WAITING,       /* in the intake, for a thread of the pool */
  TASK_PREPARING,     /* on such a thread: unpacked, decoded, looked up; tokenized, or concluded */
  TASK_ASKING,        /* the shared cache is asked */
  TASK_WAITING_AGAIN, /* in the intake, for a thread to tokenize */
  TASK_TOKENIZING,    /* on such a thread; or concluded, where the shared cache knew all */
  TASK_COMPUTING,     /* in the workers' queue, or with the worker that ends it */
  TASK_CONCLUDING,    /* on a thread of the pool, cut short by its deadline */
  TASK_COMPUTING_IN_VAIN,  /* its client has left; the worker that ends it is about to say so */
  TASK_CONCLUDING_IN_VAIN, /* the same of the thread of the pool */
  TASK_ANSWERED,           /* with a reply, or an error */
  TASK_LATE,               /* answered while a thread may be at it, since its deadline came first */
  TASK_LEFT,               /* its client has left; a thread may be at it */
  TASK_OVER,               /* its exchange is gone */
  TASK_STATES
} task_state;

bool task_state_may_follow(task_state from, task_state to);

/* Whether the request has its answer; then nothing but its log line is left to do. */
bool task_state_is_answered(task_state state);

/* Whether its client has left, and a thread is about to hand the task back all the same. */
bool task_state_is_in_vain(task_state state);

/* In capitals, for messages. Static storage. */
const char *task_state_name(task_state state);

#endif
