/* How a request ended, as its connection saw it. */
#ifndef RR_BENCH_LOAD_OUTCOME_H
#define RR_BENCH_LOAD_OUTCOME_H

typedef enum outcome_kind {
  OUTCOME_ANSWER,    /* a whole answer, whatever its status */
  OUTCOME_CONNECT,   /* no connection */
  OUTCOME_RESET,     /* closed or reset before the first byte of an answer */
  OUTCOME_CUT,       /* closed or reset in the middle of an answer */
  OUTCOME_TIMEOUT,   /* no whole answer in time */
  OUTCOME_PROTOCOL,  /* not HTTP */
  OUTCOME_TOO_LARGE, /* an answer for which there is no room */
  OUTCOME_CANCELLED, /* the run was interrupted */
  OUTCOME_KINDS
} outcome_kind;

#endif
