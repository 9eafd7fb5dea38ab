/* A borrowed piece of UTF-8 text: not terminated, may hold NUL bytes. */
#ifndef RR_CORE_BASE_TEXT_H
#define RR_CORE_BASE_TEXT_H

#include <stddef.h>

typedef struct rr_text {
  const char *data; /* may be NULL only if size is 0 */
  size_t size;      /* bytes */
} rr_text;

#endif
