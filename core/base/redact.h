/* Messages without what they quote.
 *
 * A message may quote somebody else's bytes: the caller of a request is told of its own, a log
 * is not. So the two are printed from one format, and what the log gets is decided by the format
 * alone, never by what the bytes look like. */
#ifndef RR_CORE_BASE_REDACT_H
#define RR_CORE_BASE_REDACT_H

#include <stdarg.h>
#include <stddef.h>

typedef enum rr_redaction {
  RR_REDACT_QUOTED, /* strings with a precision ("%.80s"), which is how a quotation is written */
  RR_REDACT_STRINGS /* every string: what a library puts into its messages is not known */
} rr_redaction;

/* Prints as vsnprintf does, but "..." for those strings. Numbers come in their plainest form,
 * without width and flags. What is not known of printf's conversions ends the message. Any
 * thread. */
void rr_redact(rr_redaction what, char *to, size_t size, const char *format, va_list arguments);

#endif
