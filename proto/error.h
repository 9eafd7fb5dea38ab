/* What can go wrong with a request, in terms that every dialect can put into its own words. */
#ifndef RR_PROTO_ERROR_H
#define RR_PROTO_ERROR_H

#include <stdbool.h>

#include "core/base/status.h"

typedef enum rr_api_error_kind {
  RR_API_EMPTY,        /* 400: no candidates */
  RR_API_MALFORMED,    /* 400: not JSON, or not HTTP */
  RR_API_VALIDATION,   /* 422: a field is missing, of a wrong type or out of bounds */
  RR_API_TOKENIZER,    /* 422: a text cannot be tokenized */
  RR_API_BACKEND,      /* 424: the model failed */
  RR_API_OVERLOADED,   /* 429: too many requests at once */
  RR_API_UNHEALTHY,    /* 503: not ready, or stopping */
  RR_API_MEMORY,       /* 503: out of memory */
  RR_API_TOO_LARGE,    /* 413: the body is over the limit */
  RR_API_MEDIA_TYPE,   /* 415: the body is not declared as JSON */
  RR_API_UNAUTHORIZED, /* 401: no key, or a wrong one */
  RR_API_NOT_FOUND,    /* 404: no such path */
  RR_API_METHOD,       /* 405: the path does not take this method */
  RR_API_TIMEOUT,      /* 504: the deadline came first */
  RR_API_TARGET,       /* 414: the request line is too long */
  RR_API_EXPECTATION,  /* 417: an Expect that is not known */
  RR_API_HEADERS,      /* 431: the header fields are too large, or too many */
  RR_API_NOT_KNOWN,    /* 501: a method or transfer coding that is not known */
  RR_API_VERSION,      /* 505: a version of HTTP that is not spoken */
} rr_api_error_kind;

enum { RR_FIELD_NAME_MAX = 64 };

typedef struct rr_api_error {
  rr_api_error_kind kind;
  char field[RR_FIELD_NAME_MAX];      /* the request's field at fault, "" if there is none */
  unsigned retry_after;               /* seconds, if better than the kind's; 0: the kind's */
  char message[RR_ERROR_MESSAGE_MAX]; /* for the caller: one line; may end in a cut character */
  char logged[RR_ERROR_MESSAGE_MAX];  /* for a log: without a byte of what the caller sent */
} rr_api_error;

/* The HTTP status of a kind. */
int rr_api_error_status(rr_api_error_kind kind);

/* How long a caller should wait before it tries again, in seconds; 0 where trying again cannot
 * help. */
unsigned rr_api_error_retry_after(rr_api_error_kind kind);

/* A message may quote what the caller sent. A quotation is always printed by "%s" with a
 * precision, as in "%.80s", and nothing else is: so `logged` can do without it
 * (core/base/redact.h). "%s" alone is for words of our own: names of fields and types.
 *
 * Fills *ret_error, without a field and with the kind's waiting time, and returns false, so that
 * a failing function can end with `return rr_api_fail(...)`. */
bool rr_api_fail(rr_api_error *ret_error, rr_api_error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a field at fault. */
bool rr_api_fail_field(rr_api_error *ret_error, rr_api_error_kind kind, const char *field,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
