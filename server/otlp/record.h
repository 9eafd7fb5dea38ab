/* What is told of one request by its spans: one of the server's, and one below it a phase. */
#ifndef RR_SERVER_OTLP_RECORD_H
#define RR_SERVER_OTLP_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/http/trace_context.h"

enum { OTLP_PHASES_MAX = 10, OTLP_TEXT_BYTES = 160 };

/* Times are ns since 1970. */
typedef struct otlp_phase {
  const char *name; /* static storage, as `dialect` */
  uint64_t begin;
  uint64_t end;
} otlp_phase;

typedef struct otlp_record {
  char trace[TRACE_CONTEXT_BYTES];
  char span[TRACE_PARENT_BYTES];
  char parent[TRACE_PARENT_BYTES]; /* the caller's; "": none */
  uint8_t flags;
  char state[TRACE_STATE_BYTES];
  uint64_t begin;
  uint64_t end;
  otlp_phase phases[OTLP_PHASES_MAX];
  size_t n_phases;
  char request_id[TRACE_ID_BYTES];
  char method[16];
  char path[OTLP_TEXT_BYTES];
  bool routed;                 /* the path is one of the server's, not a caller's idea */
  char host[OTLP_TEXT_BYTES];  /* as the caller addressed the server; "": not told */
  unsigned port;               /* 0: not told */
  char agent[OTLP_TEXT_BYTES]; /* User-Agent; "": not told */
  bool version_1_0;            /* of HTTP, else 1.1 */
  int status;                  /* 0: nothing was answered */
  uint64_t request_bytes;      /* bodies */
  uint64_t reply_bytes;
  char error[24]; /* its kind; "": none */
  char message[OTLP_TEXT_BYTES];
  bool ranks; /* the next are told */
  uint64_t candidates;
  uint64_t tokens;
  uint64_t cached;
  uint64_t truncated;
  uint64_t unscored;   /* more than 0: a partial answer */
  const char *dialect; /* NULL: not known */
} otlp_record;

#endif
