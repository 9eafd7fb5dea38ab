/* Log lines to standard error, readable or as JSON, written by a thread of their own so that a slow
 * reader never blocks the event loop.
 *
 * 1. The queue is bounded; lines that do not fit, or cannot be written, are dropped, counted, and
 *    the count is logged once a line can be written again.
 * 2. Any thread may log between log_start and log_stop; outside of that, lines are written at once.
 */
#ifndef RR_SERVER_OBSERVE_LOG_H
#define RR_SERVER_OBSERVE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/observe/phases.h"

typedef enum log_level {
  LOG_LEVEL_ERROR,
  LOG_LEVEL_WARN,
  LOG_LEVEL_INFO,
  LOG_LEVEL_DEBUG
} log_level;

/* "error", "warn", "info" or "debug"; false for anything else. */
bool log_level_parse(const char *text, log_level *ret_level);

/* How lines look until the writer starts; they are written at once. */
void log_configure(log_level level, bool json);

/* Starts the writer. Returns false when its thread cannot be started. */
bool log_start(log_level level, bool json);

/* Writes what is queued, within two seconds, and stops the writer. */
void log_stop(void);

/* One line of text. */
void log_text(log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What is told of one HTTP request. Times in ns; texts == 0: not a rerank request that was
 * decoded. */
typedef struct log_request_fields {
  const char *request_id;
  const char *method;
  const char *path;
  int status; /* 0: the client left before the reply */
  uint64_t total;
  size_t body_bytes;
  size_t texts;
  size_t cached; /* of the texts, those whose score was known */
  uint64_t tokens;
  size_t truncated;
  size_t unscored; /* texts that the deadline left */
  uint64_t parse;
  uint64_t tokenization;
  uint64_t queue;
  uint64_t inference;
  const char *error; /* NULL for none; without anything that the client has sent */
  const char *trace; /* of the caller's trace context; "" or NULL for none */
  const char *parent;
  const char *span;             /* the request's own in that trace; as the two before */
  const char *dialect;          /* NULL: not known */
  const request_phases *phases; /* of a request that was slow; else NULL */
  uint64_t untold; /* with phases: how many slow requests since the last such line had none */
} log_request_fields;

void log_request(log_level level, const log_request_fields *fields);

#endif
