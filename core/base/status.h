/* Status codes and error messages shared by every module.
 *
 * 1. A function that can fail returns rr_status and takes an rr_error as its last argument.
 * 2. The rr_error belongs to the caller; NULL is allowed where the caller wants no message.
 * 3. On failure outputs named ret_* are untouched.
 */
#ifndef RR_CORE_BASE_STATUS_H
#define RR_CORE_BASE_STATUS_H

typedef enum rr_status {
  RR_OK = 0,
  RR_ERR_MEMORY,      /* an allocation failed or an arena's limit was reached */
  RR_ERR_INPUT,       /* the caller's data breaks a rule (length, type, range) */
  RR_ERR_IO,          /* a file could not be opened, read or mapped */
  RR_ERR_FORMAT,      /* a file was read but is malformed */
  RR_ERR_UNSUPPORTED, /* well-formed, but asks for what this build does not do */
  RR_ERR_NUMERIC,     /* a computation gave NaN or infinity */
} rr_status;

enum { RR_ERROR_MESSAGE_MAX = 512 };

typedef struct rr_error {
  rr_status status;
  char message[RR_ERROR_MESSAGE_MAX]; /* one line, UTF-8, always terminated */
} rr_error;

/* Stores status and a printf-formatted message in err (may be NULL); returns status, so that a
 * failing function can end with `return rr_fail(err, ...)`. Any thread. */
rr_status rr_fail(rr_error *err, rr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A short lower-case name of the status ("memory", "format", ...); static storage. */
const char *rr_status_name(rr_status status);

#endif
